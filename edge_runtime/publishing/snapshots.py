"""The latest picture of each label as a retained topic, where the privacy level lets pixels leave the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from edge_runtime.config import PrivacyConfig
from edge_runtime.datatypes import BgrImage, Detections, Event, Frame, Track
from edge_runtime.imaging.blur_faces import CELLS as FACE_CELLS
from edge_runtime.imaging.blur_faces import Area, blur_areas, hidden_areas
from edge_runtime.imaging.colour import to_bgr
from edge_runtime.plates.finder import LABEL as PLATE
from edge_runtime.plates.finder import Finder
from edge_runtime.plates.hiding import CELLS as PLATE_CELLS
from edge_runtime.plates.hiding import plate_areas
from edge_runtime.publishing.bearer import bearer_of
from edge_runtime.publishing.topics import Topics

MARGIN = 0.15
"""Surroundings shown, as a share of the object's longer side."""
SIDE_MAX_PX = 640
QUALITY = 80
BETTER = 1.5
"""A track is shown again when it is seen so many times as well as in its last picture."""
NEVER_NS = -(10**18)
HIDDEN = ("face", PLATE)
"""Not shown by themselves at the level `crops`."""
PASSING = ("track_update", "track_end")
"""Events that tell nothing new of a track: no picture is taken for them, nor kept from giving way to another's."""


class Snapshots:
    """A track is shown when it is first told of, when something is told of it, and again when it is seen much better.

    Two verbs: `update` with each frame, then `refer` from its events to what is shown. A picture that a telling event
    refers to stays for `every_s`, or gives way to a better one of the same track: whoever hears of it may fetch it.

    Args:
        config: the level, which is not `events`.
        topics: of the camera.
        classes: the labels that the models tell apart.
        put: says a payload on a topic, retained; an empty one clears it.
        finder: of plates, which are blurred at the level `crops` as faces are; None: they stay as they are.
    """

    def __init__(
        self, config: PrivacyConfig, topics: Topics, classes: Sequence[str], put: Callable[[str, bytes], None],
        finder: Finder | None = None,
    ) -> None:  # fmt: skip
        self._config, self._topics, self._put = config, topics, put
        self._finder = finder if config.level == "crops" else None
        self.labels = shown_labels(config, classes)
        # Whose pictures the broker may hold: at the start anybody's, an earlier run may have had another level.
        self._held = set(classes)
        self._best: dict[int, float] = {}
        self._shown_ns: dict[str, int] = {}
        self._showing: dict[str, int] = {}  # label -> id of the track
        self._referred_ns: dict[str, int] = {}
        self._bearers: dict[int, int] = {}  # id of a face -> id of the person who bears it

    def update(
        self, frame: Frame, detections: Detections, tracks: Sequence[Track], events: Iterable[Event] = (), *,
        anew: bool = False,
    ) -> None:  # fmt: skip
        """Show what is told of, and what is seen better than before.

        Args:
            frame: its picture is read, not kept.
            detections: in it.
            tracks: live ones after it.
            events: that it led to.
            anew: show the best of each label that is in view, whatever was shown before.

        Raises:
            InferenceError: plates could not be looked for; no picture is shown.
        """
        self._bearers = {} if "face" in self.labels else _bearers(tracks)
        told = {self._shown_as(e.track.id) for e in events if e.track is not None and e.type not in PASSING}
        hidden = hidden_areas(detections, tracks) if self._config.level == "crops" else []
        live = {t.id for t in tracks}
        self._best = {id_: worth for id_, worth in self._best.items() if id_ in live}
        if anew:
            self._best, self._shown_ns, self._referred_ns = {}, dict.fromkeys(self._shown_ns, NEVER_NS), {}
        for track in sorted(tracks, key=lambda t: (t.id not in told, -_worth(t, frame.size_wh))):
            worth, shown = _worth(track, frame.size_wh), self._showing.get(track.label) == track.id
            if track.lost or not track.confirmed or track.label not in self.labels:
                continue
            if worth <= BETTER * self._best.get(track.id, 0.0) and (shown or track.id not in told):
                continue
            if self._fresh(self._shown_ns, track.label, frame) or (
                not shown and self._fresh(self._referred_ns, track.label, frame)
            ):
                continue
            self._best[track.id], self._shown_ns[track.label] = worth, frame.captured_ns
            self._showing[track.label] = track.id
            self._held.add(track.label)
            window = _window(track, frame.size_wh)
            plates: list[Area] = []
            if self._finder is not None:
                plates = plate_areas(frame.main, window, detections, tracks, self._finder)
            self._put(self._topics.snapshot(track.label), _jpeg(frame, window, hidden, plates))

    def refer(self, events: Sequence[Event]) -> list[Event]:
        """The events, each with the topic of the picture that shows its track now, if one does.

        Where faces are not shown by themselves, that is the picture of the person who bears the face.
        """
        showing = {track: label for label, track in self._showing.items()}
        found = []
        for event in events:
            label = None if event.track is None else showing.get(self._shown_as(event.track.id))
            if label is not None:
                event = replace(event, snapshot=self._topics.snapshot(label))
                if event.type not in PASSING:
                    self._referred_ns[label] = event.at_ns
            found.append(event)
        return found

    def clear(self) -> None:
        """Take all pictures back, an earlier run's too; the broker keeps none. Once they are, nothing is said again."""
        for label in sorted(self._held):
            self._put(self._topics.snapshot(label), b"")
        self._held.clear()
        self._shown_ns, self._best, self._showing, self._referred_ns = {}, {}, {}, {}

    def _shown_as(self, track: int) -> int:
        return self._bearers.get(track, track)

    def _fresh(self, times_ns: dict[str, int], label: str, frame: Frame) -> bool:
        """Whether that happened to the label's picture less than `every_s` ago."""
        return label in times_ns and frame.captured_ns - times_ns[label] < self._config.every_s * 1e9


def shown_labels(config: PrivacyConfig, classes: Sequence[str]) -> tuple[str, ...]:
    """The labels whose pictures leave the node: none at `events`, no faces and no plates at `crops`."""
    if config.level == "events":
        return ()
    return tuple(name for name in classes if config.level == "snapshots" or name not in HIDDEN)


def _bearers(tracks: Sequence[Track]) -> dict[int, int]:
    """For each face the person who bears it, where there is one."""
    persons = {t.id: t.box for t in tracks if t.label == "person"}
    found = {t.id: bearer_of(t.box, persons) for t in tracks if t.label == "face"}
    return {face: person for face, person in found.items() if person is not None}


def _worth(track: Track, frame_wh: tuple[int, int]) -> float:
    """How well an object is seen: the pixels of it inside the frame, by how sure the detector is."""
    x1, y1, x2, y2 = track.box
    w, h = min(x2, frame_wh[0]) - max(x1, 0.0), min(y2, frame_wh[1]) - max(y1, 0.0)
    return max(w, 0.0) * max(h, 0.0) * track.score


def _window(track: Track, frame_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The object with its surroundings, inside the frame, in whole pixels."""
    x1, y1, x2, y2 = track.box
    more = MARGIN * max(x2 - x1, y2 - y1)
    left, top = max(round(x1 - more), 0), max(round(y1 - more), 0)
    return left, top, min(round(x2 + more), frame_wh[0]), min(round(y2 + more), frame_wh[1])


def _jpeg(
    frame: Frame, window: tuple[int, int, int, int], faces: Sequence[Area], plates: Sequence[Area]
) -> bytes:  # fmt: skip
    """What the window shows, small, with areas of the frame blurred."""
    bgr: BgrImage = to_bgr(frame.main)
    x1, y1, x2, y2 = window
    part = np.ascontiguousarray(bgr[y1:y2, x1:x2])
    # Before it shrinks: nothing of a face or a plate may come back from the pixels around it.
    for areas, cells in ((faces, FACE_CELLS), (plates, PLATE_CELLS)):
        part = blur_areas(part, [(a - x1, b - y1, c - x1, d - y1) for a, b, c, d in areas], cells)
    scale = min(1.0, SIDE_MAX_PX / max(part.shape[:2]))
    if scale < 1.0:
        part = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    # OpenCV writes no EXIF: nothing but the pixels leaves.
    return bytes(cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
