"""Events that the broker has not acknowledged yet: committed to disk before anyone is told of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_runtime.datatypes import Event
from edge_runtime.errors import StorageError
from edge_runtime.publishing.outbox_file import mapped_errors, open_outbox, shift_times
from edge_runtime.publishing.payload import Ulids, encode
from edge_runtime.publishing.state_folder import StateFolder
from edge_runtime.publishing.wall_steps import WallSteps

ROW_OVERHEAD_BYTES = 80
"""What a row takes of the file beside its payload, unused ends of pages included (measured: 52 to 78 bytes)."""
DROPPED_EVENT_BYTES = 1024
AGE_SLACK = 0.01
"""Rows go once the oldest is this share older than allowed: together, told of by one event, not one by one."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who says it, and when: what an event needs beside itself and its number to become a payload.

    Attributes:
        node: name of the node.
        camera: name of the camera; None for an event about the node itself.
        boot: uuid of this run of the program.
        wall: wall-clock time at which it happened, aware.
        clock_synced: whether that clock had been set.
        latency_ms: from capture to now; None where frames have no real time.
        at_ns: the same moment by the monotonic clock; None: nobody knows, and rows age by the wall clock alone.
    """

    node: str
    camera: str | None
    boot: str
    wall: datetime
    clock_synced: bool
    latency_ms: float | None = None
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An event on disk: its number on this node and its JSON."""

    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What is on disk, and what happened since the outbox was opened.

    Attributes:
        pending: rows not acknowledged.
        pending_bytes: their bytes.
        last_seq: number of the newest event ever appended.
        appended: events appended.
        acknowledged: events that left because the broker has them.
        dropped: events that the bounds removed.
    """

    pending: int
    pending_bytes: int
    last_seq: int
    appended: int
    acknowledged: int
    dropped: int


class Outbox:
    """The queue on disk (SQLite), a context manager; calls may come from several threads.

    An append is synchronous=FULL: it returns when the disk has the row, so that a power cut after it loses
    nothing (in WAL mode, NORMAL would lose the last commits). An acknowledgement is NORMAL: losing one costs a
    duplicate, which QoS 1 allows, and saves a flash card one flush an event.

    Args:
        path: the database; its folder is made private to the owner, and is used by one process at a time.
        max_bytes: bytes kept on disk; `trim` drops the oldest rows beyond.
        max_age_s: seconds a row is kept; `trim` drops older ones.
        ulids: makes the events' ids.

    Raises:
        StorageError: from every method: no room, a torn file, no permission, locked by another process.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_age_s: float, ulids: Ulids | None = None) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._ulids = ulids or Ulids()
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._connection: sqlite3.Connection | None = None
        self._rows = self._bytes = self._last_seq = self._earlier_seq = 0
        self._steps = WallSteps()
        self._appended = self._acknowledged = self._dropped = 0

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(StateFolder(self.path.parent))
            connection = opening.enter_context(open_outbox(self.path))
            with mapped_errors(self.path):
                self._recount(connection)
            self._connection = connection
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._connection = None
            self._open.close()

    @property
    def counts(self) -> OutboxCounts:
        """What is on disk and what happened since opening."""
        with self._lock:
            return OutboxCounts(
                self._rows, self._bytes, self._last_seq, self._appended, self._acknowledged, self._dropped
            )

    def append(self, event: Event, stamp: Stamp) -> Row:
        """Give the event the next number and commit it; when this returns, the disk has it."""
        with self._lock:
            self._keep_ages(stamp)
            with self._transaction("FULL") as connection:
                row = self._insert(connection, event, stamp, stands_for=1)
            self._count_in(row)
        return row

    def pending(self, limit: int, after: int = 0) -> list[Row]:
        """At most `limit` rows that are not acknowledged, numbered above `after`, oldest first."""
        with self._lock, mapped_errors(self.path):
            found = self._opened().execute(
                "SELECT seq, payload FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
            return [Row(seq, bytes(payload)) for seq, payload in found]

    def acknowledge(self, seq: int) -> None:
        """Forget row `seq`: the broker has it. A number that is not there (any more) is ignored."""
        with self._lock:
            with self._transaction("NORMAL") as connection:
                gone = connection.execute("DELETE FROM events WHERE seq = ? RETURNING payload", (seq,)).fetchall()
            self._count_out(payload for (payload,) in gone)
            self._acknowledged += len(gone)

    def trim(self, stamp: Stamp) -> Row | None:
        """Drop the oldest rows beyond the bounds and append, in the same transaction, an `events_dropped` event.

        Rows leave in the order they came. Beyond `max_bytes` a tenth of it is freed at once, so that a full
        outbox does not tell of every single event. A row's age counts only where both its clock and the present
        one have been set: a node without a battery-backed clock boots in the past, and its rows are not old when
        the clock jumps forward. Rows of this run age by the monotonic clock, however the other is set. What is
        dropped may include rows that reached the broker and were not acknowledged yet, so `count` is never less
        than what a subscriber misses.

        Args:
            stamp: who says so; its `wall` is the present.

        Returns:
            The row of the `events_dropped` event, whose `count` includes what an earlier, dropped one told of;
            None if nothing had to go.
        """
        with self._lock:
            self._keep_ages(stamp)
            last = max(self._last_beyond_bytes(), self._last_beyond_age(stamp))
            if last == 0:
                return None
            with self._transaction("FULL") as connection:
                gone = connection.execute(
                    "DELETE FROM events WHERE seq <= ? RETURNING stands_for, payload", (last,)
                ).fetchall()
                count = sum(stands_for for stands_for, _ in gone)
                event = Event(type="events_dropped", at_ns=0, count=count)
                row = self._insert(connection, event, stamp, stands_for=1 + count)
            self._count_out(payload for _, payload in gone)
            self._dropped += len(gone)
            self._count_in(row)
        return row

    def _recount(self, connection: sqlite3.Connection) -> None:
        """Read what an earlier run left."""
        (self._last_seq,) = connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()
        self._earlier_seq = self._last_seq
        self._rows, self._bytes = connection.execute(
            "SELECT count(*), coalesce(sum(length(payload) + ?), 0) FROM events", (ROW_OVERHEAD_BYTES,)
        ).fetchone()

    def _insert(self, connection: sqlite3.Connection, event: Event, stamp: Stamp, stands_for: int) -> Row:
        """Number, encode and insert, inside the caller's transaction: a failure leaves no gap."""
        seq = int(
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'seq' RETURNING value").fetchone()[0]
        )
        payload = encode(
            event,
            node=stamp.node,
            camera=stamp.camera,
            boot=stamp.boot,
            seq=seq,
            event_id=self._ulids.next(stamp.wall),
            wall=stamp.wall,
            clock_synced=stamp.clock_synced,
            latency_ms=stamp.latency_ms,
        )
        wall_s = stamp.wall.timestamp() if stamp.clock_synced else None
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (seq, wall_s, stands_for, payload))
        return Row(seq, payload)

    def _keep_ages(self, stamp: Stamp) -> None:
        """Where the wall clock was set anew, move this run's rows along: they are as old as they were."""
        if stamp.at_ns is not None and (step_s := self._steps.since(stamp.wall, stamp.at_ns)):
            with self._transaction("NORMAL") as connection:
                shift_times(connection, after_seq=self._earlier_seq, by_s=step_s)

    def _count_in(self, row: Row) -> None:
        """Count a row that was committed. The caller holds the lock."""
        self._last_seq = row.seq
        self._rows += 1
        self._bytes += _cost(row.payload)
        self._appended += 1

    def _count_out(self, payloads: Iterable[bytes]) -> None:
        """Count rows whose removal was committed. The caller holds the lock."""
        for payload in payloads:
            self._rows -= 1
            self._bytes -= _cost(payload)

    def _last_beyond_bytes(self) -> int:
        """The number up to which rows must go to fit `max_bytes`; 0: none."""
        if self._bytes <= self._max_bytes:
            return 0
        # Room for the event that tells of it, too.
        surplus = self._bytes - (self._max_bytes - max(self._max_bytes // 10, DROPPED_EVENT_BYTES))
        last = 0
        with mapped_errors(self.path):
            for seq, length in self._opened().execute("SELECT seq, length(payload) FROM events ORDER BY seq"):
                if surplus <= 0:
                    break
                surplus -= length + ROW_OVERHEAD_BYTES
                last = int(seq)
        return last

    def _last_beyond_age(self, stamp: Stamp) -> int:
        """The number up to which rows are too old; 0: none."""
        if not stamp.clock_synced:
            return 0
        now_s = stamp.wall.timestamp()
        with mapped_errors(self.path):
            oldest = self._opened().execute(
                "SELECT wall_s FROM events WHERE wall_s IS NOT NULL ORDER BY seq LIMIT 1"
            ).fetchone()  # fmt: skip
            if oldest is None or now_s - oldest[0] <= self._max_age_s * (1 + AGE_SLACK):
                return 0
            # What stands before an old row is older still, whatever its stamp says.
            old = self._opened().execute(
                "SELECT max(seq) FROM events WHERE wall_s < ?", (now_s - self._max_age_s,)
            ).fetchone()  # fmt: skip
        return int(old[0])

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(f"{self.path}: the outbox is closed; open it with `with`")
        return self._connection

    @contextmanager
    def _transaction(self, synchronous: str) -> Iterator[sqlite3.Connection]:
        """One transaction with that durability: committed at the end, undone by any error."""
        connection = self._opened()
        with mapped_errors(self.path):
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


def _cost(payload: bytes) -> int:
    """Bytes that a row is counted with."""
    return len(payload) + ROW_OVERHEAD_BYTES
