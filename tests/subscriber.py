"""A plain MQTT subscriber that remembers what it heard, in order."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion


class Subscriber:
    """Hears everything below a root; connects again by itself."""

    def __init__(self, port: int, topic: str = "edge/#") -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._ready = threading.Event()
        # A session that outlives its connection: what comes while it is away waits at the broker.
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"subscriber-{uuid.uuid4()}", protocol=MQTTv311, clean_session=False
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload, m.retain))
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def events(self) -> list[dict[str, Any]]:
        """The events heard so far."""
        return [json.loads(payload) for topic, payload, _ in self.heard if topic.endswith("/events")]

    def seqs(self) -> list[int]:
        """Their numbers."""
        return [event["seq"] for event in self.events()]

    def last(self, suffix: str) -> bytes | None:
        """The newest payload of a topic that ends so."""
        return next((payload for topic, payload, _ in reversed(self.heard) if topic.endswith(suffix)), None)

    def wait(self, until: Callable[[Subscriber], bool], timeout_s: float = 20.0) -> bool:
        """Whether `until` came true in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if until(self):
                return True
            time.sleep(0.02)
        return until(self)
