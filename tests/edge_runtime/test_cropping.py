"""The planner's windows and the crop kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.config import CroppingConfig
from edge_runtime.cropping.planner import Planner
from edge_runtime.datatypes import Picture, Track, Yuv420
from edge_runtime.imaging.crop_resize import crop_batch, crop_batch_reference
from tests.builders import detections

FRAME_WH = (1280, 720)


def track(box: tuple[float, float, float, float], seen_ns: int = 0, confirmed: bool = True) -> Track:
    return Track(1, "person", 0.8, 0.8, box, 0, seen_ns, 5, confirmed, True)


def planned(boxes, scores=None, tracks=(), budget=8, now_ns=0, frame_wh=FRAME_WH):  # type: ignore[no-untyped-def]
    scores = scores or [0.9] * len(boxes)
    regions = detections(boxes, scores, ["person"] * len(boxes))
    return Planner(128, CroppingConfig(budget=budget)).plan(regions, tracks, frame_wh, now_ns)


def test_a_small_region_is_seen_at_native_pixels_with_its_surroundings() -> None:
    assert planned([(600, 300, 640, 380)]).windows.tolist() == [[556, 276, 684, 404]]


def test_a_large_region_gets_a_window_with_a_quarter_of_margin() -> None:
    window = planned([(300, 100, 500, 500)]).windows[0]
    assert window.tolist() == [100, 0, 700, 600]


def test_windows_are_moved_into_the_frame() -> None:
    assert planned([(0, 0, 30, 30)]).windows.tolist() == [[0, 0, 128, 128]]
    assert planned([(1250, 700, 1280, 720)]).windows.tolist() == [[1152, 592, 1280, 720]]


def test_neighbours_share_a_window_and_a_face_shares_its_persons() -> None:
    assert len(planned([(600, 300, 630, 360), (640, 310, 670, 370)])) == 1
    assert len(planned([(300, 100, 400, 400), (330, 105, 390, 175)])) == 1


def test_a_tiny_region_inside_a_large_window_gets_its_own() -> None:
    assert len(planned([(300, 100, 700, 600), (320, 420, 340, 450)])) == 2


def test_what_does_not_fit_the_budget_is_counted_and_the_best_stay() -> None:
    boxes = [(150 * i, 300, 150 * i + 40, 380) for i in range(8)]
    made = planned(boxes, [0.55 + 0.05 * i for i in range(8)], budget=3)
    assert (len(made), made.overflow) == (3, 5)
    assert made.windows[0].tolist() == [1006, 276, 1134, 404]


def test_a_crowd_beyond_the_budget_is_looked_at_from_further_away() -> None:
    boxes = [(100 + 60 * i, 300, 140 + 60 * i, 380) for i in range(5)]
    assert len(planned(boxes)) == 5
    made = planned(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], budget=3)
    assert (len(made), made.overflow) == (3, 0)
    assert sorted((made.windows[:, 2] - made.windows[:, 0]).tolist()) == [128, 188, 188]


def test_a_window_for_a_live_track_that_joins_a_regions_is_the_regions() -> None:
    made = planned([(600, 300, 640, 380)], tracks=[track((660, 300, 700, 380))], budget=1)
    assert (len(made), made.overflow, made.carried.tolist()) == (1, 0, [False])
    made = planned([(600, 300, 640, 380)], tracks=[track((900, 300, 940, 380))], budget=1)
    assert (len(made), made.overflow, made.windows[0, 0]) == (1, 1, 556)


def test_a_live_track_is_carried_over_when_attention_blinks_but_not_for_ever() -> None:
    lost = track((600, 300, 640, 380))
    assert planned([], tracks=[lost], now_ns=500_000_000).carried.tolist() == [True]
    assert len(planned([], tracks=[lost], now_ns=2_000_000_000)) == 0
    assert len(planned([], tracks=[track((600, 300, 640, 380), confirmed=False)])) == 0
    planner, none, second = Planner(128, CroppingConfig()), detections(), 1_000_000_000
    for i in range(4):  # the detector goes on seeing it, attention does not
        made = planner.plan(none, [track((600, 300, 640, 380), seen_ns=i * second)], FRAME_WH, i * second)
    assert len(made) == 0, "a detector's mistake must not keep itself alive"
    covered = planned([(600, 300, 640, 380)], tracks=[lost])
    assert covered.carried.tolist() == [False]


boxes_in_frame = st.tuples(
    st.floats(0, 1200), st.floats(0, 650), st.floats(2, 900), st.floats(2, 700), st.floats(0.05, 1)
)


@given(st.lists(boxes_in_frame, max_size=20), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_every_region_is_shown_or_counted_as_overflow(rows: list[tuple[float, ...]], budget: int) -> None:
    boxes = [(x, y, min(x + w, 1280.0), min(y + h, 720.0)) for x, y, w, h, _ in rows]
    made = planned(boxes, [r[4] for r in rows], budget=budget)
    assert len(made) <= budget
    sides = made.windows[:, 2:] - made.windows[:, :2]
    assert (sides[:, 0] == sides[:, 1]).all()
    assert (sides >= 128).all()
    assert (made.windows == np.round(made.windows)).all()
    rows_of = np.array(boxes, np.float32).reshape(-1, 1, 4)
    inside = (made.windows[:, :2] <= rows_of[..., :2] + 1) & (made.windows[:, 2:] >= rows_of[..., 2:] - 1)
    shown = inside.all(2).any(1)
    assert (~shown).sum() <= made.overflow, f"{boxes} in {made.windows.tolist()}"
    assert not boxes or shown[int(np.argmax([r[4] for r in rows]))], "the surest is always looked at"


def pictures(seed: int) -> list[Picture]:
    """The same noise as BGR, as a padded BGR view, as I420 views and as NV12 views."""
    rng = np.random.default_rng(seed)
    bgr = rng.integers(0, 256, (120, 160, 3), np.uint8)
    padded = rng.integers(0, 256, (120, 192, 3), np.uint8)[:, :160]
    y = rng.integers(0, 256, (120, 192), np.uint8)[:, :160]
    planar = rng.integers(0, 256, (2, 60, 80), np.uint8)
    mixed = rng.integers(0, 256, (60, 160), np.uint8)
    return [bgr, padded, Yuv420(y, planar[0], planar[1]), Yuv420(y, mixed[:, ::2], mixed[:, 1::2])]


@pytest.mark.parametrize("kind", range(4), ids=["bgr", "bgr padded", "i420", "nv12"])
@given(
    st.lists(st.tuples(st.integers(-90, 200), st.integers(-90, 160), st.integers(1, 260)), min_size=1, max_size=4),
    st.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_the_fused_kernel_equals_opencv(kind: int, rows: list[tuple[int, int, int]], seed: int) -> None:
    picture = pictures(seed)[kind]
    windows = np.array([(x, y, x + s, y + s) for x, y, s in rows], np.int32)
    batch = np.full((5, 3, 32, 32), 7.0, np.float32)
    crops = crop_batch(picture, windows, batch)
    np.testing.assert_allclose(crops, crop_batch_reference(picture, windows, 32), atol=2e-2)
    assert np.shares_memory(crops, batch)
    assert (batch[len(windows) :] == 7).all(), "crops beyond the plan stay untouched"


def test_a_window_of_the_crops_size_is_a_copy() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    crop = crop_batch(picture, np.array([[30, 40, 94, 104]], np.int32), np.zeros((1, 3, 64, 64), np.float32))
    assert (crop[0].transpose(1, 2, 0) == picture[40:104, 30:94]).all()
