"""Attention's regions confirm, shift and complete the detector's boxes, and never cross from one kind to another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.datatypes import Detections
from edge_runtime.detection.fusion import AGREE_IOU, GLANCE_TRUST, LONE_DETECTION, LONE_REGION, fuse
from edge_runtime.geometry import iou

DETECTOR = ("face", "person", "car", "motorcycle", "license_plate")
ATTENTION = ("face", "person", "vehicle")
Row = tuple[str, float, tuple[float, float, float, float]]


def found(names: tuple[str, ...], *rows: Row) -> Detections:
    return Detections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([names.index(label) for label, _, _ in rows], np.int32),
        names,
    )


def rows_of(detections: Detections) -> list[Row]:
    return [
        (detections.name(i), float(detections.scores[i]), tuple(detections.boxes[i].tolist()))  # type: ignore[misc]
        for i in range(len(detections))
    ]


def test_two_that_agree_are_one_between_them_and_surer() -> None:
    fused = fuse(found(DETECTOR, ("car", 0.6, (0, 0, 100, 60))), found(ATTENTION, ("vehicle", 0.3, (10, 0, 106, 66))))
    ((label, score, box),) = rows_of(fused)
    assert label == "car"
    assert score == pytest.approx(1 - 0.4 * (1 - GLANCE_TRUST * 0.3))
    assert box == pytest.approx((10 / 3, 0, 102, 62))


def test_what_one_alone_saw_counts_less() -> None:
    fused = fuse(found(DETECTOR, ("person", 0.5, (0, 0, 20, 60))), found(ATTENTION, ("person", 0.9, (200, 0, 240, 90))))
    assert rows_of(fused) == [
        ("person", pytest.approx(0.9 * LONE_REGION), (200, 0, 240, 90)),
        ("person", pytest.approx(0.5 * LONE_DETECTION), (0, 0, 20, 60)),
    ]


def test_a_vehicle_of_which_no_crop_tells_the_kind_is_none() -> None:
    assert not len(fuse(found(DETECTOR), found(ATTENTION, ("vehicle", 0.9, (0, 0, 50, 50)))))


def test_kinds_do_not_mix_and_what_attention_does_not_know_stays() -> None:
    box = (0.0, 0.0, 50.0, 50.0)
    fused = fuse(
        found(DETECTOR, ("license_plate", 0.7, box), ("face", 0.6, box)), found(ATTENTION, ("vehicle", 0.9, box))
    )
    assert rows_of(fused) == [("license_plate", pytest.approx(0.7), box), ("face", pytest.approx(0.48), box)]


def test_networks_without_a_label_in_common_leave_detections_alone() -> None:
    alone = found(("license_plate",), ("license_plate", 0.7, (0, 0, 50, 20)))
    assert fuse(alone, found(ATTENTION, ("vehicle", 0.9, (0, 0, 50, 20)))) is alone


def test_nothing_and_nothing_is_nothing() -> None:
    assert not len(fuse(found(DETECTOR), found(ATTENTION)))


BOX = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)


def some(names: tuple[str, ...]) -> st.SearchStrategy[Detections]:
    row = st.tuples(st.sampled_from(names), st.floats(0.0625, 1, width=32), BOX)
    return st.lists(row, max_size=6).map(lambda rows: found(names, *rows))


@settings(max_examples=200, deadline=None)
@given(detections=some(DETECTOR), regions=some(ATTENTION))
def test_fusion_keeps_each_detection_and_orders_by_score(detections: Detections, regions: Detections) -> None:
    before = [a.copy() for a in (detections.boxes, detections.scores, regions.boxes, regions.scores)]
    fused = fuse(detections, regions)
    assert all(np.array_equal(a, b) for a, b in zip(
        before, (detections.boxes, detections.scores, regions.boxes, regions.scores), strict=True
    ))  # fmt: skip
    assert (np.diff(fused.scores) <= 0).all()
    assert ((fused.scores >= 0) & (fused.scores <= 1)).all()
    assert len(detections) <= len(fused) <= len(detections) + sum(regions.labels < 2)
    # A box that was moved still overlaps what the detector said.
    for i in range(len(detections)):
        own = fused.boxes[fused.labels == detections.labels[i]]
        assert iou(detections.boxes[i : i + 1], own).max() >= AGREE_IOU - 1e-3
