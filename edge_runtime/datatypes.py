"""The values that travel from room to room: frames, detections, crops, tracks, events.

Boxes are float32 xyxy in full-frame pixels, half-open. Times are monotonic nanoseconds of the sensor's clock;
wall clock is added only where an event leaves the node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_runtime.geometry import Boxes

BgrImage = NDArray[np.uint8]
"""uint8 [h, w, 3], blue green red; rows may be padded (strided views are welcome)."""

EventType = Literal[
    "track_start", "track_update", "track_end", "zone_enter", "zone_leave", "dwell", "line_cross",
    "slot_occupied", "slot_free", "tamper", "tamper_clear", "node_online", "events_dropped",
    "identity", "plate",
]  # fmt: skip

Direction = Literal["in", "out"]
"""Across a line: `in` from the left-hand side of a -> b to its right-hand side, as the picture shows them."""

TamperKind = Literal["covered", "blinded", "defocused", "moved", "frozen", "noise"]

VEHICLES: tuple[str, ...] = ("car", "truck", "bus", "motorcycle", "bicycle")
"""Labels that the attention network sees as one class, `vehicle`."""

TWO_WHEELERS: tuple[str, ...] = ("motorcycle", "bicycle")


PARTS: tuple[str, ...] = ("license_plate",)
"""Labels of what belongs to an object: hidden in pictures, but not followed and told of by itself."""


def group_of(label: str) -> str:
    """Labels that one object may be taken for from frame to frame share a group.

    A car passes for a truck or a bus; a two-wheeler for another, but never for a car.
    """
    if label in TWO_WHEELERS:
        return "two-wheeler"
    return "vehicle" if label in VEHICLES else label


class Yuv420(NamedTuple):
    """A YUV 4:2:0 picture as three views, so that I420 and NV12 buffers need no copy (full-range BT.601).

    Attributes:
        y: uint8 [h, w].
        u: uint8 [h / 2, w / 2], any strides.
        v: uint8 [h / 2, w / 2], any strides.
    """

    y: NDArray[np.uint8]
    u: NDArray[np.uint8]
    v: NDArray[np.uint8]


Picture = BgrImage | Yuv420


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One instant of one camera.

    Attributes:
        main: the picture at native pixels, BGR [h, w, 3] or YUV 4:2:0 views; not copied from the camera's buffer.
        lores: uint8 [lh, lw, 3] BGR, the whole of `main` resized at its own aspect (no letterbox): what
            attention looks at.
        captured_ns: the sensor's time stamp, monotonic nanoseconds.
        seq: number of the frame at its source, from 0, without gaps at the source.
        media_s: position in the clip in seconds; None for a live camera.
        release: gives the camera its buffer back; called exactly once by whoever consumed the frame. The arrays
            must not be touched afterwards.
    """

    main: Picture
    lores: BgrImage
    captured_ns: int
    seq: int
    media_s: float | None = None
    release: Callable[[], None] = field(default=_nothing)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of `main` in pixels."""
        plane = self.main.y if isinstance(self.main, Yuv420) else self.main
        return int(plane.shape[1]), int(plane.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes with scores and labels; regions of interest are detections of the attention network.

    Attributes:
        boxes: float32 [n, 4] xyxy, full-frame pixels, half-open.
        scores: float32 [n], 0 to 1.
        labels: int32 [n], indices into `names`.
        names: the label vocabulary.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,) or self.labels.shape != (n,):
            raise ValueError(
                f"detections do not agree: boxes {self.boxes.shape}, scores {self.scores.shape}, "
                f"labels {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
        """The detections at `index` (integers or a mask [n])."""
        return Detections(self.boxes[index], self.scores[index], self.labels[index], self.names)

    def name(self, i: int) -> str:
        """The label of detection `i` in words."""
        return self.names[int(self.labels[i])]

    @staticmethod
    def none(names: tuple[str, ...]) -> Detections:
        """No detections of that vocabulary."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), names)


@dataclass(frozen=True, slots=True, eq=False)
class CropPlan:
    """Where this frame is looked at closely.

    Attributes:
        windows: float32 [n, 4] xyxy, full-frame pixels, n at most the budget; each is resized whole, at its own
            aspect, into one crop.
        carried: bool [n], true where a live track asked for the window and no region did.
        overflow: number of windows that did not fit the budget.
    """

    windows: Boxes
    carried: NDArray[np.bool_]
    overflow: int

    def __len__(self) -> int:
        return len(self.windows)


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed over time, as it stood when last updated.

    Attributes:
        id: unique while the program runs, from 1.
        label: the label with the largest sum of scores over the track's life.
        score: score of the latest detection that was matched, 0 to 1.
        mean_score: over the latest ten or so detections that were matched; what rules hold their `min_score` against.
        box: xyxy, full-frame pixels: the filter's estimate, cut at the borders by whoever shows it.
        start_ns: capture time of the frame in which the track was first seen.
        seen_ns: capture time of the frame of the latest matched detection.
        hits: number of matched detections.
        confirmed: seen often enough to be told of.
        lost: not matched in the latest frame.
    """

    id: int
    label: str
    score: float
    mean_score: float
    box: tuple[float, float, float, float]
    start_ns: int
    seen_ns: int
    hits: int
    confirmed: bool
    lost: bool


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """What an event says of its track (the `track` object of event schema 1)."""

    id: int
    label: str
    score: float
    box: tuple[float, float, float, float]
    age_s: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling, before it has an identity.

    `seq`, `id`, node, camera, boot and wall time are added by publishing, once, when the event enters the outbox.

    Attributes:
        type: one of the schema's types.
        at_ns: capture time of the frame that decided it, monotonic nanoseconds.
        media_s: position in the clip; None for a live camera or an event about the node.
        frame_wh: size of the frame its box refers to; None without a track.
        track: the track it is about, if any.
        snapshot: topic of the retained picture that shows its track; None: there is none. Added by publishing.
        count: number of events lost, of `events_dropped`.
        kind: what is wrong with the camera, of `tamper` and `tamper_clear`.
        direction: which way a line was crossed, of `line_cross`.
        state: in what state its subject is now, where the type alone does not say it; of `identity`, `known` or
            `unknown`; of `plate`, `allowed`, `near` or `unknown`.
        name: who it is, of `identity`, or the text of a `plate`; None: unknown, or kept back.
        confidence: 0 to 1, how sure the rule is, of `identity` (see `events.identity.confidence`) and of `plate` (that
            of the fused reading's worst character).
    """

    type: EventType
    at_ns: int
    media_s: float | None = None
    frame_wh: tuple[int, int] | None = None
    track: TrackFacts | None = None
    zone: str | None = None
    line: str | None = None
    slot: str | None = None
    dwell_s: float | None = None
    count: int | None = None
    kind: TamperKind | None = None
    direction: Direction | None = None
    state: str | None = None
    name: str | None = None
    confidence: float | None = None
    snapshot: str | None = None
