"""The profile `frigate`: the node speaks Frigate's topics as well, over a connection of its own.

A connection has one last will, and Frigate's `available` needs one beside our `status`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edge_runtime.config import Config
from edge_runtime.publishing.address import parse_broker
from edge_runtime.publishing.client import LEAVE_S, leave, make_client
from edge_runtime.publishing.frigate_objects import ANY, FrigateObjects
from edge_runtime.publishing.outbox import Row
from edge_runtime.publishing.side_topics import SideTopics
from edge_runtime.publishing.status import Status
from edge_runtime.publishing.turns import Turns

if TYPE_CHECKING:
    from paho.mqtt.client import Client

QUEUE = 1000
"""Messages that wait in memory for a lost broker; as with Frigate itself, nothing is kept over a restart."""


def picture_topic(root: str, camera: str, label: str) -> str:
    """Where Frigate shows the latest object of a label."""
    return f"{root}/{camera}/{label}/snapshot"


def count_topic(root: str, place: str, label: str) -> str:
    """Where Frigate counts the objects of a label at a camera or in a zone."""
    return f"{root}/{place}/{label}"


def counted_places(config: Config, classes: Sequence[str]) -> list[tuple[str, str]]:
    """What is counted, as (camera or zone, label): every label everywhere, as a track's label may still change."""
    places = [config.camera.name, *(zone.name for zone in config.zones)]
    return [(place, label) for place in places for label in (*classes, ANY)]


class FrigatePublisher:
    """`<root>/events`, `<root>/available`, pictures by label, counts by camera, zone and label, and `detect/set`.

    `available` is offline until `say_online`, and while there is no connection.

    Args:
        url: of the broker.
        root: first level of the topics, `frigate` unless there is a Frigate as well.
        node: name of the node.
        camera: name of the camera.
        keepalive_s: silence after which the broker says "offline" for us.
        on_detect: told to switch detection; from paho's thread, must not raise.

    Raises:
        ConfigError: the URL is not a broker's.
    """

    durable = False

    def __init__(
        self, url: str, *, root: str, node: str, camera: str, keepalive_s: int, on_detect: Callable[[bool], None]
    ) -> None:
        self._root, self._camera, self._on_detect = root, camera, on_detect
        self._objects = FrigateObjects()
        self._counts: dict[tuple[str, str], int] = {}
        self._left = threading.Event()
        self._detect: bool | None = None
        self.side = SideTopics()
        self._status = Status(f"{root}/available", online=False)
        self._turns = Turns(self._say)
        self.side.listen(f"{root}/{camera}/detect/set", self._heard)
        address = parse_broker(url)
        self._client = make_client(address, f"{node}-frigate", f"{root}/available", newest=False)
        self._client.max_queued_messages_set(QUEUE)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = self.side.heard
        self._client.connect_async(address.host, address.port, keepalive_s)
        self._client.loop_start()

    def count(self, counted: Iterable[tuple[str, str]]) -> None:
        """Say from now on how many are at these places, by label: none of whom an earlier run may have counted.

        What is counted no more is not cleared here.
        """
        said, self._counts = self._counts, {}
        for key in counted:
            self._counts[key] = said.get(key, 0)
            if key not in said:
                self.side.put(count_topic(self._root, *key), "0")

    def announce(self, row: Row) -> None:
        """Tell of a row that is committed, if Frigate would tell of it."""
        for told in self._objects.translate(json.loads(row.payload)):
            self._client.publish(f"{self._root}/events", json.dumps(told, ensure_ascii=False), qos=1)
        counts = self._objects.counts()
        for key in {*self._counts, *counts}:
            if self._counts.get(key) != counts[key]:
                self._counts[key] = counts[key]
                self.side.put(count_topic(self._root, *key), str(counts[key]))

    def say_online(self, online: bool) -> None:
        """Change `available`; from any thread."""
        self._status.online = online
        self._turns.take()

    def show(self, label: str, jpeg: bytes) -> None:
        """The latest picture of a label, retained; an empty one takes it back."""
        self.side.put(picture_topic(self._root, self._camera, label), jpeg)

    def show_detection(self, on: bool) -> None:
        """Say how detection is switched, if that is new."""
        if on is not self._detect:
            self._detect = on
            self.side.put(f"{self._root}/{self._camera}/detect/state", "ON" if on else "OFF")

    def close(self) -> None:
        """Say offline, and leave."""
        if not self.side.connected:
            self._client.disconnect()  # not joined: its thread may be waiting for a name server
            return
        self._status.online = False
        said = time.monotonic() + LEAVE_S
        self._turns.until(lambda: not self.side.connected or self._status.stands(), said)
        self._left.clear()
        leave(self._client, self._left)

    def _say(self) -> None:
        """Send `available` if it is news."""
        if self.side.connected:
            self._status.send(self._client)

    def _heard(self, _topic: str, payload: bytes, retained: bool) -> None:
        if not retained and payload in (b"ON", b"OFF"):
            self._on_detect(payload == b"ON")

    def _on_connect(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if not reason.is_failure:
            # Before `connected` is true nobody else says it. What was under way paho sends again, and first.
            self._status.send(client, anew=True)
            self.side.opened(client)
            self._turns.take()

    def _on_publish(self, _client: Client, _data: object, mid: int, _reason: object, _properties: object) -> None:
        self._status.answered(mid)
        self._turns.take()

    def _on_disconnect(self, _client: Client, _data: object, _flags: object, _reason: Any, _properties: object) -> None:
        self.side.closed()
        self._left.set()
