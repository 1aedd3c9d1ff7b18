"""Zones: entered and left once, late enough not to flap and soon enough to be of use."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from edge_runtime.config import Config, LabelConfig, ZoneConfig
from edge_runtime.datatypes import Event
from edge_runtime.errors import ConfigError
from edge_runtime.events.engine import EventEngine
from edge_runtime.events.explanation import Note
from edge_runtime.tracking.tracker import TrackerOutput
from tests.tracks import CLASSES, Stage, moment, standing

# The left half of the frame of 1000 x 500 pixels, down to its lower border.
PATH = ZoneConfig("path", ((0.0, 0.2), (0.5, 0.2), (0.5, 1.0), (0.0, 1.0)))
IN, OUT = (200.0, 300.0), (800.0, 300.0)


def stage(*zones: ZoneConfig) -> Stage:
    return Stage(EventEngine(Config(zones=zones or (PATH,)), CLASSES))


def walk(s: Stage, places: list[tuple[float, float]], step_s: float = 0.1, **more: object) -> list[tuple[str, float]]:
    """Track 1 stands at each place in turn; the events and when they came."""
    told = []
    for i, (x, y) in enumerate(places):
        told += s.frame(round(i * step_s, 6), [standing(1, x, y, i * step_s)], **more)
    return [(e.type, round(e.at_ns / 1e9, 3)) for e in told]


def test_a_track_enters_after_enter_s_inside_and_leaves_after_leave_s_outside() -> None:
    s = stage()
    assert walk(s, [OUT] * 5 + [IN] * 20 + [OUT] * 20) == [("zone_enter", 0.8), ("zone_leave", 3.5)]
    assert [e.zone for e in s.events] == ["path", "path"]
    assert s.events[1].dwell_s == pytest.approx(2.0), "from the first moment inside to the last"


def test_a_brush_with_the_border_is_no_visit_and_a_step_aside_no_leave() -> None:
    s = stage()
    assert walk(s, [OUT] * 3 + [IN] * 2 + [OUT] * 5) == []
    s = stage()
    assert walk(s, [IN] * 5 + [OUT] * 8 + [IN] * 5) == [("zone_enter", 0.3)]


def test_frames_in_which_a_track_does_not_count_only_delay_its_entering() -> None:
    s = stage(replace(PATH, min_score=0.5))
    told = []
    for i, score in enumerate((0.6, 0.6, 0.4, 0.4, 0.6, 0.6, 0.6)):
        told += s.frame(i / 10, [standing(1, *IN, i / 10, score=score)])
    assert [(e.type, e.at_ns / 1e9) for e in told] == [("zone_enter", 0.5)], "0.2 s late, for 0.2 s that do not count"
    left = s.frame(0.7, [standing(1, *OUT, 0.7)]) + s.frame(1.7, [standing(1, *OUT, 1.7)])
    assert left[0].dwell_s == pytest.approx(0.5)


def test_a_box_that_reaches_beyond_the_lower_border_still_stands_in_the_zone() -> None:
    assert walk(stage(), [(200.0, 520.0)] * 5) == [("zone_enter", 0.3)]


def test_a_track_that_is_lost_inside_stays_until_it_has_ended() -> None:
    s = stage()
    s.frame(0.0, [standing(1, *IN, 0.0)])
    s.frame(0.3, [standing(1, *IN, 0.3)])
    assert s.frame(2.0, [standing(1, *OUT, 2.0, seen_s=0.3)]) == [], "its forecast left, but nobody saw that"
    assert s.engine.counts()["path", "person"] == 1
    [left] = s.frame(2.4, [], [standing(1, *OUT, 2.4, seen_s=0.3)])
    assert (left.type, left.dwell_s) == ("zone_leave", pytest.approx(0.3))
    assert s.engine.counts()["path", "person"] == 0


def test_a_track_lost_on_its_way_out_of_the_picture_leaves_without_waiting_for_its_end() -> None:
    s = stage()
    for at_s, x in ((0.0, 60.0), (0.3, 40.0), (0.4, 22.0)):
        s.frame(at_s, [standing(1, x, 300, at_s)])
    for i in range(5, 14):
        assert s.frame(i / 10, [standing(1, 15, 300, i / 10, seen_s=0.4)]) == []
    [left] = s.frame(1.4, [standing(1, 15, 300, 1.4, seen_s=0.4)])
    assert (left.type, left.dwell_s) == ("zone_leave", pytest.approx(0.4))


def test_somebody_cut_off_by_the_border_who_only_blinks_stays() -> None:
    s = stage()
    for at_s in (0.0, 0.3):
        s.frame(at_s, [standing(1, 200, 500, at_s)])
    for at_s in (0.4, 1.0, 1.8):
        assert s.frame(at_s, [standing(1, 200, 500, at_s, seen_s=0.3)]) == []
    assert s.frame(1.9, [standing(1, 200, 500, 1.9)]) == []
    assert s.engine.counts()["path", "person"] == 1


def test_one_that_ends_at_once_has_left_after_leave_s() -> None:
    s = stage()
    s.frame(0.0, [standing(1, *IN, 0.0)])
    s.frame(0.3, [standing(1, *IN, 0.3)])
    assert s.frame(0.7, [], [standing(1, *IN, 0.7, seen_s=0.3)]) == []
    assert [e.type for e in s.frame(1.3)] == ["zone_leave"]


def test_the_explanation_says_that_a_stay_was_too_short_for_a_dwell() -> None:
    notes: list[Note] = []
    s = Stage(EventEngine(Config(zones=(replace(PATH, dwell_s=1.0),)), CLASSES, notes.append))
    walk(s, [IN] * 9 + [OUT] * 12)
    assert [n.text for n in notes][-2] == "no dwell: dwell_s = 1.0 were not over when it was last seen inside"
    assert notes[-1].fired


def test_dwell_is_told_once_and_by_itself_when_it_is_long_enough() -> None:
    s = stage(replace(PATH, dwell_s=1.0))
    assert walk(s, [IN] * 30 + [OUT] * 12) == [("zone_enter", 0.3), ("dwell", 1.0), ("zone_leave", 4.0)]
    assert s.events[1].dwell_s == pytest.approx(1.0)


def test_an_unconfirmed_track_is_not_told_of_but_its_time_counts() -> None:
    s = stage()
    s.frame(0.0, [standing(1, *IN, 0.0, confirmed=False)])
    assert s.frame(0.4, [standing(1, *IN, 0.4, confirmed=False)]) == []
    assert [e.type for e in s.frame(0.5, [standing(1, *IN, 0.5)])] == ["zone_enter"]


@pytest.mark.parametrize(
    ("zone", "unfit", "why"),
    [
        (replace(PATH, min_score=0.5), {"score": 0.45}, "inside, but score 0.45 is below min_score = 0.5"),
        (replace(PATH, min_side_px=60), {}, "inside, but side 40 px is below min_side_px = 60"),
        (replace(PATH, labels=("car",)), {}, "inside, but label person is not among car"),
        (replace(PATH, min_age_s=60.0), {}, "inside, but age 0.00 s is below min_age_s = 60.0"),
        (PATH, {"score": 0.65}, "inside, but score 0.65 is below min_score = 0.7"),
    ],
)
def test_an_unfit_track_does_not_enter_and_the_explanation_says_why(
    zone: ZoneConfig, unfit: dict[str, float], why: str
) -> None:
    notes: list[Note] = []
    asked = LabelConfig("car", min_side_px=400), LabelConfig("person", min_score=0.7)
    s = Stage(EventEngine(Config(zones=(zone,), labels=asked), CLASSES, notes.append))
    for i in range(10):
        assert s.frame(i / 10, [standing(1, *IN, i / 10, **unfit)]) == []  # type: ignore[arg-type]
    assert [(n.rule, n.text, n.fired) for n in notes] == [("zone path", why, False)]


def test_the_explanation_follows_a_visit() -> None:
    notes: list[Note] = []
    walk(Stage(EventEngine(Config(zones=(PATH,)), CLASSES, notes.append)), [OUT] * 3 + [IN] * 5 + [OUT] * 12)
    assert [(n.text, n.fired) for n in notes] == [
        ("stands outside", False),
        ("stands inside", False),
        ("zone_enter: inside for 0.30 s, score 0.90", True),
        ("stands outside", False),
        ("zone_leave: outside for 1.00 s, after 0.50 s inside", True),
    ]


def test_a_cool_down_holds_the_next_enter_of_that_label_back_but_not_the_count() -> None:
    s = stage(replace(PATH, cooldown_s=5.0))
    assert walk(s, [IN] * 10 + [OUT] * 12) == [("zone_enter", 0.3), ("zone_leave", 2.0)]
    for at_s in (2.5, 3.0):
        assert s.frame(at_s, [standing(2, *IN, at_s, start_s=2.5)]) == []
    assert s.engine.counts()["path", "person"] == 1
    car = [standing(2, *IN, 3.5, start_s=2.5), standing(3, *IN, 3.5, label="car")]
    assert s.frame(3.5, car) == []
    assert [e.track and e.track.label for e in s.frame(4.0, [replace(t, seen_ns=4_000_000_000) for t in car])] == [
        "car"
    ]
    assert [e.track and e.track.id for e in s.frame(7.1, [standing(2, *IN, 7.1, start_s=2.5)])] == [2]


def test_a_cool_down_holds_back_all_that_count_under_one_name() -> None:
    s = stage(replace(PATH, labels=("vehicle",), cooldown_s=60.0))
    for i, place in enumerate([IN] * 5 + [OUT] * 11):
        s.frame(i / 10, [standing(1, *place, i / 10, label="car")])
    assert [e.type for e in s.events] == ["zone_enter", "zone_leave"]
    for at_s in (2.0, 2.5):
        assert s.frame(at_s, [standing(2, *IN, at_s, label="truck")]) == []


def test_a_visit_wholly_within_the_cool_down_is_never_told() -> None:
    s = stage(replace(PATH, cooldown_s=60.0))
    told = walk(s, [IN] * 10 + [OUT] * 12 + [IN] * 15 + [OUT] * 15)
    assert told == [("zone_enter", 0.3), ("zone_leave", 2.0)]


def test_outside_its_schedule_a_zone_is_empty() -> None:
    s = stage(replace(PATH, active="22:00-06:00"))
    evening, night = datetime(2026, 11, 24, 21, 59), datetime(2026, 11, 24, 22, 0)
    assert walk(s, [IN] * 10, wall=evening) == []
    assert s.frame(1.0, [standing(1, *IN, 1.0)], wall=night) == []
    assert [e.type for e in s.frame(1.3, [standing(1, *IN, 1.3)], wall=night)] == ["zone_enter"]
    morning = datetime(2026, 11, 25, 6, 0)
    assert [e.type for e in s.frame(1.4, [standing(1, *IN, 1.4)], wall=morning)] == ["zone_leave"]
    assert s.engine.counts()["path", "person"] == 0


def test_in_its_quiet_hours_a_zone_is_empty() -> None:
    notes: list[Note] = []
    s = Stage(EventEngine(Config(zones=(replace(PATH, active="mon-fri", quiet="22:00-06:00"),)), CLASSES, notes.append))
    night, morning = datetime(2026, 11, 24, 23), datetime(2026, 11, 25, 6)
    assert walk(s, [IN] * 10, wall=night) == []
    assert notes[-1].text == 'in its quiet hours "22:00-06:00"'
    s.frame(1.0, [standing(1, *IN, 1.0)], wall=morning)
    assert [e.type for e in s.frame(1.3, [standing(1, *IN, 1.3)], wall=morning)] == ["zone_enter"]
    assert [e.type for e in s.frame(1.4, [standing(1, *IN, 1.4)], wall=datetime(2026, 11, 28, 12))] == ["zone_leave"]


@pytest.mark.parametrize("ended_at", ["in its schedule", "as it ends", "outside", "as it begins"])
def test_nothing_is_remembered_of_a_track_that_has_ended_whatever_the_schedule_says(ended_at: str) -> None:
    """A reason that is remembered is not told again: here one id comes twice, and is told of as if it were new."""
    notes: list[Note] = []
    zone = replace(PATH, active="22:00-06:00")
    s = Stage(EventEngine(Config(zones=(zone,)), CLASSES, notes.append))
    day, night = datetime(2026, 11, 24, 12), datetime(2026, 11, 24, 23)
    walls = {
        "in its schedule": (night, night, night),
        "as it ends": (night, night, day),
        "outside": (day, day, day),
        "as it begins": (day, day, night),
    }[ended_at]
    told = []
    for again_s in (0.0, 100.0):
        for wall, after_s in zip(walls, (0.0, 0.3, 3.0), strict=True):
            at_s = again_s + after_s
            here = standing(1, *IN, at_s, start_s=again_s)
            s.frame(at_s, *(([], [here]) if after_s == 3.0 else ([here], [])), wall=wall)
        told.append([note.text for note in notes])
        notes.clear()
    assert told[0][0] == told[1][0]


def test_counts_go_by_the_names_a_zone_lists() -> None:
    by_group, by_label = replace(PATH, labels=("vehicle", "car")), replace(PATH, name="all")
    s = stage(by_group, by_label)
    everything = [c for c in CLASSES if c != "face"]  # a part of a person, who would be counted twice
    assert s.engine.counts() == {("path", "vehicle"): 0, ("path", "car"): 0, **{("all", c): 0 for c in everything}}
    for at_s in (0.0, 0.3):
        s.frame(at_s, [standing(1, *IN, at_s, label="car"), standing(2, *IN, at_s, label="bus")])
    counts = s.engine.counts()
    assert (counts["path", "vehicle"], counts["path", "car"], counts["all", "bus"], counts["all", "person"]) == (
        2,
        1,
        1,
        0,
    )


def test_an_unknown_label_is_refused_by_rule_value_and_remedy() -> None:
    with pytest.raises(ConfigError, match=r'zones\[0\].labels: no model in use knows "persn"; did you mean person\?'):
        EventEngine(Config(zones=(replace(PATH, labels=("persn",)),)), CLASSES)
    EventEngine(Config(zones=(replace(PATH, labels=("vehicle",)),)), ("person", "vehicle"))


def test_other_rules_are_taken_over_without_a_break_in_the_old_ones() -> None:
    yard = replace(PATH, name="yard")
    s = stage(PATH, yard)
    walk(s, [IN] * 5)
    wide = replace(PATH, name="wide", points=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    told = s.engine.apply(Config(zones=(wide, yard)), moment(0.4))
    assert [(e.type, e.zone) for e in told] == [("zone_leave", "path")]
    assert s.engine.counts()["yard", "person"] == 1
    with pytest.raises(ConfigError):
        s.engine.apply(Config(zones=(replace(yard, labels=("nobody",)),)), moment(0.4))
    assert s.engine.counts()["yard", "person"] == 1, "the last good rules stay in force"
    s.frame(0.5, [standing(1, *IN, 0.5)])
    assert [e.zone for e in s.frame(0.8, [standing(1, *IN, 0.8)])] == ["wide"]


def test_a_zone_that_is_edited_keeps_who_is_inside_unless_they_do_not_count_any_more() -> None:
    s = stage(PATH)
    for at_s in (0.0, 0.3):
        s.frame(at_s, [standing(1, *IN, at_s), standing(2, *IN, at_s, label="car")])
    longer = replace(PATH, dwell_s=1.0)
    assert s.engine.apply(Config(zones=(longer,)), moment(0.4)) == []
    people = replace(longer, labels=("person",))
    told = s.engine.apply(Config(zones=(people,)), moment(0.5))
    assert [(e.type, e.track and e.track.label) for e in told] == [("zone_leave", "car")]
    assert s.engine.counts() == {("path", "person"): 1}
    here = [standing(1, *IN, 1.0), standing(2, *IN, 1.0, label="car")]
    assert [(e.type, e.track and e.track.id) for e in s.frame(1.0, here)] == [("dwell", 1)]
    away = replace(people, points=((0.6, 0.2), (1.0, 0.2), (1.0, 1.0), (0.6, 1.0)))
    assert s.engine.apply(Config(zones=(away,)), moment(1.1)) == []
    s.frame(1.2, [standing(1, *IN, 1.2)])
    assert [e.type for e in s.frame(2.2, [standing(1, *IN, 2.2)])] == ["zone_leave"]


def test_zones_are_left_before_their_tracks_end() -> None:
    engine = EventEngine(Config(zones=(PATH,)), CLASSES)
    for at_s in (0.0, 0.3):
        engine.update(TrackerOutput((standing(1, *IN, at_s),), ()), moment(at_s))
    assert [e.type for e in engine.finish(moment(0.3))] == ["zone_leave", "track_end"]


states = st.sampled_from(["absent", "inside", "inside", "inside", "outside", "lost"])
intervals = st.sampled_from([0.05, 0.1, 0.25, 0.4])


@given(st.lists(st.tuples(states, states), max_size=80), intervals, st.sampled_from([0.0, 0.3, 0.7]))
@settings(max_examples=120, deadline=None)
def test_enters_and_leaves_alternate_never_flap_and_add_up_to_the_counts(
    frames: list[tuple[str, str]], step_s: float, enter_s: float
) -> None:
    s = stage(replace(PATH, enter_s=enter_s))
    generation, seen = [0, 0], dict[int, float]()
    for i, frame in enumerate(frames):
        at_s, live, ended = i * step_s, [], []
        for slot, state in enumerate(frame):
            id_ = slot + 1 + 2 * generation[slot]
            if state == "absent":
                if id_ in seen:
                    ended.append(standing(id_, *IN, at_s, seen_s=seen.pop(id_)))
                    generation[slot] += 1
                continue
            if state != "lost" or id_ not in seen:
                seen[id_] = at_s
            live.append(standing(id_, *(OUT if state == "outside" else IN), at_s, seen_s=seen[id_]))
        s.frame(at_s, live, ended)
        inside = sum((e.type == "zone_enter") - (e.type == "zone_leave") for e in s.events)
        assert s.engine.counts()["path", "person"] == inside
    before_the_end = len(s.events)
    s.finish()
    event(f"{min(before_the_end, 10)} events")
    told: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for n, e in enumerate(s.events):
        assert e.track is not None
        told[e.track.id].append((e.type, e.at_ns / 1e9 if n < before_the_end else float("inf")))
    for visits in told.values():
        kinds = [kind for kind, _ in visits]
        assert kinds == ["zone_enter", "zone_leave"] * (len(kinds) // 2)
        assert all(b - a >= 1.0 - 1e-9 for (_, a), (_, b) in itertools.pairwise(visits))


@given(st.lists(st.floats(1.5, 6.0), min_size=1, max_size=8), st.lists(st.floats(0.02, 0.25), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_frame_rate_gives_the_same_visits_at_nearly_the_same_times(spans: list[float], steps: list[float]) -> None:
    s = stage()
    borders = list(itertools.accumulate(spans))
    at_s, frames = 0.0, itertools.cycle(steps)
    while at_s < borders[-1] + 1.5:
        outside = sum(b <= at_s for b in borders) % 2 == 0
        s.frame(at_s, [standing(1, *(OUT if outside else IN), at_s)])
        at_s += next(frames)
    visits: list[tuple[str, float]] = []
    for i, border in enumerate(borders):
        # The first visit needs enter_s = 0.3 inside, one that comes back leave_s = 1.0; a leave needs 1.0 outside.
        visits.append(("zone_leave", border + 1.0) if i % 2 else ("zone_enter", border + (1.0 if i else 0.3)))
    assert [e.type for e in s.events] == [kind for kind, _ in visits]
    for told, (_, due_s) in zip(s.events, visits, strict=True):
        assert due_s <= told.at_ns / 1e9 + 1e-6 <= due_s + 2 * max(steps) + 2e-6


def by_id(events: list[Event]) -> list[int]:
    return [e.track.id for e in events if e.track is not None]


def test_several_tracks_are_told_in_order_of_their_ids() -> None:
    s = stage()
    for at_s in (0.0, 0.3):
        s.frame(at_s, [standing(i, *IN, at_s) for i in (7, 2, 5)])
    assert by_id(s.events) == [2, 5, 7]
