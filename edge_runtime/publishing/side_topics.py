"""What shares the connection with the events: retained states that go out, messages that come in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

Listener = Callable[[str, bytes, bool], None]
"""Told the topic, the payload, and whether it was retained; from paho's thread, which an exception would end."""


class SideTopics:
    """Remembers what was said last on each topic, so that a broker that lost its memory is told again.

    States go at QoS 0: what a breaking connection loses, the next one brings, and they take nothing from the window
    of the events. The lock may be held across these calls: paho only queues such packets, and calls nobody back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, str | bytes] = {}
        self._listeners: list[tuple[str, Listener]] = []
        self._client: Client | None = None

    @property
    def connected(self) -> bool:
        """Whether all that was put has been handed to a connection."""
        return self._client is not None

    def put(self, topic: str, payload: str | bytes) -> None:
        """Say it, retained, now and with every later connection. An empty payload clears the topic."""
        with self._lock:
            self._newest[topic] = payload
            if self._client is not None:
                self._client.publish(topic, payload, qos=0, retain=True)

    def listen(self, topic: str, listener: Listener) -> None:
        """Hear a topic, wildcards allowed, from now on and with every connection."""
        with self._lock:
            self._listeners.append((topic, listener))
            if self._client is not None:
                self._client.subscribe(topic, qos=1)

    def opened(self, client: Client) -> None:
        """There is a connection: subscribe, and say everything."""
        with self._lock:
            self._client = client
            for topic, _ in self._listeners:
                client.subscribe(topic, qos=1)
            for topic, payload in self._newest.items():
                client.publish(topic, payload, qos=0, retain=True)

    def closed(self) -> None:
        """The connection is gone."""
        with self._lock:
            self._client = None

    def heard(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        """Pass a message on to whoever listens; paho's `on_message`."""
        from paho.mqtt.client import topic_matches_sub

        for topic, listener in list(self._listeners):
            if topic_matches_sub(topic, message.topic):
                listener(message.topic, bytes(message.payload), message.retain)
