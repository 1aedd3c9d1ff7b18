"""Where events become rows and are announced: committed first, told second."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from edge_runtime.clock import Clock
from edge_runtime.datatypes import Event
from edge_runtime.publishing.outbox import Outbox, Row, Stamp
from edge_runtime.publishing.puback_times import PubackTimes

TRIM_S = 30.0
"""Seconds between two looks at the outbox's bounds."""


class Publisher(Protocol):
    """Somebody to tell of events.

    Attributes:
        durable: it acknowledges rows to the outbox itself, when the other side has them.
    """

    durable: bool

    def announce(self, row: Row) -> None:
        """Tell of a row that is committed; returns at once."""


class EventDesk:
    """One verb: `post`. Without a durable publisher rows are forgotten once announced, so that none pile up.

    Args:
        outbox: the queue on disk, entered.
        publishers: told in this order.
        node: name of the node.
        camera: name of the camera.
        clock: wall time for the payloads, and the age of what happened.
        live: whether capture times are this clock's; a clip's latency would mean nothing.
        times: told when the frame was captured that an event came of.
    """

    def __init__(
        self,
        outbox: Outbox,
        publishers: Sequence[Publisher],
        *,
        node: str,
        camera: str,
        clock: Clock,
        live: bool,
        times: PubackTimes | None = None,
    ) -> None:
        self._outbox, self._publishers, self._clock, self._live = outbox, publishers, clock, live
        self._node, self._camera, self._times = node, camera, times
        self._boot = str(uuid.uuid4())
        self._keeps = any(p.durable for p in publishers)
        self._trimmed_ns = clock.now_ns()

    def post(self, events: Sequence[Event], captured_ns: int | None = None) -> list[bytes]:
        """Commit the events in order, then announce them; their JSON as committed.

        Args:
            events: what happened.
            captured_ns: capture time of the frame in hand, by the clock; None: there is none, or its time is another's.

        Raises:
            StorageError: the disk is full or broken; nothing is announced that was not committed.
        """
        rows = []
        for event in events:
            age_ms = (self._clock.now_ns() - event.at_ns) / 1e6 if self._live else None
            row = self._outbox.append(event, self._stamp(age_ms, None if event.type == "node_online" else self._camera))
            rows.append(row)
            if self._times is not None and event.at_ns == captured_ns:  # not what ended because somebody said so
                self._times.captured(row.seq, captured_ns)
        now_ns = self._clock.now_ns()
        if now_ns - self._trimmed_ns >= TRIM_S * 1e9:
            self._trimmed_ns = now_ns
            dropped = self._outbox.trim(self._stamp(None, self._camera))
            if dropped is not None:
                rows.append(dropped)
        for row in rows:
            for publisher in self._publishers:
                publisher.announce(row)
            if not self._keeps:
                self._outbox.acknowledge(row.seq)
        return [row.payload for row in rows]

    @property
    def waiting(self) -> int:
        """Events that are on disk, since nobody has acknowledged them."""
        return self._outbox.counts.pending

    def _stamp(self, age_ms: float | None, camera: str | None) -> Stamp:
        """Who says it, of something that happened `age_ms` ago; None: now, as far as anyone can tell."""
        return Stamp(
            node=self._node,
            camera=camera,
            boot=self._boot,
            wall=self._clock.wall() - timedelta(milliseconds=age_ms or 0.0),
            clock_synced=self._clock.synced(),
            latency_ms=age_ms,
            at_ns=self._clock.now_ns() - round((age_ms or 0.0) * 1e6),
        )
