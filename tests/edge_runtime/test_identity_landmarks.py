"""The five points of a face: what the network sees of the picture, and where its answers stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.datatypes import Yuv420
from edge_runtime.engine import ModelFacts
from edge_runtime.errors import FormatError
from edge_runtime.identity.landmarks import NAMES, LandmarkHead, face_window
from edge_runtime.imaging.part import square_bgr

FRACTIONS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
sides = st.floats(4, 300)
corners = st.floats(-100, 500)


class Fixed:
    """A landmark network that gives the same fractions for every crop, and keeps the crop."""

    def __init__(self, classes: tuple[str, ...] = NAMES, decoding: str = "points") -> None:
        self.facts = ModelFacts("fixed", "landmarks", classes, (64, 64), 64, decoding, (64,))  # type: ignore[arg-type]

    def run(self, bgr: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        self.seen = bgr.copy()
        return [FRACTIONS.reshape(1, 10, 1, 1)]


@given(corners, corners, sides, sides)
def test_the_network_sees_a_square_about_the_face_with_some_context(x: float, y: float, w: float, h: float) -> None:
    x1, y1, x2, y2 = face_window((x, y, x + w, y + h))
    assert x2 - x1 == y2 - y1 == pytest.approx(1.3 * max(w, h), abs=0.5)
    assert (x1 + x2) / 2 == pytest.approx(x + w / 2, abs=1) and (y1 + y2) / 2 == pytest.approx(y + h / 2, abs=1)


@given(corners, corners, sides)
def test_fractions_of_the_crop_become_pixels_of_the_picture(x: float, y: float, side: float) -> None:
    box = (x, y, x + side, y + side)
    points = LandmarkHead(Fixed()).points(np.zeros((300, 400, 3), np.uint8), box)
    x1, y1, x2, _ = face_window(box)
    assert points == pytest.approx(np.array([x1, y1]) + FRACTIONS * (x2 - x1), abs=1e-3)


def test_the_crop_shows_the_window_and_repeats_the_border_beyond_the_picture() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:, :50], picture[:, 50:] = (10, 20, 30), (200, 210, 220)
    network = Fixed()
    LandmarkHead(network).points(picture, (-20, 30, 30, 80))  # the window reaches from -28 to 37
    assert (network.seen[0] == np.array([10, 20, 30], np.float32)[:, None, None]).all()


@pytest.mark.parametrize("window", [(-90, -90, -26, -26), (300, 10, 364, 74), (-10, -10, 310, 310), (20, 20, 22, 22)])
def test_any_window_can_be_cut(window: tuple[int, int, int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (201, 301, 3), dtype=np.uint8)
    x1, y1, x2, y2 = window
    padded = cv2.copyMakeBorder(picture, 100, 200, 100, 200, cv2.BORDER_REPLICATE)
    part = padded[y1 + 100 : y2 + 100, x1 + 100 : x2 + 100]
    how = cv2.INTER_AREA if x2 - x1 > 64 else cv2.INTER_LINEAR
    assert (square_bgr(picture, window, 64) == cv2.resize(part, (64, 64), interpolation=how)).all()


@pytest.mark.parametrize("window", [(31, 17, 95, 81), (-5, -9, 59, 55), (60, 40, 170, 150)])
def test_a_yuv_picture_gives_the_crop_of_its_bgr(window: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(3)
    y, u, v = (rng.integers(60, 190, (96 // k, 128 // k), dtype=np.uint8) for k in (1, 2, 2))
    whole = [np.repeat(np.repeat(plane, 2, 0), 2, 1) for plane in (u, v)]
    bgr = np.asarray(cv2.cvtColor(cv2.merge((y, whole[1], whole[0])), cv2.COLOR_YCrCb2BGR), np.uint8)
    assert np.abs(square_bgr(Yuv420(y, u, v), window, 64).astype(int) - square_bgr(bgr, window, 64)).max() <= 1


def test_a_network_for_something_else_is_refused() -> None:
    with pytest.raises(FormatError, match="gives probability of occupied"):
        LandmarkHead(Fixed(("occupied",), "probability"))
    with pytest.raises(FormatError, match="no such model file"):
        LandmarkHead(Path("nowhere.edge"))
