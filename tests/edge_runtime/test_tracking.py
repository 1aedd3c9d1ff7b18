"""The filter, the assignment and the tracker, against plain references and established libraries."""

from __future__ import annotations

import numpy as np
import pytest
import supervision
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edge_runtime.config import TrackingConfig
from edge_runtime.datatypes import Detections
from edge_runtime.tracking import kalman
from edge_runtime.tracking.assignment import assign
from edge_runtime.tracking.tracker import Tracker
from tests.builders import detections

FRAME_WH = (640, 480)
STEP_NS = 100_000_000


@given(st.integers(0, 8), st.integers(0, 8), st.sampled_from([0.2, 0.5, 1.0]), st.integers(0, 10**6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_assignment_costs_what_scipys_does(n: int, m: int, cost_max: float, seed: int, coarse: bool) -> None:
    cost = np.random.default_rng(seed).random((n, m))
    cost = np.round(cost * 4) / 4 if coarse else cost
    pairs = assign(cost, cost_max)
    ours = sum(cost[i, j] for i, j in pairs) + cost_max * (n - len(pairs))
    padded = np.full((n, m + n), 9.0)
    padded[:, :m] = np.where(cost <= cost_max, cost, 9.0)
    padded[np.arange(n), m + np.arange(n)] = cost_max
    rows, columns = linear_sum_assignment(padded)
    assert ours == pytest.approx(padded[rows, columns].sum())
    assert all(cost[i, j] <= cost_max for i, j in pairs)
    assert len({j for _, j in pairs}) == len(pairs)


def test_assignment_refuses_costs_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="finite"):
        assign(np.array([[np.nan]]), 1.0)


def update_reference(mean: NDArray[np.float64], covariance: NDArray[np.float64], z: NDArray[np.float64], r: float):  # type: ignore[no-untyped-def]
    """One track by the textbook: gain from the inverse, covariance as (I - KH) P."""
    h = np.eye(4, 8)
    s = h @ covariance @ h.T + np.eye(4) * r
    k = covariance @ h.T @ np.linalg.inv(s)
    return mean + k @ (z - h @ mean), (np.eye(8) - k @ h) @ covariance


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_vectorised_update_is_the_textbooks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 400, (3, 2)), rng.uniform(20, 100, (3, 2))
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    beliefs = kalman.predict(kalman.begin(boxes), 0.1, np.zeros(3, np.bool_))
    seen = boxes + rng.normal(0, 3, boxes.shape).astype(np.float32)
    updated = kalman.update(beliefs, seen)
    for i in range(3):
        z = np.array([*(seen[i, :2] + seen[i, 2:]) / 2, *(seen[i, 2:] - seen[i, :2])], np.float64)
        r = (kalman.MEASUREMENT * max(np.sqrt(beliefs.mean[i, 2] * beliefs.mean[i, 3]), kalman.SIDE_FLOOR_PX)) ** 2
        mean, covariance = update_reference(beliefs.mean[i], beliefs.covariance[i], z, r)
        np.testing.assert_allclose(updated.mean[i], mean, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(updated.covariance[i], covariance, rtol=1e-5, atol=1e-4)


@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=30), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_covariance_stays_positive_definite(steps_s: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    beliefs = kalman.begin(np.array([[100, 100, 150, 200]], np.float32))
    for seconds in steps_s:
        beliefs = kalman.predict(beliefs, seconds, rng.random(1) < 0.3)
        if rng.random() < 0.7:
            beliefs = kalman.update(beliefs, kalman.boxes(beliefs) + rng.normal(0, 5, 4).astype(np.float32))
        covariance = beliefs.covariance[0]
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
        assert np.linalg.eigvalsh(covariance).min() > 0


def test_a_steady_walk_is_forecast() -> None:
    beliefs = kalman.begin(np.array([[0, 0, 40, 80]], np.float32))
    for i in range(1, 15):
        beliefs = kalman.predict(beliefs, 0.1, np.zeros(1, np.bool_))
        beliefs = kalman.update(beliefs, np.array([[10 * i, 0, 10 * i + 40, 80]], np.float32))
    forecast = kalman.boxes(kalman.predict(beliefs, 0.3, np.zeros(1, np.bool_)))[0]
    np.testing.assert_allclose(forecast, [170, 0, 210, 80], atol=4)


def walk(tracker: Tracker, frames: list[Detections], step_ns: int = STEP_NS) -> list[set[int]]:
    """The confirmed, seen track ids after each frame."""
    outputs = [tracker.update(d, i * step_ns, FRAME_WH) for i, d in enumerate(frames)]
    return [{t.id for t in o.live if t.confirmed and not t.lost} for o in outputs]


def moving(i: int, score: float = 0.8, label: str = "person") -> Detections:
    return detections([(50 + 12 * i, 100, 100 + 12 * i, 220)], [score], [label])


def test_a_track_is_told_of_after_its_third_sight_and_keeps_its_id() -> None:
    ids = walk(Tracker(TrackingConfig()), [moving(i) for i in range(10)])
    assert ids == [set(), set()] + [{1}] * 8


def test_weak_detections_prolong_a_track_but_start_none() -> None:
    tracker = Tracker(TrackingConfig())
    assert walk(tracker, [moving(i, score=0.2) for i in range(6)]) == [set()] * 6
    ids = walk(Tracker(TrackingConfig()), [moving(i, score=0.8 if i < 3 else 0.2) for i in range(8)])
    assert ids[-1] == {1}


def test_a_faint_look_changes_the_mean_score_little_and_what_is_long_past_not_at_all() -> None:
    tracker = Tracker(TrackingConfig())
    scores = [0.8, 0.6, *[0.7] * 8, 0.2, *[0.5] * 60]
    means = [tracker.update(moving(0, s), i * STEP_NS, FRAME_WH).live[0].mean_score for i, s in enumerate(scores)]
    assert means[:2] == pytest.approx([0.8, 0.7]), "a young track's is the mean of all"
    assert means[9:11] == pytest.approx([0.7, 0.65])
    assert means[-1] == pytest.approx(0.5, abs=1e-3)


def test_a_lost_object_is_found_again_with_its_id() -> None:
    frames = [moving(i) for i in range(6)] + [detections()] * 6 + [moving(9)] * 2
    assert walk(Tracker(TrackingConfig()), frames)[-1] == {1}


def test_a_track_that_stays_lost_ends_once() -> None:
    tracker = Tracker(TrackingConfig())
    walk(tracker, [moving(i) for i in range(5)])
    ended = [t.id for i in range(5, 60) for t in tracker.update(detections(), i * STEP_NS, FRAME_WH).ended]
    assert ended == [1]


@pytest.mark.parametrize(("speed_px", "ends_after_s"), [(10, 0.7), (-10, 2.1), (0, 2.1)])
def test_what_drove_towards_a_near_border_when_it_was_last_seen_has_left(speed_px: int, ends_after_s: float) -> None:
    tracker = Tracker(TrackingConfig())
    for i in range(12):
        x = 550 - (11 - i) * speed_px
        tracker.update(detections([(x, 100, x + 60, 150)], [0.8], ["car"]), i * STEP_NS, FRAME_WH)
    ends = [i for i in range(1, 40) if tracker.update(detections(), (11 + i) * STEP_NS, FRAME_WH).ended]
    assert [i * STEP_NS / 1e9 for i in ends] == pytest.approx([ends_after_s], abs=0.11)


@pytest.mark.parametrize("gap_s", [2.1, 5.0, 900.0])
def test_after_a_gap_in_the_frames_another_track_begins(gap_s: float) -> None:
    tracker, there = Tracker(TrackingConfig(lost_s=2.0)), detections([(50, 100, 100, 220)], [0.8], ["person"])
    walk(tracker, [there] * 5)
    later = tracker.update(there, 4 * STEP_NS + round(gap_s * 1e9), FRAME_WH)
    assert [t.id for t in later.ended] == [1]
    assert [(t.id, t.confirmed) for t in later.live] == [(2, False)]


def test_what_is_forgotten_never_comes_back_under_its_id() -> None:
    tracker, there = Tracker(TrackingConfig()), detections([(50, 100, 100, 220)], [0.8], ["person"])
    walk(tracker, [there] * 5)
    tracker.forget()
    output = tracker.update(there, 5 * STEP_NS, FRAME_WH)
    assert [(t.id, t.confirmed) for t in output.live] == [(2, False)]
    assert not output.ended


def test_every_second_frame_is_enough() -> None:
    assert walk(Tracker(TrackingConfig()), [moving(i) for i in range(0, 20, 2)], 2 * STEP_NS)[-1] == {1}


def test_a_face_on_a_person_is_a_track_of_its_own() -> None:
    both = detections([(50, 100, 100, 220), (60, 105, 85, 135)], [0.8, 0.7], ["person", "face"])
    assert walk(Tracker(TrackingConfig()), [both] * 4)[-1] == {1, 2}


def test_a_part_of_a_tracked_object_starts_no_track() -> None:
    whole = detections([(50, 100, 250, 300)], [0.8], ["car"])
    parts = detections([(50, 100, 250, 300), (60, 110, 160, 290)], [0.8, 0.7], ["car", "truck"])
    assert walk(Tracker(TrackingConfig()), [whole] * 3 + [parts] * 4)[-1] == {1}


def test_a_part_that_comes_with_its_whole_starts_no_track() -> None:
    both = detections([(60, 110, 160, 290), (40, 90, 260, 310)], [0.8, 0.7], ["person", "person"])
    live = walk(Tracker(TrackingConfig()), [both] * 4)
    assert live[-1] == {1}


def test_a_part_seen_while_its_whole_is_missed_for_a_moment_starts_no_track() -> None:
    whole = detections([(40, 90, 260, 310)], [0.8], ["person"])
    part = detections([(60, 110, 120, 190)], [0.8], ["person"])
    assert walk(Tracker(TrackingConfig()), [whole] * 3 + [part] * 2 + [whole] * 3)[-1] == {1}
    assert walk(Tracker(TrackingConfig()), [whole] * 3 + [part] * 20)[-1] != {1}, "not for long"


@pytest.mark.parametrize("label", ["face", "person"])
def test_a_head_around_a_tracked_face_starts_no_track_but_who_stands_before_a_child_does(label: str) -> None:
    small, large = (60, 110, 110, 170), (40, 90, 130, 190)
    both = detections([small, large], [0.8, 0.7], [label, label])
    assert walk(Tracker(TrackingConfig()), [both] * 12)[-1] == {1}
    alone = detections([small], [0.8], [label])
    assert walk(Tracker(TrackingConfig()), [alone] * 3 + [both] * 12)[-1] == ({1} if label == "face" else {1, 2})


def test_of_a_face_and_a_head_around_it_the_surer_is_followed() -> None:
    small, large = (60, 110, 110, 170), (40, 90, 130, 190)
    for scores, x1 in (((0.8, 0.7), 60), ((0.7, 0.8), 40)):
        output = Tracker(TrackingConfig()).update(detections([small, large], list(scores), ["face"] * 2), 0, FRAME_WH)
        assert [round(track.box[0]) for track in output.live] == [x1]


@pytest.mark.parametrize(("box", "label", "told_after"), [
    ((200, 100, 380, 300), "car", 9),  # a bonnet that looks like a car of its own, or a car half behind
    ((200, 100, 380, 300), "person", 3),
    ((260, 100, 440, 300), "car", 3),
])  # fmt: skip
def test_what_starts_beside_a_tracked_object_of_its_kind_is_told_of_later(
    box: tuple[int, int, int, int], label: str, told_after: int
) -> None:
    one = detections([(50, 100, 260, 300)], [0.8], ["car"])
    two = detections([(50, 100, 260, 300), box], [0.8, 0.7], ["car", label])
    ids = walk(Tracker(TrackingConfig()), [one] * 3 + [two] * 12)
    assert [2 in live for live in ids[3:]] == [i + 1 >= told_after for i in range(12)]


def test_the_label_is_the_one_seen_most() -> None:
    tracker = Tracker(TrackingConfig())
    box = [(50, 100, 250, 300)]
    for i, label in enumerate(["car", "truck", "car", "car", "bus"]):
        output = tracker.update(detections(box, [0.8], [label]), i * STEP_NS, FRAME_WH)
    assert [t.label for t in output.live] == ["car"]


@pytest.mark.parametrize(("seen", "told"), [("bbcbcbbc", "car"), ("bbbbbbbb", "bus"), ("bbbbcbbb", "bus")])
def test_what_is_now_a_car_and_then_a_bus_is_more_likely_a_car(seen: str, told: str) -> None:
    tracker = Tracker(TrackingConfig())
    for i, letter in enumerate(seen):
        label = {"b": "bus", "c": "car"}[letter]
        output = tracker.update(detections([(50, 100, 250, 300)], [0.8], [label]), i * STEP_NS, FRAME_WH)
    assert [t.label for t in output.live] == [told]


def crossing(rng: np.random.Generator, frames: int) -> tuple[list[NDArray[np.float32]], list[Detections]]:
    """Four persons who cross each other's ways: true boxes [4, 4] and noisy, gappy detections of each frame."""
    starts = np.array([[20, 60], [560, 90], [60, 380], [500, 300]], float)
    speeds = np.array([[7, 2], [-7, 2], [6, -3], [-5, -1]], float)
    truths, seen = [], []
    for i in range(frames):
        corner = starts + speeds * i
        truth = np.concatenate([corner, corner + np.array([40, 90])], 1).astype(np.float32)
        noisy = truth + rng.normal(0, 2.5, truth.shape).astype(np.float32)
        kept = rng.random(4) > 0.12
        truths.append(truth)
        seen.append(detections(noisy[kept].tolist(), rng.uniform(0.45, 0.95, int(kept.sum())).tolist(), ["person"] * 4))
    return truths, seen


def score(truths: list[NDArray[np.float32]], tracks: list[list[tuple[int, NDArray[np.float32]]]]) -> tuple[int, int]:
    """(true objects covered by a track at IoU 0.5, changes of the id that covers an object)."""
    from edge_runtime.geometry import iou

    covered = switches = 0
    last: dict[int, int] = {}
    for truth, found in zip(truths, tracks, strict=True):
        if not found:
            continue
        overlap = iou(truth, np.array([box for _, box in found], np.float32))
        for k in range(len(truth)):
            best = int(overlap[k].argmax())
            if overlap[k, best] >= 0.5:
                covered += 1
                switches += last.get(k, found[best][0]) != found[best][0]
                last[k] = found[best][0]
    return covered, switches


@pytest.mark.filterwarnings("ignore")
def test_no_worse_than_supervisions_bytetrack() -> None:
    covered, switches = np.zeros(2, int), np.zeros(2, int)
    for seed in range(5):
        truths, seen = crossing(np.random.default_rng(seed), 70)
        tracker = Tracker(TrackingConfig())
        ours, theirs = [], []
        peer = supervision.ByteTrack(frame_rate=10, minimum_consecutive_frames=3, track_activation_threshold=0.4)
        for i, found in enumerate(seen):
            live = tracker.update(found, i * STEP_NS, FRAME_WH).live
            ours.append([(t.id, np.array(t.box, np.float32)) for t in live if t.confirmed and not t.lost])
            result = peer.update_with_detections(
                supervision.Detections(found.boxes, confidence=found.scores, class_id=found.labels.astype(int))
            )
            theirs.append([(int(k), b) for k, b in zip(result.tracker_id, result.xyxy, strict=True)])
        for k, tracks in enumerate((ours, theirs)):
            c, s = score(truths, tracks)
            covered[k] += c
            switches[k] += s
    assert covered[0] >= covered[1], f"covered {covered}"
    assert switches[0] <= switches[1], f"switches {switches}"
