"""When the frames of something recorded are due."""

from __future__ import annotations

from edge_runtime.clock import Clock

NS_PER_S = 1_000_000_000


class Timeline:
    """Turns time within a recording into capture times, and waits for them where frames are paced.

    Args:
        clock: where times come from.
        paced: whether to wait until a frame is due.
        start_ns: capture time of the recording's beginning; None: when the first frame is reached.
    """

    def __init__(self, clock: Clock, paced: bool, start_ns: int | None) -> None:
        self._clock = clock
        self._paced = paced
        self._start_ns = start_ns

    def reach(self, elapsed_s: float) -> int:
        """The capture time, in ns, of the frame `elapsed_s` after the beginning; waits for it if paced."""
        if self._start_ns is None:
            # Not when it was opened: models load in between, and the first seconds would come in a rush.
            self._start_ns = self._clock.now_ns()
        due_ns = self._start_ns + round(elapsed_s * NS_PER_S)
        if self._paced:
            wait_ns = due_ns - self._clock.now_ns()
            if wait_ns > 0:
                self._clock.sleep(wait_ns / NS_PER_S)
        return due_ns
