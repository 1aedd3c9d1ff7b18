"""Whose turn it is to be looked at closely: one track a frame, so that a crowd costs no more than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_runtime.datatypes import Track

NEVER_NS = -(10**18)


class Turns:
    """One verb: `take`.

    Args:
        every_s: between two looks at one track: views nearer in time show the same.
    """

    def __init__(self, every_s: float) -> None:
        self._every_ns = every_s * 1e9
        self._looked_ns: dict[int, int] = {}

    def take(
        self, tracks: Sequence[Track], worthy: Callable[[Track], bool], size_px: Callable[[Track], float], now_ns: int
    ) -> Track | None:
        """Whoever waited longest, a new one before all others and a large one before a small; None: nobody is due.

        Args:
            tracks: all live tracks that take turns; those that are gone are forgotten.
            worthy: whether a look is of use now.
            size_px: how large it is.
            now_ns: capture time of the frame.
        """
        self._looked_ns = {t.id: self._looked_ns[t.id] for t in tracks if t.id in self._looked_ns}
        due = [t for t in tracks if not t.lost and now_ns - self._last(t) >= self._every_ns and worthy(t)]
        if not due:
            return None
        track = min(due, key=lambda t: (self._last(t), -size_px(t)))
        self._looked_ns[track.id] = now_ns
        return track

    def _last(self, track: Track) -> int:
        return self._looked_ns.get(track.id, NEVER_NS)
