"""Targets: what decoding reads back from them, and where they say nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from build_tools.training.targets import Targets, make_targets
from edge_runtime.decoding import decode_centres
from tests.build_tools.packs import Box, boxes_of

W, H, STRIDE, CLASSES = 320, 256, 8, 3


def targets(
    boxes: list[Box],
    labels: list[int] | None = None,
    ignore: list[Box] | None = None,
    ignore_labels: list[int] | None = None,
    clear: list[Box] | None = None,
) -> Targets:
    return make_targets(
        boxes_of(boxes), np.array(labels or [0] * len(boxes), np.int32), boxes_of(ignore or []),
        np.array(ignore_labels or [0] * len(ignore or []), np.int32), boxes_of(clear or []),
        CLASSES, (W // STRIDE, H // STRIDE), STRIDE,
    )  # fmt: skip


@st.composite
def scenes(draw: st.DrawFn) -> list[tuple[int, Box]]:
    """Boxes of at least 10 px that do not overlap, within the picture."""
    scene: list[tuple[int, Box]] = []
    for _ in range(draw(st.integers(0, 12))):
        w, h = draw(st.floats(10, 200)), draw(st.floats(10, 200))
        x, y = draw(st.floats(0, W - w)), draw(st.floats(0, H - h))
        apart = all(x >= b[2] or x + w <= b[0] or y >= b[3] or y + h <= b[1] for _, b in scene)
        if apart:
            scene.append((draw(st.integers(0, CLASSES - 1)), (x, y, x + w, y + h)))
    return scene


@settings(max_examples=150, deadline=None)
@given(scene=scenes())
def test_decoding_perfect_maps_gives_the_boxes_back(scene: list[tuple[int, Box]]) -> None:
    t = targets([box for _, box in scene], [k for k, _ in scene])
    boxes, scores, labels = decode_centres(t.heat, t.box, STRIDE, 0.5, 0.5)
    assert len(boxes) == len(scene)
    for k, box in scene:  # each is among those found, whatever the order
        off = np.abs(boxes[labels == k] - np.float32(box)).max(1, initial=0)
        assert off.min(initial=np.inf) < 0.01
    assert (scores == 1).all()


@settings(max_examples=50, deadline=None)
@given(scene=scenes())
def test_maps_stay_within_their_ranges(scene: list[tuple[int, Box]]) -> None:
    t = targets([box for _, box in scene], [k for k, _ in scene])
    assert t.heat.min() >= 0
    assert t.heat.max() <= 1
    assert (t.heat_weight == 1).all()
    assert (t.box[:, t.box_weight > 0] > 0).all()
    wanted = sum(np.log2(2 + (b[2] - b[0]) * (b[3] - b[1]) / STRIDE**2) for _, b in scene)
    np.testing.assert_allclose(t.box_weight.sum(), wanted, rtol=1e-3)


def test_an_unknown_class_has_no_weight_and_the_others_keep_theirs() -> None:
    t = targets([], ignore=[(0, 0, W, H)], ignore_labels=[1])
    assert (t.heat_weight[1] == 0).all()
    assert (t.heat_weight[[0, 2]] == 1).all()


def test_a_place_to_ignore_covers_every_cell_it_touches() -> None:
    t = targets([], ignore=[(17, 9, 31, 15)], ignore_labels=[2])
    assert np.argwhere(t.heat_weight[2] == 0).tolist() == [[1, 2], [1, 3]]


def test_an_empty_place_to_ignore_covers_nothing() -> None:
    t = targets([], ignore=[(20, 0, 20, H)], ignore_labels=[2])
    assert (t.heat_weight == 1).all()


def test_a_label_that_no_class_wants_is_no_place_to_ignore() -> None:
    t = targets([], ignore=[(0, 0, W, H)], ignore_labels=[-1])
    assert (t.heat_weight == 1).all()


def test_an_object_is_learned_inside_a_place_to_ignore() -> None:
    t = targets([(80, 80, 160, 160)], [0], ignore=[(0, 0, W, H)])
    assert t.heat_weight[0, 15, 15] == 1
    assert t.heat_weight[0, 2, 2] == 0


def test_what_is_clear_is_learned_inside_a_place_to_ignore_for_whole_cells_only() -> None:
    t = targets([], ignore=[(0, 0, W, H)], clear=[(12, 8, 36, 24)])
    assert np.argwhere(t.heat_weight[0] == 1).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]


def test_the_smaller_of_two_overlapping_objects_owns_the_box_map() -> None:
    t = targets([(100, 100, 124, 124), (0, 0, 240, 240)], [0, 1])
    boxes, _, labels = decode_centres(t.heat, t.box, STRIDE, 0.99, 0.5)
    small = boxes[labels == 0]
    np.testing.assert_allclose(small, [(100, 100, 124, 124)], atol=0.01)


def test_an_object_in_the_last_cell_is_there() -> None:
    t = targets([(W - 4, H - 4, W, H)])
    assert t.heat[0, -1, -1] == 1
