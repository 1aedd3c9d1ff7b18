"""Keeps Home Assistant's picture of the node right: announced, announced again, and cleared of what is gone."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edge_runtime.publishing.discovery import withdrawn
from edge_runtime.publishing.entity import Component
from edge_runtime.whole_file import write_whole

AGAIN_S = (1.0, 10.0)
"""Home Assistant has come online: wait this long, by chance, so that not all nodes speak at once."""
SETTLE_S = 5.0
"""How long Home Assistant gets to set up a component before it is told to remove it."""


class Announcement:
    """One device's discovery message, and the memory of what earlier runs announced.

    Home Assistant removes a component only when it knows it and gets it without anything but its platform; a component
    that is merely left out stays forever. So the message of the first run without a zone still names the zone's
    components that way. One that was removed while Home Assistant was off is unknown to it when it comes back: it is
    announced once more in full, then withdrawn.

    Args:
        topic: the discovery topic; None: discovery is off.
        memory: the file that remembers what was announced.
        put: says a payload, retained; an empty one clears the topic.
        rng: for the delay.
    """

    def __init__(self, topic: str | None, *, memory: Path, put: Callable[[str, str], None], rng: random.Random) -> None:
        self._topic, self._memory, self._put, self._rng = topic, memory, put, rng
        self._device: dict[str, Any] = {}
        self._gone: dict[str, Component] = {}
        self._online: bool | None = None  # what it said since the last tick
        self._saved = True
        self._again_ns = self._withdraw_ns = 0
        self._known = self._remembered()

    def announce(self, device: dict[str, Any], states: Iterable[str]) -> None:
        """Say it, and take back what an earlier message or run said beyond it.

        Args:
            device: the discovery message.
            states: the retained topics that are in use.
        """
        known, self._device, now = self._known, device, sorted(states)
        moved = known["topic"] not in ("", self._topic or "")
        if not moved:
            self._gone = {key: old for key, old in known["components"].items() if key not in device["components"]}
        else:
            self._put(known["topic"], "")
        for state in known["states"]:
            if state not in now:
                self._put(state, "")
        components = {**device["components"], **self._gone} if self._topic is not None else {}
        self._known = {"topic": self._topic or "", "components": components, "states": sorted({*now, *known["states"]})}
        if not moved:
            self._remember()  # before anyone is told: a run that ends now leaves nothing unknown behind
        self._known["states"], self._saved = now, False
        self._publish(withdrawn(self._gone))

    def heard(self, _topic: str, payload: bytes, _retained: bool) -> None:
        """Home Assistant's word about itself; from paho's thread."""
        if payload in (b"online", b"offline"):
            self._online = payload == b"online"

    def tick(self, now_ns: int, connected: bool) -> None:
        """Do what is due.

        Args:
            now_ns: monotonic time.
            connected: whether what was put has reached a connection.
        """
        if connected and not self._saved:
            self._saved = True
            self._remember()
        if self._online is not None:
            self._again_ns = now_ns + round(self._rng.uniform(*AGAIN_S) * 1e9) if self._online else 0
            self._online, self._withdraw_ns = None, 0
        if self._again_ns and now_ns >= self._again_ns:
            self._again_ns = 0
            self._publish(self._gone)
            if self._gone:
                self._withdraw_ns = now_ns + round(SETTLE_S * 1e9)
        if self._withdraw_ns and now_ns >= self._withdraw_ns:
            self._withdraw_ns = 0
            self._publish(withdrawn(self._gone))
            self._gone, self._saved = {}, False
            self._known["components"] = self._device["components"]

    def _publish(self, beside: dict[str, Component]) -> None:
        if self._topic is not None:
            message = self._device | {"components": {**self._device["components"], **beside}}
            self._put(self._topic, json.dumps(message, separators=(",", ":"), ensure_ascii=False))

    def _remember(self) -> None:
        """Write down what the broker holds now. What is gone stays in it until Home Assistant was told."""
        # Torn by a power cut, it would leave pictures at the broker for good. With a full disk what is removed later is
        # not cleared; events matter more.
        with contextlib.suppress(OSError):
            write_whole(self._memory, json.dumps(self._known))

    def _remembered(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"topic": "", "components": {}, "states": []}
        try:
            found: dict[str, Any] = json.loads(self._memory.read_text())
            return nothing | found
        except (OSError, ValueError, TypeError):
            return nothing
