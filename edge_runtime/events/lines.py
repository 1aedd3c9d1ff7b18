"""Lines that tracks cross: `line_cross` with its direction, once for each crossing.

A track is on one side until it stands clearly on the other: beyond a band around the line as wide as boxes jitter.
What it does within the band adds up, so that only a way through the segment counts, not one around its end. Sides are
handed over from a lost track to the one that goes on from it, so that a change of id on the line loses no crossing.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_runtime.config import LineConfig
from edge_runtime.datatypes import Direction, Event, Track, group_of
from edge_runtime.events.appearance import Moment, track_event
from edge_runtime.events.explanation import Explanation
from edge_runtime.events.fitness import Demands, unfit
from edge_runtime.events.footing import extent_px, ground_point
from edge_runtime.events.schedule import Hours
from edge_runtime.events.succession import GAP_S
from edge_runtime.polygons import Point
from edge_runtime.tracking.tracker import TrackerOutput

BAND = 0.05
"""Half the band's width in extents of the box; a standing person's feet spread by 0.012 to 0.018 of them (standard
deviation over 10 and 18 s of the clip one_by_one)."""
BAND_MIN = 0.004
"""And at least so much of the frame's diagonal: 6 px at 1280 x 720."""
SIDES = {-1: "left-hand", 1: "right-hand", 0: "unknown"}


@dataclass(slots=True)
class Crossing:
    """Which side a point is on; one verb: `step`.

    Attributes:
        side: the last side it stood clearly on: -1 left-hand of a -> b, 1 right-hand, 0 none yet.
        through: ways through the segment since then, those to the right less those to the left.
        last: where it was last.
    """

    side: int = 0
    through: int = 0
    last: Point | None = None

    def step(self, point: Point, a: Point, b: Point, band: float) -> Direction | None:
        """Go straight on to `point`; the direction if the line a-b was crossed by that.

        Args:
            point: in the unit of a and b.
            a: first end.
            b: second end.
            band: closer to the line than this, no side is clear.
        """
        here = offset(point, a, b)
        if self.last is not None:
            there = offset(self.last, a, b)
            if (there >= 0) != (here >= 0) and 0 <= _share(self.last, point, there / (there - here), a, b) <= 1:
                self.through += 1 if here >= 0 else -1
        self.last = point
        if abs(here) < band:
            return None
        before, through, now = self.side, self.through, 1 if here > 0 else -1
        self.side, self.through = now, 0
        if before == -now and through * now > 0:
            return "in" if now > 0 else "out"
        return None


def offset(point: Point, a: Point, b: Point) -> float:
    """Distance of `point` from the straight line through a and b, positive on its right-hand side (y down)."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    return float((dx * (point[1] - a[1]) - dy * (point[0] - a[0])) / (dx * dx + dy * dy) ** 0.5)


def _share(start: Point, end: Point, at: float, a: Point, b: Point) -> float:
    """Where along a-b (0 to 1) the point lies that divides start-end at `at`."""
    x, y = start[0] + at * (end[0] - start[0]), start[1] + at * (end[1] - start[1])
    dx, dy = b[0] - a[0], b[1] - a[1]
    return ((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)


@dataclass(slots=True)
class _Walk:
    """What a line remembers of one track.

    Attributes:
        track: as it was last.
        own: its side by its own path.
        own_told: crossings not told yet: it is not confirmed.
        predecessor: the track it seems to go on from.
        heir: its side if it does.
        heir_told: crossings not told yet, if it does.
        settled: whether it is confirmed, and its predecessor decided on.
    """

    track: Track
    own: Crossing = field(default_factory=Crossing)
    own_told: list[Direction] = field(default_factory=list)
    predecessor: int | None = None
    heir: Crossing = field(default_factory=Crossing)
    heir_told: list[Direction] = field(default_factory=list)
    settled: bool = False


class Line:
    """One line; one verb: `update` with each frame's tracks.

    Args:
        config: the line.
        counted: for each name that is counted, the labels of tracks it stands for.
        demands: what is asked of each label's tracks beside what the line asks.
        explanation: told why.
    """

    def __init__(
        self, config: LineConfig, counted: Mapping[str, frozenset[str]], demands: Demands, explanation: Explanation
    ) -> None:
        self.config = config
        self.crossings: Counter[Direction] = Counter({"in": 0, "out": 0})
        self._rule = f"line {config.name}"
        self._labels = frozenset().union(*counted.values())
        self._explanation = explanation
        self._demands = demands
        self._hours = Hours(config.active, config.quiet)
        self._told_ns: dict[tuple[str, Direction], int] = {}
        self._walks: dict[int, _Walk] = {}

    def update(self, output: TrackerOutput, moment: Moment, successors: Mapping[int, int]) -> list[Event]:
        """The events of one frame, in order of track.

        Args:
            output: the tracker's tracks after this frame.
            moment: when that was.
            successors: for tracks that began in this frame, the one each goes on from.
        """
        events: list[Event] = []
        for track in output.live:
            walk = self._walks.get(track.id)
            if walk is None:
                walk = self._walks[track.id] = self._begun(track, successors.get(track.id))
            walk.track = track
            if not track.lost:  # where a lost track is, nobody knows
                self._step(walk, moment)
        # Only now has every track of the frame been seen, and with it any predecessor that came back.
        for track in output.live:
            walk = self._walks.get(track.id)
            if walk is None:  # its successor has just taken its side
                continue
            if track.confirmed and not walk.settled:
                self._settle(walk, moment)
            if walk.settled:
                events += [e for d in walk.own_told if (e := self._told(track, d, moment)) is not None]
                walk.own_told.clear()
        living = {track.id for track in output.live}
        for id_, walk in list(self._walks.items()):
            if id_ not in living and moment.at_ns - walk.track.seen_ns > GAP_S * 1e9:
                del self._walks[id_]
                self._explanation.forget(walk.track, self._rule)
        return events

    def take_over(self, before: Line) -> None:
        """Go on from the line of that name as it was before; its sides and counts only where it has not moved."""
        if before.config.points == self.config.points:
            self._walks, self._told_ns, self.crossings = before._walks, before._told_ns, before.crossings

    def _begun(self, track: Track, predecessor: int | None) -> _Walk:
        walk = _Walk(track)
        before = None if predecessor is None else self._walks.get(predecessor)
        if before is not None:
            walk.predecessor = predecessor
            goes_on = before.predecessor is not None and not before.settled
            walk.heir = copy.copy(before.heir if goes_on else before.own)
            walk.heir_told = list(before.heir_told if goes_on else before.own_told)
        return walk

    def _step(self, walk: _Walk, moment: Moment) -> None:
        """Follow a track that is seen to where it stands now."""
        w, h = moment.frame_wh
        a, b = ((x * w, y * h) for x, y in self.config.points)
        point = ground_point(walk.track, moment.frame_wh)
        band = max(BAND * extent_px(walk.track), BAND_MIN * (w * w + h * h) ** 0.5)
        before = walk.own.side
        direction = walk.own.step(point, a, b, band)
        if direction is not None:
            walk.own_told.append(direction)
        if walk.predecessor is not None and not walk.settled:
            handed = walk.heir.step(point, a, b, band)
            if handed is not None:
                walk.heir_told.append(handed)
        away = abs(offset(point, a, b))
        if away < band:
            self._note(walk.track, moment, "band", f"on the line: {away:.0f} px away, clear from {band:.0f} px on")
        elif direction is None:
            side = SIDES[walk.own.side]
            around = before == -walk.own.side
            text = f"came to the {side} side around the line's end" if around else f"on the {side} side, {away:.0f} px"
            self._note(walk.track, moment, side, text)

    def _settle(self, walk: _Walk, moment: Moment) -> None:
        """A track is confirmed: decide whether it goes on from its predecessor."""
        walk.settled = True
        line: list[_Walk] = []
        id_ = walk.predecessor
        while id_ is not None and (before := self._walks.get(id_)) is not None:
            line.append(before)
            id_ = None if before.settled else before.predecessor
        if not line:
            return
        if any(before.track.seen_ns >= walk.track.start_ns for before in line):
            self._note(walk.track, moment, "two", f"not track {line[0].track.id}: that one was seen again")
            return
        self._note(walk.track, moment, "heir", f"goes on from track {line[0].track.id}, lost on the "
                   f"{SIDES[line[0].own.side]} side")  # fmt: skip
        walk.own, walk.own_told = walk.heir, walk.heir_told
        for before in line:
            del self._walks[before.track.id]

    def _told(self, track: Track, direction: Direction, moment: Moment) -> Event | None:
        """The event of a crossing, if the track counts and the line is active."""
        way = "left to right" if direction == "in" else "right to left"
        why = unfit(track, moment, self._labels, self.config, self._demands)
        if why is not None:
            self._note(track, moment, why.split()[0], f"crossed {way}, but {why}")
            return None
        silent = self._hours.silent(moment.wall)
        if silent is not None:
            self._note(track, moment, "schedule", f"crossed {way}, but {silent}")
            return None
        self.crossings[direction] += 1
        key = group_of(track.label), direction
        since_s = (moment.at_ns - self._told_ns.get(key, -(1 << 62))) / 1e9
        if since_s < self.config.cooldown_s:
            text = f"crossed {way}, but so did another {key[0]} {since_s:.2f} s ago"
            self._note(track, moment, "cooldown", f"{text}; cooldown_s = {self.config.cooldown_s}")
            return None
        self._told_ns[key] = moment.at_ns
        text = f"line_cross {direction}: from {way}, score {track.score:.2f}"
        self._explanation.note(moment, track, self._rule, direction, text, fired=True)
        return track_event("line_cross", track, moment, line=self.config.name, direction=direction)

    def _note(self, track: Track, moment: Moment, reason: str, text: str) -> None:
        self._explanation.note(moment, track, self._rule, reason, text)
