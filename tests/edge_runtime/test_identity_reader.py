"""Looking at faces: whose turn it is, what is worth a run of the embedder, and what is no face."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.config import IdentityConfig
from edge_runtime.datatypes import Track, Yuv420
from edge_runtime.engine import open_model
from edge_runtime.errors import ConfigError
from edge_runtime.identity.finder import FaceFinder
from edge_runtime.identity.reader import EVERY_S, FINDER, FaceNetworks, FaceReader
from edge_runtime.identity.view import FaceView, sharpness, view_of
from tests.face_models import face_photo, write_embedder, write_landmarks

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
FACE: Box = (51, 53, 131, 168)
"""Where the face is on `face_photo`."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceNetworks:
    folder = tmp_path_factory.mktemp("faces")
    landmarks, embedder = write_landmarks(folder / "points.onnx"), write_embedder(folder / "cells.onnx")
    return FaceNetworks.of(IdentityConfig(landmarks=str(landmarks), embedder=str(embedder)))


def scene(*at: tuple[int, int]) -> Image:
    """Grey, with the face pasted at some places (upper left corners)."""
    out = np.full((300, 640, 3), 110, np.uint8)
    photo = face_photo()
    for x, y in at:
        out[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
    return out


def track(id_: int, at: tuple[int, int], box: Box = FACE, *, label: str = "face", lost: bool = False) -> Track:
    moved = (box[0] + at[0], box[1] + at[1], box[2] + at[0], box[3] + at[1])
    return Track(id_, label, 0.9, 0.9, moved, 0, 0, 5, True, lost)


def looks(reader: FaceReader, picture: Image | Yuv420, tracks: Sequence[Track], times: int, worth: float = 0.0) -> list[int | None]:  # fmt: skip  # noqa: E501
    found = [reader.look(picture, tracks, round(i * EVERY_S * 1e9), lambda _: worth) for i in range(times)]
    return [None if seen is None else seen.track for seen in found]


def test_two_faces_take_turns(faces: FaceNetworks) -> None:
    places = (10, 10), (300, 20)
    tracks = [track(1, places[0]), track(2, places[1])]
    assert set(looks(FaceReader(faces, 32), scene(*places), tracks, 2)) == {1, 2}


def test_one_face_is_looked_at_five_times_a_second_however_fast_frames_come(faces: FaceNetworks) -> None:
    reader, picture, tracks = FaceReader(faces, 32), scene((10, 10)), [track(1, (10, 10))]
    seen = [reader.look(picture, tracks, round(i / 30 * 1e9), lambda _: 0.0) for i in range(31)]
    assert sum(one is not None for one in seen) == 5 + 1


def test_small_lost_unconfirmed_faces_and_persons_are_not_looked_at(faces: FaceNetworks) -> None:
    at = (10, 10)
    others = [track(1, at, lost=True), track(2, at, label="person")]
    assert looks(FaceReader(faces, 32), scene(at), others, 3) == [None] * 3
    assert looks(FaceReader(faces, 90), scene(at), [track(1, at)], 3) == [None] * 3, "80 px"


def test_what_is_no_face_on_a_second_look_is_nobody(faces: FaceNetworks) -> None:
    assert looks(FaceReader(faces, 32), scene(), [track(1, (10, 10))], 3) == [None] * 3


def test_a_second_worse_box_of_one_face_is_nobody(faces: FaceNetworks) -> None:
    at = (10, 10)
    double = track(2, at, (60, 60, 150, 230))
    assert set(looks(FaceReader(faces, 32), scene(at), [track(1, at), double], 4)) == {1, None}


def test_a_view_that_is_worth_no_more_than_what_is_kept_costs_no_embedding(faces: FaceNetworks) -> None:
    at = (10, 10)
    assert looks(FaceReader(faces, 32), scene(at), [track(1, at)], 2, worth=1.0) == [None, None]


def test_the_same_face_gives_the_same_embedding_from_bgr_and_yuv(faces: FaceNetworks) -> None:
    at = (10, 10)
    bgr = scene(at)
    planes = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb), np.uint8)
    half = [np.ascontiguousarray(planes[::2, ::2, i]) for i in (2, 1)]
    yuv = Yuv420(np.ascontiguousarray(planes[..., 0]), half[0], half[1])
    one, other = (FaceReader(faces, 32).look(p, [track(1, at)], 0, lambda _: 0.0) for p in (bgr, yuv))
    assert one is not None and other is not None
    assert 1 - float(one.embedding @ other.embedding) < 0.01


def test_a_face_at_the_border_is_cut_without_fail(faces: FaceNetworks) -> None:
    picture = face_photo()
    for box in ((-60, -60, 40, 40), (150, 190, 300, 400), (-500, -500, -400, -400)):
        view_of(picture, box, faces.head, faces.embedder.config)
        faces.finder.near(picture, box)


def test_blur_and_smallness_lower_the_quality(faces: FaceNetworks) -> None:
    def quality(picture: Image, box: Sequence[float]) -> float:
        view = view_of(picture, box, faces.head, faces.embedder.config)
        assert view is not None
        return view.quality

    photo = face_photo()
    blurred = np.asarray(cv2.GaussianBlur(photo, (0, 0), 3), np.uint8)
    small = np.asarray(cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), np.uint8)
    best = quality(photo, FACE)
    assert quality(blurred, FACE) < 0.6 * best
    assert quality(small, [v * 0.4 for v in FACE]) < 0.6 * best


def test_the_rounding_of_a_flat_picture_is_no_sharpness() -> None:
    y, x = np.mgrid[0:150, 0:150]
    flat = np.asarray(np.round(100 + 20 * np.sin(x / 40) + y / 30)[..., None].repeat(3, 2), np.uint8)
    assert sharpness(flat) < 0.006


def test_a_head_that_turns_away_is_worth_less_and_in_the_end_nothing() -> None:
    face = np.zeros((112, 112, 3), np.uint8)
    worth = [FaceView(face, 80, 0.05, lean).quality for lean in (0.01, 0.03, 0.05, 0.08)]
    assert worth[0] == 1.0 and worth == sorted(worth, reverse=True) and worth[-1] == 0.0
    assert not FaceView(face, 80, 0.05, 0.08).usable


def test_the_shipped_cropper_finds_the_face_of_a_photo_whatever_its_size() -> None:
    finder = FaceFinder(open_model(FINDER, "attention"))
    for scale in (1, 2, 6):
        (box,) = finder.on_photo(face_photo(scale))
        assert box == pytest.approx(np.array(FACE) * scale / 2, abs=12 * scale)
    assert finder.on_photo(np.full((8, 2000, 3), 90, np.uint8)) == []


def test_the_networks_are_named_where_one_is_missing() -> None:
    with pytest.raises(ConfigError, match=r'identity\.landmarks = "no_points": not shipped'):
        FaceNetworks.of(IdentityConfig(landmarks="no_points"))
