"""The latest picture of each label as a retained topic, where the privacy level lets pixels leave the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from edge_runtime.config import PrivacyConfig
from edge_runtime.datatypes import BgrImage, Detections, Frame, Track
from edge_runtime.imaging.blur_faces import Area, blur_areas, hidden_areas
from edge_runtime.imaging.colour import to_bgr
from edge_runtime.publishing.topics import Topics

MARGIN = 0.15
"""Surroundings shown, as a share of the object's longer side."""
SIDE_MAX_PX = 640
QUALITY = 80
BETTER = 1.5
"""A track is shown again when it is seen so many times as well as in its last picture."""


class Snapshots:
    """One verb: `update` with each frame; a track is shown when it is first told of, and again when seen much better.

    Args:
        config: the level, which is not `events`.
        topics: of the camera.
        classes: the labels that the models tell apart.
        put: says a payload on a topic, retained; an empty one clears it.
    """

    def __init__(
        self, config: PrivacyConfig, topics: Topics, classes: Sequence[str], put: Callable[[str, bytes], None]
    ) -> None:
        self._config, self._topics, self._put = config, topics, put
        self.labels = shown_labels(config, classes)
        self._best: dict[int, float] = {}
        self._shown_ns: dict[str, int] = {}

    def update(self, frame: Frame, detections: Detections, tracks: Sequence[Track]) -> None:
        """Show what is seen better than before.

        Args:
            frame: its picture is read, not kept.
            detections: in it.
            tracks: live ones after it.
        """
        hidden = hidden_areas(detections, tracks) if self._config.level == "crops" else []
        live = {t.id for t in tracks}
        self._best = {id_: worth for id_, worth in self._best.items() if id_ in live}
        for track in sorted(tracks, key=lambda t: -_worth(t, frame.size_wh)):
            worth, shown_ns = _worth(track, frame.size_wh), self._shown_ns.get(track.label)
            if track.lost or not track.confirmed or track.label not in self.labels:
                continue
            if worth <= BETTER * self._best.get(track.id, 0.0):
                continue
            if shown_ns is not None and frame.captured_ns - shown_ns < self._config.every_s * 1e9:
                continue
            self._best[track.id], self._shown_ns[track.label] = worth, frame.captured_ns
            self._put(self._topics.snapshot(track.label), self._jpeg(frame, track, hidden))

    def clear(self) -> None:
        """Take all pictures back; the broker keeps none."""
        for label in self._shown_ns:
            self._put(self._topics.snapshot(label), b"")
        self._shown_ns, self._best = {}, {}

    def _jpeg(self, frame: Frame, track: Track, hidden: Sequence[Area]) -> bytes:
        bgr: BgrImage = to_bgr(frame.main)
        x1, y1, x2, y2 = _window(track, frame.size_wh)
        part = np.ascontiguousarray(bgr[y1:y2, x1:x2])
        # Before it shrinks: nothing of a face may come back from the pixels around it.
        part = blur_areas(part, [(a - x1, b - y1, c - x1, d - y1) for a, b, c, d in hidden])
        scale = min(1.0, SIDE_MAX_PX / max(part.shape[:2]))
        if scale < 1.0:
            part = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        # OpenCV writes no EXIF: nothing but the pixels leaves.
        return bytes(cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def shown_labels(config: PrivacyConfig, classes: Sequence[str]) -> tuple[str, ...]:
    """The labels whose pictures leave the node: none at `events`, no faces at `crops`."""
    if config.level == "events":
        return ()
    return tuple(name for name in classes if config.level == "snapshots" or name != "face")


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
