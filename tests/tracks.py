"""Builds what a tracker would put out, for tests of rules: tracks that stand somewhere at some time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_runtime.datatypes import Event, Track
from edge_runtime.events.appearance import Moment
from edge_runtime.events.engine import EventEngine
from edge_runtime.tracking.tracker import TrackerOutput

FRAME_WH = (1000, 500)
CLASSES = ("face", "person", "car", "truck", "bus", "motorcycle", "bicycle")


def moment(at_s: float, **more: object) -> Moment:
    """A moment `at_s` seconds into a clip of 1000 x 500 pixels."""
    return Moment(round(at_s * 1e9), at_s, FRAME_WH, **more)  # type: ignore[arg-type]


def standing(
    id_: int, x: float, y: float, at_s: float, *, start_s: float = 0.0, label: str = "person", score: float = 0.9,
    size_wh: tuple[float, float] = (40.0, 90.0), confirmed: bool = True, seen_s: float | None = None,
) -> Track:  # fmt: skip
    """A track whose lower edge's middle is at x, y; `seen_s`: last seen then, so it is lost."""
    w, h = size_wh
    seen_s = at_s if seen_s is None else seen_s
    box = (x - w / 2, y - h, x + w / 2, y)
    ns = [round(t * 1e9) for t in (start_s, seen_s)]
    return Track(id_, label, score, score, box, ns[0], ns[1], 5, confirmed, seen_s < at_s)


@dataclass
class Stage:
    """Feeds an engine with frames and keeps what it told."""

    engine: EventEngine
    events: list[Event] = field(default_factory=list)
    at_s: float = 0.0

    def frame(
        self, at_s: float, live: Sequence[Track] = (), ended: Sequence[Track] = (), **more: object
    ) -> list[Event]:
        """One frame; its events without those of appearance."""
        self.at_s = at_s
        told = self.engine.update(TrackerOutput(tuple(live), tuple(ended)), moment(at_s, **more))
        told = [e for e in told if not e.type.startswith("track_")]
        self.events += told
        return told

    def finish(self) -> list[Event]:
        """The end of the clip."""
        told = [e for e in self.engine.finish(moment(self.at_s)) if not e.type.startswith("track_")]
        self.events += told
        return told
