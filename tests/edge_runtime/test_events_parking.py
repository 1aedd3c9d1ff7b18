"""A parking slot changes its state once a car has really come or gone, and is not fooled by what passes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.commands.replay import Explained
from edge_runtime.config import Config, ParkingConfig, SlotConfig, TamperConfig
from edge_runtime.datatypes import Event
from edge_runtime.events.appearance import Moment
from edge_runtime.events.explanation import Note
from edge_runtime.events.parking import FREE_UP_TO, OCCUPIED_FROM, Parking

SQUARE = ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3), (0.1, 0.3))
CAR, NOTHING, DOUBT = 0.95, 0.05, 0.5
LOOKS = st.lists(st.tuples(st.floats(0.1, 30), st.floats(0, 1)), max_size=60)
"""Seconds since the look before, and the probability then."""


def lot(names: Sequence[str] = ("14",), min_dwell_s: float = 10.0) -> Parking:
    return Parking([SlotConfig(name, SQUARE) for name in names], ParkingConfig(min_dwell_s=min_dwell_s))


def moment(at_s: float) -> Moment:
    return Moment(round(at_s * 1e9), None, (1280, 720))


def watched(parking: Parking, *stretches: tuple[float, int], start_s: float = 100.0) -> list[Event]:
    """What a sequence of (probability, looks a second apart) leads to, for a lot of one slot."""
    every = [probability for probability, looks in stretches for _ in range(looks)]
    return [event for i, p in enumerate(every) for event in parking.update([p], moment(start_s + i))]


def known(parking: Parking, state: str) -> Parking:
    watched(parking, (CAR if state == "occupied" else NOTHING, 12), start_s=0)
    assert parking.states() == {"14": state}
    return parking


def test_a_slot_is_unknown_until_it_was_seen_for_the_minimum_dwell() -> None:
    parking = lot()
    assert watched(parking, (CAR, 10)) == []
    assert parking.states() == {}
    assert parking.unsettled
    (event,) = parking.update([CAR], moment(110))
    assert (event.type, event.slot, event.state, event.dwell_s) == ("slot_occupied", "14", "occupied", None)
    assert not parking.unsettled


def test_an_arriving_car_is_told_of_after_the_minimum_dwell() -> None:
    parking = known(lot(), "free")
    assert watched(parking, (CAR, 10)) == []
    assert parking.phases() == {"14": "arriving"}
    (event,) = parking.update([CAR], moment(110))
    assert (event.type, event.at_ns) == ("slot_occupied", 110_000_000_000)
    assert parking.phases() == {"14": "occupied"}


def test_a_leaving_car_is_told_of_with_the_time_it_stood() -> None:
    parking = known(lot(), "free")
    events = watched(parking, (CAR, 300), (NOTHING, 12))
    assert [e.type for e in events] == ["slot_occupied", "slot_free"]
    assert events[0].dwell_s is None, "nobody saw when the slot became free"
    assert events[1].dwell_s == 300


def test_a_car_that_drives_past_a_free_slot_changes_nothing() -> None:
    parking = known(lot(), "free")
    assert watched(parking, *[(CAR, 8), (NOTHING, 20)] * 20) == []


def test_a_lorry_before_an_occupied_slot_changes_nothing() -> None:
    parking = known(lot(), "occupied")
    assert watched(parking, (NOTHING, 9), (CAR, 30), (DOUBT, 20), (NOTHING, 3), (CAR, 30)) == []
    assert parking.states() == {"14": "occupied"}


def test_a_street_busy_for_a_third_of_the_time_changes_nothing() -> None:
    parking = known(lot(), "free")
    assert watched(parking, *[(CAR, 3), (NOTHING, 6)] * 200) == []


def test_a_car_that_is_missed_now_and_then_is_told_of_all_the_same() -> None:
    parking = known(lot(), "free")
    assert [e.type for e in watched(parking, *[(CAR, 5), (NOTHING, 1)] * 8)] == ["slot_occupied"]


BUSH, DUSK = 0.6, 0.45
"""How a free slot with a bush in it looks, and a car in the dark."""


def test_a_car_that_leaves_a_slot_with_a_bush_in_it_is_told_of_after_three_times_the_dwell() -> None:
    parking = known(lot(), "occupied")
    events = watched(parking, (CAR, 60), (BUSH, 40))
    assert [(e.type, e.at_ns / 1e9) for e in events] == [("slot_free", 190.0)]
    assert watched(parking, (BUSH, 600), start_s=1000) == [], "and then that is how the slot looks"
    assert [e.type for e in watched(parking, (CAR, 12), start_s=2000)] == ["slot_occupied"]


def test_a_car_that_comes_in_the_dark_is_told_of() -> None:
    parking = known(lot(), "free")
    assert [e.type for e in watched(parking, (NOTHING, 60), (DUSK, 40))] == ["slot_occupied"]
    assert watched(parking, (DUSK, 600), start_s=1000) == []


def test_a_shadow_that_creeps_over_a_slot_and_light_that_fades_change_nothing() -> None:
    up = [(NOTHING + (BUSH - NOTHING) * i / 600, 1) for i in range(601)]
    assert watched(known(lot(), "free"), *up) == []
    down = [(CAR + (DUSK - CAR) * i / 600, 1) for i in range(601)]
    assert watched(known(lot(), "occupied"), *down) == []


def test_a_step_between_two_looks_far_apart_tells_nothing() -> None:
    parking = known(lot(), "free")
    told = [e for i in range(40) for e in parking.update([BUSH if i % 2 else NOTHING], moment(100 + 60 * i))]
    assert told == []
    assert [e for i in range(40) for e in parking.update([BUSH], moment(10_000 + 60 * i))] == []


def test_one_look_alone_never_changes_a_state_however_long_ago_the_last_one_was() -> None:
    parking = known(lot(), "free")
    assert parking.update([CAR], moment(10_000)) == []
    assert [e.type for e in watched(parking, (CAR, 10), start_s=10_001)] == ["slot_occupied"]


def test_a_gap_in_which_nobody_looked_is_no_evidence() -> None:
    parking = known(lot(), "free")
    assert watched(parking, (CAR, 1)) == []
    assert watched(parking, (CAR, 5), start_s=3700) == [], "two cars that passed, an hour apart, for all anyone knows"
    (event,) = watched(parking, (CAR, 6), start_s=3705)
    assert event.at_ns / 1e9 == 3705.0, "the hour counted as 5 s, and 5 s of looks"


def test_looks_that_are_always_far_apart_count_in_full() -> None:
    parking = lot(min_dwell_s=100)
    told = [e.at_ns / 1e9 for i in range(5) for e in parking.update([CAR], moment(60 * i))]
    assert told == [120.0]


def test_a_restored_state_is_not_told_again_and_changes_as_any_other() -> None:
    parking = lot()
    parking.restore({"14": "occupied", "gone": "free"})
    assert parking.states() == {"14": "occupied"}
    assert watched(parking, (CAR, 60)) == []
    events = watched(parking, (NOTHING, 12), start_s=200)
    assert [(e.type, e.dwell_s) for e in events] == [("slot_free", None)], "when it began nobody knows"


def test_each_slot_has_its_own_state() -> None:
    parking = lot(("a", "b"))
    events = [e for i in range(12) for e in parking.update([CAR, NOTHING], moment(i))]
    assert [(e.slot, e.type) for e in events] == [("a", "slot_occupied"), ("b", "slot_free")]


def test_slots_drawn_while_it_runs_begin_anew_and_the_others_go_on() -> None:
    parking = lot(("a", "b"), min_dwell_s=10)
    told = [e for i in range(8) for e in parking.update([CAR, CAR], moment(i))]
    a, b = (SlotConfig(name, SQUARE) for name in "ab")
    moved = SlotConfig("b", ((0.5, 0.5), (0.9, 0.5), (0.9, 0.9)))
    parking.apply((moved, a))
    told += [e for i in range(8, 22) for e in parking.update([CAR, CAR], moment(i))]
    assert [(e.slot, e.at_ns / 1e9) for e in told] == [("a", 10.0), ("b", 18.0)]
    parking.apply((b,))
    assert parking.states() == {}
    assert parking.update([CAR], moment(30)) == []


def test_looks_are_due_at_the_configured_pace() -> None:
    parking = lot()
    assert parking.due(0)
    parking.update([NOTHING], moment(5))
    assert not parking.due(round(5.9e9))
    assert parking.due(round(6e9))
    assert not lot(()).due(0), "no slots, no looks"


def explained(*stretches: tuple[float, int]) -> list[str]:
    """What a lot of one slot says that is looked at a second apart, `*` where the slot changed."""
    notes: list[Note] = []
    parking = Parking([SlotConfig("14", SQUARE)], ParkingConfig(), notes.append)
    watched(parking, *stretches, start_s=0)
    parking.finish(moment(sum(looks for _, looks in stretches)))
    assert {(note.track, note.rule) for note in notes} == {(None, "slot 14")}
    return [f"{'*' if note.fired else ''}{note.at_ns / 1e9:g} {note.text}" for note in notes]


def test_a_slot_says_once_what_its_looks_are_taken_for_and_what_they_add_up_to() -> None:
    assert explained((NOTHING, 20), (CAR, 5), (NOTHING, 10), (CAR, 11), (BUSH, 4)) == [
        "0 free is likelier, p 0.05: known after 10 s of it",
        "*10 slot_free: 10.0 s speak for free, summed since 0.00 s, 11 looks, p 0.05 to 0.05; parking.min_dwell_s = 10",
        "11 looks free, p 0.05: as it is",
        "20 looks occupied, p 0.95: changes after 10 s of it",
        "25 looks free, p 0.05: takes back what speaks for occupied, 3.0 of 10 s are left",
        "28 looks free, p 0.05: as it is",
        "35 looks occupied, p 0.95: changes after 10 s of it",
        "*45 slot_occupied: 10.0 s speak for occupied, summed since 35.00 s, 11 looks, p 0.95 to 0.95; "
        "parking.min_dwell_s = 10",
        "46 p 0.60 is a sudden step towards free: its time counts 33%; changes after 10 s",
        "50 the end; in all 50 looks, p 0.05 to 0.95; of 10 s for a change 1.0 s speak for free, summed since 46.00 s, "
        "4 looks, p 0.60 to 0.60",
    ]


def test_a_slot_says_when_the_camera_could_not_see_it() -> None:
    notes: list[Note] = []
    parking = Parking([SlotConfig("14", SQUARE)], ParkingConfig(), notes.append)
    for at_s in range(3):
        parking.unseen(moment(at_s), "the camera is covered")
    assert [note.text for note in notes] == ["not looked at: the camera is covered"]


def test_the_explanation_of_a_slot_that_flickers_for_an_hour_stays_short() -> None:
    config = Config(slots=(SlotConfig("14", SQUARE),), tamper=TamperConfig(enabled=False))
    told = Explained(config)
    parking = Parking(config.slots, config.parking, told.note)
    for event in watched(parking, *[(CAR, 2), (NOTHING, 2)] * 900):
        told.hear(event)
    lines = list(told.text())
    assert len(lines) < 30
    assert lines[0] == "slot 14: unknown at the end, did not fire"
    assert any(" more, to " in line for line in lines)


@settings(deadline=None)
@given(LOOKS, st.floats(0, 20))
def test_events_alternate_and_are_a_minimum_dwell_apart(looks: list[tuple[float, float]], min_dwell_s: float) -> None:
    parking, at_s, events = lot(min_dwell_s=min_dwell_s), 0.0, []
    for gap_s, probability in looks:
        at_s += gap_s
        events += parking.update([probability], moment(at_s))
    for one, after in pairwise(events):
        assert {one.type, after.type} == {"slot_free", "slot_occupied"}
        assert (after.at_ns - one.at_ns) / 1e9 >= min_dwell_s - 1e-6
        assert after.dwell_s is None or after.dwell_s >= 0
    assert parking.states() == ({"14": events[-1].state} if events else {})


@settings(deadline=None)
@given(LOOKS, st.floats(0, 1), st.floats(0.2, 5))
def test_a_constant_picture_settles(looks: list[tuple[float, float]], constant: float, gap_s: float) -> None:
    parking, at_s = lot(), 0.0
    for gap, probability in looks:
        at_s += gap
        parking.update([probability], moment(at_s))
    events = []
    # The evidence that stands is less than a dwell; it is taken back, at half speed by doubt, and then made anew.
    for _ in range(round(60 / gap_s) + 4):
        at_s += gap_s
        events += parking.update([constant], moment(at_s))
    assert len(events) <= 1
    if constant >= OCCUPIED_FROM or constant <= FREE_UP_TO:
        assert parking.states() == {"14": "occupied" if constant > 0.5 else "free"}
    assert not parking.unsettled


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(9, 40)), max_size=12), st.booleans())
def test_whatever_is_gone_before_the_dwell_is_over_changes_nothing(
    passing: list[tuple[int, int]], occupied: bool
) -> None:
    parking = known(lot(), "occupied" if occupied else "free")
    usual, other = (CAR, NOTHING) if occupied else (NOTHING, CAR)
    assert watched(parking, *[pair for short, calm in passing for pair in ((other, short), (usual, calm))]) == []
