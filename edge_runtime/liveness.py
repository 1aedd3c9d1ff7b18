"""Whether frames are really being processed, which is what the node's status means."""

from __future__ import annotations

import threading
from collections.abc import Callable

FRAMES_MISSED = 3
"""A slow camera may take so many of its own periods before it counts as stalled."""


class Liveness:
    """Told of each processed frame, asked now and then from any thread; says when frames stop and when they are back.

    The thread that reads the camera asks too, since one that waits in a network or a driver cannot ask itself.

    Args:
        stalled_s: without a processed frame for so long they have stopped.
        fps: frames a second asked of the camera.
        on_change: told true when frames flow, false when they have stopped; called by one thread at a time.
        say: told the same in words.
    """

    def __init__(
        self, stalled_s: float, fps: float, on_change: Callable[[bool], None], say: Callable[[str], None]
    ) -> None:
        self._stalled_ns = round(max(stalled_s, FRAMES_MISSED / fps) * 1e9)
        self._on_change, self._say = on_change, say
        self._lock = threading.Lock()
        self._fed_ns: int | None = None
        self.alive = False

    def fed(self, now_ns: int) -> None:
        """A frame was processed."""
        with self._lock:
            before_ns, self._fed_ns = self._fed_ns, now_ns
            if self.alive:
                return
            self.alive = True
            self._on_change(True)
            if before_ns is not None:
                self._say(f"frames are processed again after {(now_ns - before_ns) / 1e9:.1f} s: the node is online")

    def check(self, now_ns: int) -> None:
        """Time has passed."""
        with self._lock:
            if not self.alive or self._fed_ns is None or now_ns - self._fed_ns < self._stalled_ns:
                return
            self.alive = False
            self._on_change(False)
            self._say(f"no frame processed for {(now_ns - self._fed_ns) / 1e9:.1f} s: the node is offline")
