"""Follows objects from frame to frame: two rounds of association, sure detections first.

The two rounds are ByteTrack's idea (Zhang et al. 2022): a weak detection is worth nothing by itself, but it prolongs
a track that is already there. Boxes are enlarged before they are compared, more so for tracks not seen lately
(Yang et al. 2023, "Hard to track objects with irregular motions", section 3.1): at ten frames a second a walker's
boxes may not touch from one frame to the next.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import TrackingConfig
from edge_runtime.datatypes import Detections, Track, group_of
from edge_runtime.geometry import Boxes, area, iou, share_inside
from edge_runtime.tracking import kalman
from edge_runtime.tracking.assignment import assign

BUFFER = 0.15
"""Boxes are enlarged by this share of their sides on each side before they are compared."""
BUFFER_PER_S = 0.3
"""And by so much more for each second the track was not seen, up to one second."""
WEAK_IOU_MIN = 0.35
"""A weak detection must lie where the track is expected."""
CONFIRM_SHARE = 0.7
"""Detections below this share of the score that starts a track prolong it, but do not confirm it."""
TENTATIVE_S = 0.35
"""An unconfirmed track that was not seen this long was a flicker."""
MEAN_SIGHTINGS = 10
"""About so many of the latest detections make a track's mean score: one faint look changes it little."""
GONE_S = 0.3
"""A track that has left the frame, by its forecast or at the speed it was last seen with, is given up after this long
unseen."""
FRAGMENT_SHARE = 0.7
"""A detection that lies this much inside a track just seen, or inside another that starts one, starts none: it is a
part of it."""
BESIDE_SHARE = 0.3
"""A detection of which this share lies inside a track just seen may be a second look at that object: a track that
starts so is told of after several times as many detections."""
BESIDE_HITS = 3
RARER = {"truck": 0.7, "bus": 0.5}
"""What a vote for a label counts: most of what is called a car now and a bus then is a car."""
DOUBLE_IOU = 0.8
"""A lost track and a seen one of one group that overlap this much are one object."""


@dataclass(frozen=True, slots=True)
class TrackerOutput:
    """After a frame: the tracks that live (lost ones included) and those that just ended, each told of once."""

    live: tuple[Track, ...]
    ended: tuple[Track, ...]


@dataclass(slots=True)
class _State:
    """What the tracker remembers of one track beside its filter; it leaves the frame `out_s` after it was seen."""

    id: int
    group: str
    start_ns: int
    seen_ns: int
    score: float = 0.0
    mean_score: float = 0.0
    hits: int = 0
    sure: int = 1
    needed: int = 1
    confirmed: bool = False
    out_s: float = np.inf
    votes: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def see(self, label: str, score: float, now_ns: int) -> None:
        self.votes[label] += score * RARER.get(label, 1.0)
        self.score, self.seen_ns = score, now_ns
        self.hits += 1
        self.mean_score += (score - self.mean_score) / min(self.hits, MEAN_SIGHTINGS)

    def label(self) -> str:
        return max(self.votes, key=lambda name: self.votes[name])


class Tracker:
    """Verbs: `update` with each frame's detections, `forget`. Ids count from 1; like input gives like output."""

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._states: list[_State] = []
        self._beliefs = kalman.no_beliefs()
        self._last_ns: int | None = None
        self._next_id = 1

    def update(self, detections: Detections, now_ns: int, frame_wh: tuple[int, int]) -> TrackerOutput:
        """The tracks after a frame captured at `now_ns`, which must not go backwards.

        Args:
            detections: of this frame, full-frame pixels.
            now_ns: the frame's capture time.
            frame_wh: its size.
        """
        seconds = 0.0 if self._last_ns is None else max(now_ns - self._last_ns, 0) / 1e9
        last_ns = now_ns if self._last_ns is None else self._last_ns
        self._last_ns = now_ns
        unseen = np.array([s.seen_ns < last_ns for s in self._states], np.bool_)
        self._beliefs = kalman.predict(self._beliefs, seconds, unseen)
        # After a gap in the frames it is nobody's own track that goes on, but another that begins.
        lost_ns = round(self._config.lost_s * 1e9)
        ended = self._drop(np.array([now_ns - s.seen_ns > lost_ns for s in self._states], np.bool_), now_ns)
        groups = np.array([group_of(n) for n in detections.names])[detections.labels]
        sure = np.flatnonzero(detections.scores >= self._config.start_score)
        weak = np.flatnonzero(
            (detections.scores < self._config.start_score) & (detections.scores >= self._config.match_score)
        )
        tracks = np.arange(len(self._states))
        pairs = self._matched(tracks, sure, detections, groups, now_ns, 1 - self._config.iou_min)
        left = np.setdiff1d(tracks, [i for i, _ in pairs])
        pairs += self._matched(left, weak, detections, groups, now_ns, 1 - WEAK_IOU_MIN)
        self._see(pairs, detections, now_ns)
        self._begin(np.setdiff1d(sure, [j for _, j in pairs]), detections, groups, now_ns)
        ended += self._end(now_ns, frame_wh)
        return TrackerOutput(tuple(self._track(i, now_ns) for i in range(len(self._states))), ended)

    def forget(self) -> None:
        """All tracks are over; ids are not given again."""
        self._states, self._beliefs, self._last_ns = [], kalman.no_beliefs(), None

    def _matched(
        self, tracks: NDArray[np.intp], found: NDArray[np.intp], detections: Detections, groups: NDArray[np.str_],
        now_ns: int, cost_max: float,
    ) -> list[tuple[int, int]]:  # fmt: skip
        """Pairs (track, detection) of one round; never across groups."""
        if not len(tracks) or not len(found):
            return []
        unseen_s = np.array([(now_ns - self._states[i].seen_ns) / 1e9 for i in tracks], np.float32)
        buffer: NDArray[np.float32] = np.float32(BUFFER) + np.float32(BUFFER_PER_S) * np.minimum(
            unseen_s, np.float32(1)
        )
        forecast = _enlarged(kalman.boxes(self._beliefs)[tracks], buffer)
        boxes = detections.boxes[found]
        # Each track compares with detections enlarged as much as itself, so that equal boxes overlap wholly.
        overlap = np.stack(
            [iou(forecast[k : k + 1], _enlarged(boxes, buffer[k]))[0] for k in range(len(tracks))]
        ).astype(np.float64)
        same = np.array([self._states[i].group for i in tracks])[:, None] == groups[found][None, :]
        # A surer detection wins a tie between two that overlap a track alike.
        cost = np.where(same, 1 - overlap - 1e-3 * detections.scores[found], 2.0)
        return [(int(tracks[i]), int(found[j])) for i, j in assign(cost, cost_max)]

    def _see(self, pairs: list[tuple[int, int]], detections: Detections, now_ns: int) -> None:
        """Update the filters and states of matched tracks."""
        if not pairs:
            return
        index = np.array([i for i, _ in pairs], np.intp)
        updated = kalman.update(self._beliefs.select(index), detections.boxes[[j for _, j in pairs]])
        self._beliefs.mean[index], self._beliefs.covariance[index] = updated.mean, updated.covariance
        for i, j in pairs:
            state = self._states[i]
            state.see(detections.name(j), float(detections.scores[j]), now_ns)
            state.sure += detections.scores[j] >= CONFIRM_SHARE * self._config.start_score
            state.confirmed = state.confirmed or state.sure >= state.needed

    def _begin(self, found: NDArray[np.intp], detections: Detections, groups: NDArray[np.str_], now_ns: int) -> None:
        """Start tracks for those of `found` that are not parts of a track seen lately, nor of a larger one of them;
        faces: of a surer one."""
        if not len(found):
            return
        lately_ns = now_ns - round(TENTATIVE_S * 1e9)
        seen = [
            i for i, s in enumerate(self._states) if s.seen_ns == now_ns or (s.confirmed and s.seen_ns >= lately_ns)
        ]
        boxes, own = detections.boxes[found], groups[found]
        wholes = np.concatenate([kalman.boxes(self._beliefs)[seen], boxes])
        same = own[:, None] == np.array([*(self._states[i].group for i in seen), *own], str)[None, :]
        inside = np.where(same, share_inside(boxes, wholes), 0)
        first = area(wholes)[None, :] > area(boxes)[:, None]
        first[:, : len(seen)] = True  # a track's box may have shrunk meanwhile
        # One face holds no other: a box around a face is that head, and the surer of the two is the face.
        faces = own == "face"
        inside[faces] = np.maximum(inside, np.where(same, share_inside(wholes, boxes).T, 0))[faces]
        scores = detections.scores[found]
        first[faces, len(seen) :] = (scores[None, :] > scores[:, None])[faces]
        part: NDArray[np.bool_] = np.asarray(((inside >= FRAGMENT_SHARE) & first).any(1))
        now = [k for k, i in enumerate(seen) if self._states[i].confirmed and self._states[i].seen_ns == now_ns]
        beside: NDArray[np.bool_] = np.asarray((inside[:, now] >= BESIDE_SHARE).any(1))
        started = found[~part]
        for j, near in zip(started.tolist(), beside[~part].tolist(), strict=True):
            state = _State(self._next_id, str(groups[j]), now_ns, now_ns)
            state.see(detections.name(j), float(detections.scores[j]), now_ns)
            state.needed = self._config.confirm_hits * (BESIDE_HITS if near else 1)
            state.confirmed = state.needed <= 1
            self._states.append(state)
            self._next_id += 1
        self._beliefs = self._beliefs.joined(kalman.begin(detections.boxes[started]))

    def _end(self, now_ns: int, frame_wh: tuple[int, int]) -> tuple[Track, ...]:
        """Drop the tracks that are over, and return them."""
        boxes = kalman.boxes(self._beliefs)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        outside = np.asarray(((centre < 0) | (centre > np.array(frame_wh))).any(1), np.bool_)
        # Forecasts slow down while nothing is seen; what drove towards a border has not stopped before it.
        out_s = _seconds_to_leave(self._beliefs, frame_wh)
        over: NDArray[np.bool_] = np.zeros(len(self._states), np.bool_)
        for i, state in enumerate(self._states):
            unseen_s = (now_ns - state.seen_ns) / 1e9
            if not unseen_s:
                state.out_s = out_s[i]
            outside[i] |= unseen_s > state.out_s
            patience = self._config.lost_s if state.confirmed else min(TENTATIVE_S, self._config.lost_s)
            over[i] = unseen_s > (min(GONE_S, patience) if outside[i] else patience)
        lost: NDArray[np.bool_] = np.array([s.seen_ns < now_ns for s in self._states], np.bool_)
        if lost.any() and not lost.all():
            names = np.array([s.group for s in self._states])
            same = names[lost][:, None] == names[~lost][None, :]
            double = same & (iou(boxes[lost], boxes[~lost]) > DOUBLE_IOU)
            over[np.flatnonzero(lost)[np.flatnonzero(double.any(1))]] = True
        return self._drop(over, now_ns)

    def _drop(self, over: NDArray[np.bool_], now_ns: int) -> tuple[Track, ...]:
        """Forget these tracks [n], and return them."""
        if not over.any():
            return ()
        ended = tuple(self._track(i, now_ns) for i in np.flatnonzero(over).tolist())
        self._states = [s for s, gone in zip(self._states, over, strict=True) if not gone]
        self._beliefs = self._beliefs.select(~over)
        return ended

    def _track(self, i: int, now_ns: int) -> Track:
        s = self._states[i]
        x1, y1, x2, y2 = kalman.boxes(self._beliefs.select(np.array([i])))[0].tolist()
        return Track(
            s.id,
            s.label(),
            s.score,
            s.mean_score,
            (x1, y1, x2, y2),
            s.start_ns,
            s.seen_ns,
            s.hits,
            s.confirmed,
            s.seen_ns < now_ns,
        )


def _seconds_to_leave(beliefs: kalman.Beliefs, frame_wh: tuple[int, int]) -> list[float]:
    """When the centre of each box crosses a border of the frame, should its speed stay as it is."""
    centre, speed = beliefs.mean[:, :2], beliefs.mean[:, 4:6]
    way = np.maximum(np.where(speed > 0, np.array(frame_wh) - centre, centre), 0)
    return [float(s) for s in (way / np.maximum(np.abs(speed), 1e-9)).min(1, initial=np.inf)]


def _enlarged(boxes_xyxy: Boxes, share: NDArray[np.float32] | np.float32 | float) -> Boxes:
    """Each box [n, 4] enlarged by `share` (one, or [n]) of its sides on each side."""
    grow = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * np.reshape(share, (-1, 1))
    return np.concatenate([boxes_xyxy[:, :2] - grow, boxes_xyxy[:, 2:] + grow], 1).astype(np.float32)
