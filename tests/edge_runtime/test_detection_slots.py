"""Slots are cut upright out of any picture, large or small, and each gets its own probability."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.config import SlotConfig
from edge_runtime.datatypes import Yuv420
from edge_runtime.detection.classifier import SlotClassifier
from edge_runtime.detection.slot_patch import cut, expanded, quad_of
from edge_runtime.engine import ModelFacts
from edge_runtime.errors import FormatError

RED, GREY = (40, 40, 220), (110, 110, 110)
TILTED = [(100.0, 60.0), (180.0, 70.0), (200.0, 120.0), (90.0, 110.0)]


def frame(*slots: Sequence[tuple[float, float]], size_wh: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """Grey ground with these slots painted red."""
    bgr = np.full((size_wh[1], size_wh[0], 3), GREY, np.uint8)
    for points in slots:
        cv2.fillPoly(bgr, [np.round(np.array(points)).astype(np.int32)], RED)
    return bgr


def redness(patch: NDArray[np.uint8]) -> float:
    return float((patch[:, :, 2].astype(int) - patch[:, :, 0] > 90).mean())


class RednessEngine:
    """A network that takes red for a car."""

    facts = ModelFacts("red", "classifier", ("occupied",), (32, 32), 32, "probability", (32,))

    def run(self, bgr: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        patches = bgr.transpose(0, 2, 3, 1).astype(np.uint8)
        return (np.array([redness(p) > 0.3 for p in patches], np.float32).reshape(-1, 1, 1, 1),)


@settings(deadline=None)
@given(st.integers(0, 3), st.booleans())
def test_the_patch_is_the_same_however_the_corners_are_listed(first: int, backwards: bool) -> None:
    corners = TILTED[first:] + TILTED[:first]
    assert quad_of(corners[::-1] if backwards else corners).tolist() == [list(p) for p in TILTED]


def test_a_polygon_of_five_corners_is_cut_by_the_rectangle_around_it() -> None:
    quad = quad_of([(10, 10), (50, 10), (60, 20), (50, 30), (10, 30)])
    assert quad.min(0).tolist() == pytest.approx([10, 10], abs=0.01)
    assert quad.max(0).tolist() == pytest.approx([60, 30], abs=0.01)


def test_the_slot_fills_the_middle_and_its_surroundings_the_margin() -> None:
    patch = cut(frame(TILTED), expanded(quad_of(TILTED)))
    assert patch.shape == (32, 32, 3)
    assert redness(patch[9:23, 9:23]) == 1
    assert redness(patch[:4]) == redness(patch[-4:]) == redness(patch[:, :4]) == 0
    assert redness(patch) == pytest.approx(1 / 1.6**2, abs=0.06)


def test_cars_stand_upright_in_the_patch() -> None:
    bgr = frame([(100, 40), (180, 40), (180, 80), (100, 80)])  # above the slot on the picture
    patch = cut(bgr, expanded(quad_of([(100, 80), (180, 80), (180, 120), (100, 120)])))
    assert redness(patch[:5]) > 0.5
    assert redness(patch[8:]) == 0


@pytest.mark.parametrize("scale", [1, 3, 8])
def test_a_slot_looks_the_same_at_any_resolution(scale: int) -> None:
    small = cut(frame(TILTED), expanded(quad_of(TILTED)))
    points = [(x * scale, y * scale) for x, y in TILTED]
    large = cut(frame(points, size_wh=(320 * scale, 240 * scale)), expanded(quad_of(points)))
    # Painted edges fall on whole pixels, and large slots are softened a little: only the border differs.
    assert np.abs(small.astype(int) - large).mean() < 6


def test_fine_patterns_of_large_slots_fade_instead_of_flickering() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    patch = cut(stripes, expanded(quad_of([(200, 200), (800, 200), (800, 800), (200, 800)])))
    assert float(patch.std()) < 20


def test_a_yuv_picture_gives_the_patch_of_its_bgr() -> None:
    bgr = frame(TILTED)
    ycc = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)
    half = cv2.resize(ycc, (160, 120), interpolation=cv2.INTER_AREA)
    quad = expanded(quad_of(TILTED))
    same = cut(Yuv420(ycc[:, :, 0], half[:, :, 2], half[:, :, 1]), quad)
    assert np.abs(same.astype(int) - cut(bgr, quad)).mean() < 8


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-200, 600), st.floats(-200, 500)), min_size=3, max_size=6))
def test_slots_at_and_beyond_the_border_are_cut_without_fail(points: list[tuple[float, float]]) -> None:
    assert cut(frame(), expanded(quad_of(points))).shape == (32, 32, 3)


def shares(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    return tuple((x / 320, y / 240) for x, y in points)


def test_each_slot_gets_its_own_probability_at_any_resolution() -> None:
    other = [(220.0, 60.0), (300.0, 60.0), (300.0, 110.0), (220.0, 110.0)]
    classify = SlotClassifier(RednessEngine(), [SlotConfig("1", shares(TILTED)), SlotConfig("2", shares(other))])
    assert classify(frame(TILTED), (320, 240)).tolist() == [1, 0]
    twice = [(2 * x, 2 * y) for x, y in other]
    assert classify(frame(twice, size_wh=(640, 480)), (640, 480)).tolist() == [0, 1]


def test_a_network_for_something_else_is_refused() -> None:
    engine = RednessEngine()
    engine.facts = ModelFacts("eyes", "classifier", ("open",), (32, 32), 32, "probability", (32,))
    with pytest.raises(FormatError, match="eyes: gives probability of open"):
        SlotClassifier(engine, [])
