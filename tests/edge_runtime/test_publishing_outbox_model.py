"""The outbox against a plain list: append, acknowledge, trim and reopen in any order."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_runtime.datatypes import Event
from edge_runtime.publishing.outbox import DROPPED_EVENT_BYTES, ROW_OVERHEAD_BYTES, Outbox, Stamp

BOOT = "7f3c1a52-9d0e-4b7a-8a35-0f6f1f0a2b11"
MAX_BYTES = 2600
MAX_AGE_S = 100.0


class OutboxModel(RuleBasedStateMachine):
    """Rows as (seq, bytes, time or None, events it stands for); `told` is what a subscriber would add up."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.rows: list[tuple[int, int, datetime | None, int]] = []
        self.last = self.delivered = 0
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name) / "state" / "outbox.sqlite"
        self.outbox = Outbox(path, max_bytes=MAX_BYTES, max_age_s=MAX_AGE_S).__enter__()

    def stamp(self, synced: bool = True) -> Stamp:
        return Stamp("porch", "front", BOOT, self.now, synced)

    @rule(name=st.text(min_size=1, max_size=300), synced=st.booleans())
    def append(self, name: str, synced: bool) -> None:
        row = self.outbox.append(Event("zone_enter", 0, zone=name), self.stamp(synced))
        self.last += 1
        assert row.seq == self.last
        self.rows.append((row.seq, len(row.payload) + ROW_OVERHEAD_BYTES, self.now if synced else None, 1))

    @rule(at=st.integers(0, 40))
    def acknowledge(self, at: int) -> None:
        if at < len(self.rows):
            seq, _, _, stands_for = self.rows.pop(at)
            self.outbox.acknowledge(seq)
            self.delivered += stands_for  # the event, and what it tells was lost

    @rule(seconds=st.integers(0, 80))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def reopen(self) -> None:
        self.outbox.__exit__(None, None, None)
        self.open()

    @rule(synced=st.booleans())
    def trim(self, synced: bool) -> None:
        old = [seq for seq, _, wall, _ in self.rows if wall and (self.now - wall).total_seconds() > MAX_AGE_S]
        full = sum(size for _, size, _, _ in self.rows) > MAX_BYTES
        row = self.outbox.trim(self.stamp(synced))
        if row is None:
            stamped = [wall for _, _, wall, _ in self.rows if wall]
            slack = not stamped or (self.now - stamped[0]).total_seconds() <= 1.01 * MAX_AGE_S
            assert not full and (slack or not synced)
            return
        assert full or (old and synced)
        first = self.outbox.pending(1)[0].seq
        gone = [r for r in self.rows if r[0] < first]
        assert gone, "an events_dropped event tells of something"
        self.rows = [r for r in self.rows if r[0] >= first]
        oldest_wanted = max(old, default=0) if synced else 0
        assert first > oldest_wanted
        if full:
            assert sum(size for _, size, _, _ in self.rows) <= MAX_BYTES - DROPPED_EVENT_BYTES
        if gone[-1][0] != oldest_wanted:
            kept_too = sum(size for _, size, _, _ in (gone[-1], *self.rows))
            assert full and kept_too > MAX_BYTES - DROPPED_EVENT_BYTES, "no more goes than must"
        self.last += 1
        assert row.seq == self.last
        count = sum(stands_for for _, _, _, stands_for in gone)
        assert json.loads(row.payload)["count"] == count
        size = len(row.payload) + ROW_OVERHEAD_BYTES
        self.rows.append((row.seq, size, self.now if synced else None, 1 + count))
        assert sum(size for _, size, _, _ in self.rows) <= MAX_BYTES

    @invariant()
    def the_same_rows(self) -> None:
        assert [row.seq for row in self.outbox.pending(1000)] == [seq for seq, _, _, _ in self.rows]
        counts = self.outbox.counts
        assert (counts.pending, counts.last_seq) == (len(self.rows), self.last)
        assert counts.pending_bytes == sum(size for _, size, _, _ in self.rows)

    @invariant()
    def every_number_is_accounted_for(self) -> None:
        """Delivered, waiting, or told of as dropped: nothing else can become of an event."""
        assert self.delivered + sum(stands_for for _, _, _, stands_for in self.rows) == self.last

    def teardown(self) -> None:
        self.outbox.__exit__(None, None, None)
        self.folder.cleanup()


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
