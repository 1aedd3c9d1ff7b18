"""A paho client set up for one node: its name, last will, login and patience."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from edge_runtime.publishing.address import BrokerAddress

if TYPE_CHECKING:
    from paho.mqtt.client import Client

RETRY_S, RETRY_MAX_S = 1, 30
"""Shortest and longest pause between two tries to connect."""
CONNECT_S = 5.0
LEAVE_S = 1.0
"""How long a broker may take over the last packets before the socket is cut."""


def make_client(address: BrokerAddress, node: str, status_topic: str, *, newest: bool) -> Client:
    """A client that is not connected yet; a dead connection makes the broker say "offline" for it.

    Args:
        address: login and TLS are taken from it.
        node: name of the node; nodes of one name push each other out.
        status_topic: where the will goes, retained.
        newest: speak MQTT 5; otherwise 3.1.1.
    """
    from paho.mqtt.client import Client, MQTTv5, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    # One id for all runs: the broker then ends a dead connection of ours, and publishes its will, before it
    # accepts the new one. With another id that "offline" would come later, and stay.
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"edge-{node}", protocol=MQTTv5 if newest else MQTTv311)
    client.reconnect_delay_set(RETRY_S, RETRY_MAX_S)
    client.connect_timeout = CONNECT_S
    client.will_set(status_topic, "offline", qos=1, retain=True)
    if address.user is not None:
        client.username_pw_set(address.user, address.password)
    if address.tls:
        client.tls_set()
    return client


def leave(client: Client, left: threading.Event) -> None:
    """Disconnect and end paho's thread; `left` is set by the client's `on_disconnect`."""
    client.disconnect()
    link = client.socket()
    if not left.wait(LEAVE_S) and isinstance(link, socket.socket):
        # A broker that takes nothing any more would keep paho's thread until the keepalive ends.
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
    client.loop_stop()
