"""How long it takes from the sensor to PUBACK: from a frame's capture to the broker's word that it has the event."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_runtime.publishing.outbox import OutboxCounts

KEPT = 512
"""Times that the percentiles are taken over: the latest ones."""
HALVES = 512
"""Events of which one end is known and the other is not; the oldest is forgotten, as when its row was dropped."""


class PubackTimes:
    """The latest times, in memory alone; calls may come from several threads.

    They tell how quick node and broker are while they can talk. So an event counts if its frame was captured while
    there was a connection and nothing of before it waited, and if it was acknowledged over that connection. What was
    captured in an outage or behind a refused event, what is sent again after one, and what an earlier run left do not
    count: their times are as long as the outage was, and how much waits is told by the outbox. A broker or network
    that is slow, or hangs and goes on, counts with every millisecond.

    Args:
        now_ns: the clock that capture times are of.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._times_ms: deque[float] = deque(maxlen=KEPT)
        self._captured_ns: dict[int, int] = {}  # by seq, until it is acknowledged
        # By seq: paho's thread may send a row, and hear of it, before who committed it comes to `captured`.
        self._acknowledged_ns: dict[int, int] = {}
        self._since_ns: int | None = None  # what was captured from then on counts; None: something waits
        self._awaited_seq = 0

    def captured(self, seq: int, captured_ns: int) -> None:
        """Event `seq` came of a frame captured then."""
        with self._lock:
            acknowledged_ns = self._acknowledged_ns.pop(seq, None)
            if acknowledged_ns is None:
                _hold(self._captured_ns, seq, captured_ns)
            else:
                self._count(captured_ns, acknowledged_ns)

    def acknowledged(self, seq: int) -> None:
        """The broker has event `seq`, now."""
        with self._lock:
            now_ns = self._now_ns()
            captured_ns = self._captured_ns.pop(seq, None)
            if captured_ns is None:
                _hold(self._acknowledged_ns, seq, now_ns)
            else:
                self._count(captured_ns, now_ns)
            if self._since_ns is None and seq >= self._awaited_seq:  # acknowledgements come in order (MQTT 5, 4.6.0-2)
                self._since_ns = now_ns

    def interrupted(self, counts: OutboxCounts) -> None:
        """There is a new connection, or the broker refused: nothing counts until it has all that the outbox holds."""
        with self._lock:
            self._captured_ns.clear()
            self._acknowledged_ns.clear()
            self._since_ns = None if counts.pending else self._now_ns()
            self._awaited_seq = counts.last_seq

    def as_dict(self) -> dict[str, Any] | None:
        """How many times there are, and the time that half of them and 95 % do not exceed, in ms; None without any."""
        with self._lock:
            times_ms = sorted(self._times_ms)
        if not times_ms:
            return None
        p50, p95 = (round(times_ms[math.ceil(share * len(times_ms)) - 1], 1) for share in (0.5, 0.95))
        return {"count": len(times_ms), "p50": p50, "p95": p95}

    def _count(self, captured_ns: int, acknowledged_ns: int) -> None:
        """Take a time, if it counts. The caller holds the lock."""
        if self._since_ns is not None and captured_ns >= self._since_ns:
            self._times_ms.append((acknowledged_ns - captured_ns) / 1e6)


def _hold(ends_ns: dict[int, int], seq: int, at_ns: int) -> None:
    ends_ns[seq] = at_ns
    if len(ends_ns) > HALVES:
        del ends_ns[next(iter(ends_ns))]
