"""Looks at the faces of live tracks, one a frame, and says whose embedding it is worth to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.config import IdentityConfig
from edge_runtime.datatypes import Picture, Track
from edge_runtime.engine import open_model
from edge_runtime.geometry import iou
from edge_runtime.identity.embedder import Embedder, Embedding, open_embedder
from edge_runtime.identity.finder import Box, FaceFinder
from edge_runtime.identity.landmarks import TASK, LandmarkHead, Landmarks
from edge_runtime.identity.view import view_of
from edge_runtime.tracking.turns import Turns

LABEL = "face"
EVERY_S = 0.2
"""Between two looks at one face."""
FINDER = "face_cropper"


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A face that was looked at closely.

    Attributes:
        track: id of its track.
        quality: how much it is worth, 0 to 1.
        embedding: float32 [d].
    """

    track: int
    quality: float
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class FaceNetworks:
    """The networks between a picture and an embedding."""

    finder: FaceFinder
    head: Landmarks
    embedder: Embedder

    @staticmethod
    def of(config: IdentityConfig) -> FaceNetworks:
        """As configured.

        Raises:
            ConfigError: a model or an embedder's adapter is missing or wrong.
            BundleError: a model cannot be used.
        """
        finder = FaceFinder(open_model(FINDER, "attention"))
        head = LandmarkHead(open_model(config.landmarks, TASK, "identity.landmarks"))
        return FaceNetworks(finder, head, open_embedder(config.embedder))


class FaceReader:
    """One verb: `look`.

    A frame costs at most one second look, one run of the landmark head and one of the embedder, however many faces
    there are.

    Args:
        networks: between a picture and an embedding.
        min_side_px: faces whose shorter side is less are not looked at.
    """

    def __init__(self, networks: FaceNetworks, min_side_px: float) -> None:
        self._networks, self._min_side_px = networks, min_side_px
        self._turns = Turns(EVERY_S)

    def look(
        self, picture: Picture, tracks: Sequence[Track], now_ns: int, worth: Callable[[int], float]
    ) -> Seen | None:
        """The face whose turn it is, where it is worth more than what is known of it already.

        Args:
            picture: the frame at native pixels.
            tracks: live tracks.
            now_ns: capture time of the frame.
            worth: for a track's id, the quality that a new view must have to be of use.

        Raises:
            InferenceError: a network failed.
        """
        faces = [t for t in tracks if t.label == LABEL and t.confirmed]
        track = self._turns.take(faces, lambda t: _side_px(t) >= self._min_side_px, _side_px, now_ns)
        if track is None:
            return None
        box = self._networks.finder.near(picture, track.box)
        if box is None or _owner(box, faces) != track.id:
            return None
        view = view_of(picture, [float(edge) for edge in box], self._networks.head, self._networks.embedder.config)
        if view is None or not view.usable or view.side_px < self._min_side_px or view.quality <= worth(track.id):
            return None
        return Seen(track.id, view.quality, self._networks.embedder(view.upright))


def _owner(box: Box, faces: Sequence[Track]) -> int:
    """Whose face a box is: a detector's second, worse box of a face makes a track, too, which is nobody."""
    overlap = iou(box[None], np.array([t.box for t in faces], np.float32))[0]
    return faces[int(np.argmax(overlap))].id


def _side_px(track: Track) -> float:
    x1, y1, x2, y2 = track.box
    return min(x2 - x1, y2 - y1)
