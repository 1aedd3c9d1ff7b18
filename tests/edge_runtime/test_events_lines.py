"""Lines: every crossing is told once, with its direction, whatever the frame rate, the jitter and the ids do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from hypothesis import event, given, settings
from hypothesis import strategies as st

from edge_runtime.config import Config, LineConfig
from edge_runtime.datatypes import Track
from edge_runtime.events.engine import EventEngine
from edge_runtime.events.explanation import Note
from tests.tracks import CLASSES, Stage, moment, standing

# Drawn from left to right: its left-hand side is up on the picture, its right-hand side is down.
GATE = LineConfig("gate", ((0.2, 0.5), (0.8, 0.5)))
Y = 250.0
BAND_PX = 5.0
"""More than the band around this line for boxes of 40 x 90 pixels in a frame of 1000 x 500."""


def stage(*lines: LineConfig) -> Stage:
    return Stage(EventEngine(Config(lines=lines or (GATE,)), CLASSES))


def ways(s: Stage) -> list[str | None]:
    return [e.direction for e in s.events]


@st.composite
def paths(draw: st.DrawFn, far_px: float = 200.0) -> tuple[list[tuple[float, float]], list[str]]:
    """Points of a path that changes sides n times, and the crossings' directions.

    Each leg ends clear of the line; between the ends lie as many points as a frame rate happens to give, and the box
    jitters there, on the line as well, by less than the band is wide.
    """
    n = draw(st.integers(0, 8))
    side = draw(st.sampled_from([-1, 1]))
    clear = st.floats(3 * BAND_PX, far_px)
    here = (draw(st.floats(300, 700)), Y + side * draw(clear))
    points, expected = [here], []
    for _ in range(n):
        side = -side
        step = st.floats(-20, 20) if far_px < 100 else st.floats(-400, 400)
        there = (min(max(here[0] + draw(step), 300), 700), Y + side * draw(clear))
        shares = sorted(draw(st.lists(st.floats(0, 1), max_size=12)))
        noise = st.floats(-BAND_PX / 2, BAND_PX / 2)
        for share in shares:
            y = here[1] + share * (there[1] - here[1])
            if abs(y - Y) < BAND_PX:  # linger there for some frames
                points += [(here[0], Y + draw(noise)) for _ in range(draw(st.integers(0, 4)))]
            points.append((here[0] + share * (there[0] - here[0]), y + (draw(noise) if abs(y - Y) < 200 else 0)))
        points.append(there)
        expected.append("in" if side > 0 else "out")
        here = there
    return points, expected


@given(paths(), st.floats(0.01, 2.0))
@settings(max_examples=120, deadline=None)
def test_a_path_that_crosses_n_times_gives_n_signed_events_at_any_frame_rate(
    path: tuple[list[tuple[float, float]], list[str]], frame_s: float
) -> None:
    points, expected = path
    s = stage()
    for i, (x, y) in enumerate(points):
        s.frame(i * frame_s, [standing(1, x, y, i * frame_s)])
    assert ways(s) == expected
    event(f"{len(expected)} crossings")
    assert s.engine.crossings() == {("gate", "in"): expected.count("in"), ("gate", "out"): expected.count("out")}


@given(st.sampled_from([-1, 1]), st.lists(st.floats(-3.9, 3.9), max_size=60), st.sampled_from([-1, 1]))
@settings(max_examples=100, deadline=None)
def test_jitter_on_the_line_is_never_more_than_the_true_crossing(start: int, jitter: list[float], end: int) -> None:
    s = stage()
    for i, dy in enumerate([start * 30.0, *jitter, end * 30.0]):
        s.frame(i / 10, [standing(1, 500, Y + dy, i / 10)])
    assert ways(s) == ([] if start == end else ["in" if end > 0 else "out"])


@given(paths(far_px=20.0), st.data())  # no step is longer than a successor may begin away: 49 px
@settings(max_examples=120, deadline=None)
def test_changes_of_id_near_the_line_neither_lose_nor_add_a_crossing(
    path: tuple[list[tuple[float, float]], list[str]], data: st.DataObject
) -> None:
    points, expected = path
    points = points + [points[-1]] * 3  # so that the last id is confirmed
    switches = data.draw(st.sets(st.integers(1, max(1, len(points) - 3)), min_size=1, max_size=4))
    event(f"{len(switches)} switches")
    s = stage()
    id_, start, lost = 1, 0, dict[int, tuple[int, Track]]()
    for i, (x, y) in enumerate(points):
        at_s = i / 10
        if i in switches:
            last = points[i - 1]
            was = standing(id_, *last, at_s, start_s=start / 10, confirmed=i - start >= 3, seen_s=(i - 1) / 10)
            lost[id_] = i, was
            id_, start = id_ + 1, i
        confirmed = i - start >= 2
        patience = {k: 20 if was.confirmed else 3 for k, (_, was) in lost.items()}
        ended = [was for k, (since, was) in lost.items() if i - since > patience[k]]
        for track in ended:
            del lost[track.id]
        now = standing(id_, x, y, at_s, start_s=start / 10, confirmed=confirmed)
        s.frame(at_s, [*(was for _, was in lost.values()), now], ended)
    assert ways(s) == expected


def test_a_way_around_the_end_is_no_crossing() -> None:
    s = stage()
    for i, point in enumerate([(700, 200), (900, 200), (900, 300), (700, 300)]):
        s.frame(i / 10, [standing(1, *point, i / 10)])
    assert s.events == []


def test_through_the_line_and_back_around_its_end_is_one_crossing() -> None:
    s = stage()
    for i, point in enumerate([(700, 200), (700, 300), (900, 300), (900, 200), (700, 200), (700, 300)]):
        s.frame(i / 10, [standing(1, *point, i / 10)])
    assert ways(s) == ["in", "in"]


def test_a_walk_along_the_line_and_around_its_end_within_the_band_is_no_crossing() -> None:
    s = stage()
    for i, point in enumerate([(780, 230), (790, 249), (795, 251), (805, 251), (810, 249), (810, 230)]):
        s.frame(i / 10, [standing(1, *point, i / 10)])
    s.frame(1.0, [standing(1, 790, 230, 1.0)])
    assert s.events == []


def test_directions_are_as_the_picture_shows_them() -> None:
    upwards = LineConfig("up", ((0.5, 0.9), (0.5, 0.1)))  # walking up, the right-hand side is on the right
    s = stage(upwards)
    s.frame(0.0, [standing(1, 400, 250, 0.0)])
    assert [(e.line, e.direction) for e in s.frame(0.1, [standing(1, 600, 250, 0.1)])] == [("up", "in")]
    assert [e.direction for e in s.frame(0.2, [standing(1, 400, 250, 0.2)])] == ["out"]


def test_a_crossing_before_the_track_is_confirmed_is_told_when_it_is() -> None:
    s = stage()
    assert s.frame(0.0, [standing(1, 500, 200, 0.0, confirmed=False)]) == []
    assert s.frame(0.1, [standing(1, 500, 300, 0.1, confirmed=False)]) == []
    assert [e.type for e in s.frame(0.2, [standing(1, 500, 320, 0.2)])] == ["line_cross"]


def test_a_crossing_while_the_track_was_lost_is_told_when_it_is_seen_again() -> None:
    s = stage()
    s.frame(0.0, [standing(1, 500, 230, 0.0)])
    assert s.frame(0.1, [standing(1, 500, 400, 0.1, seen_s=0.0)]) == [], "a forecast crosses nothing"
    assert [e.direction for e in s.frame(0.5, [standing(1, 500, 300, 0.5)])] == ["in"]


def test_a_track_that_comes_back_keeps_its_side_and_the_one_taken_for_its_successor_its_own() -> None:
    s = stage()
    s.frame(0.0, [standing(1, 500, 220, 0.0)])
    s.frame(0.1, [standing(1, 500, 220, 0.1, seen_s=0.0), standing(2, 500, 290, 0.1, start_s=0.1, confirmed=False)])
    s.frame(0.2, [standing(1, 500, 220, 0.2), standing(2, 500, 290, 0.2, start_s=0.1, confirmed=False)])
    s.frame(0.3, [standing(1, 500, 220, 0.3), standing(2, 500, 290, 0.3, start_s=0.1)])
    assert s.events == [], "two people, and neither crossed"
    s.frame(0.4, [standing(1, 500, 300, 0.4), standing(2, 500, 290, 0.4, start_s=0.1)])
    assert [(e.track.id if e.track else 0, e.direction) for e in s.events] == [(1, "in")]


def test_a_track_in_full_sight_has_no_successor_but_one_lost_nearby_has() -> None:
    s = stage()
    s.frame(0.0, [standing(1, 500, 220, 0.0), standing(2, 510, 290, 0.0)])
    lost = {at_s: standing(1, 500, 220, at_s, seen_s=0.0) for at_s in (0.1, 0.2)}
    for at_s in (0.1, 0.2):
        s.frame(at_s, [lost[at_s], standing(2, 510, 290, at_s), standing(3, 500, 260, at_s, start_s=0.1)])
    assert [(e.track and e.track.id, e.direction) for e in s.events] == [(3, "in")]


def test_somebody_of_another_kind_or_far_away_takes_nothing_over() -> None:
    for x, label in ((500.0, "car"), (750.0, "person")):
        s = stage()
        s.frame(0.0, [standing(1, 500, 220, 0.0)])
        gone = standing(1, 500, 220, 0.1, seen_s=0.0)
        s.frame(0.1, [standing(2, x, 290, 0.1, start_s=0.1, label=label)], [gone])
        s.frame(0.2, [standing(2, x, 290, 0.2, start_s=0.1, label=label)])
        assert s.events == []


def test_labels_and_schedules_filter_but_sides_are_followed_all_the_same() -> None:
    s = stage(LineConfig("gate", GATE.points, labels=("vehicle",), active="22:00-06:00"))
    day, night = datetime(2026, 11, 24, 12), datetime(2026, 11, 24, 23)
    s.frame(0.0, [standing(1, 500, 200, 0.0, label="car"), standing(2, 400, 200, 0.0)], wall=day)
    s.frame(0.1, [standing(1, 500, 300, 0.1, label="car"), standing(2, 400, 300, 0.1)], wall=day)
    assert s.events == []
    s.frame(0.2, [standing(1, 500, 200, 0.2, label="car"), standing(2, 400, 200, 0.2)], wall=night)
    assert [(e.track.label if e.track else "", e.direction) for e in s.events] == [("car", "out")]


def test_a_cool_down_tells_one_of_several_crossings_and_counts_them_all() -> None:
    s = stage(LineConfig("gate", GATE.points, cooldown_s=10.0))
    for i, y in enumerate((200, 300, 200)):
        s.frame(i / 10, [standing(1, 400, y, i / 10, label="car"), standing(2, 600, y, i / 10, label="truck")])
    assert [(e.direction, e.track and e.track.id) for e in s.events] == [("in", 1), ("out", 1)]
    assert s.engine.crossings() == {("gate", "in"): 2, ("gate", "out"): 2}


def test_somebody_with_a_face_crosses_once() -> None:
    s = stage(GATE)
    for i, y in enumerate((200, 300)):
        s.frame(i / 10, [standing(1, 400, y, i / 10), standing(2, 400, y - 20, i / 10, label="face")])
    assert s.engine.crossings() == {("gate", "in"): 1, ("gate", "out"): 0}


def test_a_line_that_is_edited_keeps_its_sides_and_counts_until_it_is_moved() -> None:
    s = stage(GATE)
    s.frame(0.0, [standing(1, 400, 200, 0.0)])
    s.engine.apply(Config(lines=(replace(GATE, min_age_s=0.05),)), moment(0.05))
    assert [e.direction for e in s.frame(0.1, [standing(1, 400, 300, 0.1)])] == ["in"]
    s.engine.apply(Config(lines=(replace(GATE, points=((0.0, 0.9), (1.0, 0.9))),)), moment(0.2))
    assert s.engine.crossings() == {("gate", "in"): 0, ("gate", "out"): 0}


def test_an_unfit_track_crosses_nothing() -> None:
    s = stage(LineConfig("gate", GATE.points, min_score=0.5), LineConfig("same", GATE.points, min_side_px=50))
    for i, y in enumerate((200, 300)):
        s.frame(i / 10, [standing(1, 400, y, i / 10, score=0.4), standing(2, 600, y, i / 10)])
    assert [(e.line, e.track and e.track.id) for e in s.events] == [("gate", 2)]


def test_the_explanation_says_why_a_crossing_did_not_count() -> None:
    notes: list[Note] = []
    s = Stage(EventEngine(Config(lines=(LineConfig("gate", GATE.points, ("car",)),)), CLASSES, notes.append))
    for i, y in enumerate((200, 249, 300)):
        s.frame(i / 10, [standing(1, 500, y, i / 10)])
    assert [(n.track, n.rule, n.text, n.fired) for n in notes] == [
        (1, "line gate", "on the left-hand side, 50 px", False),
        (1, "line gate", "on the line: 1 px away, clear from 4 px on", False),
        (1, "line gate", "crossed left to right, but label person is not among car", False),
    ]
