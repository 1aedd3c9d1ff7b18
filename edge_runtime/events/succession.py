"""Which track a new one goes on from: trackers lose an object and find it again under another id."""

from __future__ import annotations

import math

from edge_runtime.datatypes import Track, group_of
from edge_runtime.events.appearance import Moment
from edge_runtime.events.footing import extent_px, ground_point
from edge_runtime.polygons import Point
from edge_runtime.tracking.tracker import TrackerOutput

GAP_S = 1.0
"""A track unseen for longer has no successor."""
REACH = 0.75
"""A successor begins within this many extents of where its predecessor was last seen, or is expected,"""
REACH_PER_S = 0.75
"""and so many more for each second in between."""


class Succession:
    """One verb: `update`; says of each new track which unseen one of its group it begins nearest to.

    It is a guess: whoever uses it waits until the new track is confirmed, and drops it if the old one came back.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Track, Point]] = {}
        self._forecast: dict[int, Track] = {}
        self._known: set[int] = set()

    def update(self, output: TrackerOutput, moment: Moment) -> dict[int, int]:
        """For tracks that begin in this frame, the id of the one each goes on from, if any."""
        tracks = {t.id: t for t in (*output.live, *output.ended)}
        self._forecast |= tracks
        found: dict[int, int] = {}
        for track in output.live:
            if track.id not in self._known:
                predecessor = self._nearest(track, moment)
                if predecessor is not None:
                    found[track.id] = predecessor
                    del self._seen[predecessor]
        for id_, track in tracks.items():
            # A lost track's box is a forecast; the place it was last seen at is what counts.
            if not track.lost:
                self._seen[id_] = track, ground_point(track, moment.frame_wh)
        self._forecast = {id_: track for id_, track in self._forecast.items() if id_ in self._seen}
        self._known = {t.id for t in output.live}
        self._seen = {id_: kept for id_, kept in self._seen.items() if moment.at_ns - kept[0].seen_ns <= GAP_S * 1e9}
        return found

    def _nearest(self, track: Track, moment: Moment) -> int | None:
        here = ground_point(track, moment.frame_wh)
        best: tuple[float, int] | None = None
        for id_, (other, there) in self._seen.items():
            forecast, gap_s = self._forecast[id_], (moment.at_ns - other.seen_ns) / 1e9
            if not forecast.lost or gap_s > GAP_S or group_of(other.label) != group_of(track.label):
                continue
            extent = min(extent_px(track), extent_px(other))  # the larger of two very unlike ones reaches far
            distance = min(math.dist(here, there), math.dist(here, ground_point(forecast, moment.frame_wh)))
            if distance <= extent * (REACH + REACH_PER_S * gap_s) and (best is None or (distance, id_) < best):
                best = distance, id_
        return None if best is None else best[1]
