"""Work that several threads ask for and one at a time does, without any of them waiting for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

POLL_S = 0.02


class Turns:
    """One verb: `take`; the work is done once more after it was asked for, by whoever is at it.

    paho calls back while it holds a lock that `publish` takes too. So no lock of ours may be waited for across
    `publish`, and who finds another thread at the work leaves it a note instead.

    Args:
        work: sends what there is to send; it may ask for another turn itself.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._busy, self._again = threading.Lock(), False

    def take(self) -> None:
        """Do the work, or have it done."""
        self._again = True
        while self._again and self._busy.acquire(blocking=False):
            try:
                self._again = False
                self._work()
            finally:
                self._busy.release()

    def until(self, done: Callable[[], bool], deadline_s: float) -> None:
        """Take turns until it is done, or until the monotonic clock has passed the deadline."""
        while not done() and time.monotonic() < deadline_s:
            self.take()
            time.sleep(POLL_S)
