"""Which plate it is: told once a vehicle, when readings agree, and again only nearer to the list."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.config import PlatesConfig
from edge_runtime.datatypes import Event
from edge_runtime.events.explanation import Note
from edge_runtime.events.plates import KEPT, LOOKS_MOST, RANK, Plates
from edge_runtime.plates.looker import PlateSeen
from edge_runtime.plates.reading import Reading
from edge_runtime.tracking.tracker import TrackerOutput
from tests.tracks import moment, standing

OURS = PlatesConfig(enabled=True, allow=("AB 123 CD",), tell="read")


class Visit:
    """Feeds a rule with frames of one vehicle at a time."""

    def __init__(self, config: PlatesConfig = OURS, notes: list[Note] | None = None) -> None:
        self.rule, self.at_s = Plates(config, None if notes is None else notes.append), 0.0

    def frame(self, text: str | None = None, sure: float = 0.9, *, track: int = 1, x: float = 100.0, label: str = "car", **more: object) -> list[tuple[str | None, str | None]]:  # fmt: skip  # noqa: E501
        """One frame, and what was read in it."""
        self.at_s += 0.25
        live = (standing(track, x, 300, self.at_s, label=label, size_wh=(200, 150), **more),)  # type: ignore[arg-type]
        seen = [] if text is None else [PlateSeen(track, Reading(text, (sure,) * len(text)), 100.0)]
        return said(self.rule.update(TrackerOutput(live, ()), seen, moment(self.at_s)))


def said(events: Sequence[Event]) -> list[tuple[str | None, str | None]]:
    assert all(e.type == "plate" and e.track is not None for e in events)
    return [(e.state, e.name) for e in events]


def test_a_plate_of_the_list_is_told_at_its_third_reading_and_never_again() -> None:
    visit = Visit()
    assert [visit.frame("AB123CD") for _ in range(20)] == [[], [], [("allowed", "AB123CD")], *[[]] * 17]
    assert not visit.rule.wanted(1)


def test_one_character_off_is_near_and_never_allowed() -> None:
    visit = Visit()
    assert [visit.frame("AB123CO") for _ in range(20)] == [[], [], [("near", "AB123CO")], *[[]] * 17]


def test_a_stranger_is_unknown() -> None:
    visit = Visit()
    assert [t for _ in range(6) for t in visit.frame("KX900ZZ")] == [("unknown", "KX900ZZ")]


def test_unsure_readings_tell_nothing_until_better_ones_come() -> None:
    visit = Visit()
    assert not any(visit.frame("AB123CD", 0.4) for _ in range(10))
    assert [t for _ in range(KEPT) for t in visit.frame("AB123CD", 0.95)] == [("allowed", "AB123CD")]


def test_the_event_says_how_sure_its_worst_character_is() -> None:
    rule = Plates(OURS)
    told: list[Event] = []
    for i in range(3):
        seen = [PlateSeen(1, Reading("AB123CD", (0.9, 0.95, 0.7, 0.9, 0.9, 0.9, 0.9)), 200.0)]
        told += rule.update(TrackerOutput((standing(1, 100, 300, float(i), label="car"),), ()), seen, moment(float(i)))
    (event,) = told
    assert event.confidence is not None and abs(event.confidence - 0.7) < 1e-6


def test_misread_characters_are_outvoted() -> None:
    visit = Visit()
    told = [t for text in ("AB123CO", "A8123CD", "AB128CD", "AB123CD", "AB123CD") for t in visit.frame(text, 0.95)]
    assert told == [("allowed", "AB123CD")]


def test_what_was_misread_far_away_is_corrected_nearer_to_the_list_but_not_away_from_it() -> None:
    visit = Visit()
    assert [t for _ in range(3) for t in visit.frame("A8128CO", 0.65)] == [("unknown", "A8128CO")]
    assert [t for _ in range(KEPT + 3) for t in visit.frame("AB123CD", 0.99)] == [("allowed", "AB123CD")]
    assert not any(visit.frame("KX900ZZ", 1.0) for _ in range(3 * KEPT))


def test_events_carry_the_plates_of_the_list_alone_unless_told_otherwise() -> None:
    for tell, told in (("listed", [("unknown", None), ("near", "AB123CD"), ("allowed", "AB123CD")]),
                       ("none", [("unknown", None), ("near", None), ("allowed", None)])):  # fmt: skip
        for text, expected in zip(("KX900ZZ", "AB123CO", "AB123CD"), told, strict=True):
            visit = Visit(PlatesConfig(enabled=True, allow=("AB123CD",), tell=tell))  # type: ignore[arg-type]
            assert [t for _ in range(5) for t in visit.frame(text)] == [expected]


def test_a_vehicle_found_again_under_another_number_is_not_told_of_twice() -> None:
    visit = Visit()
    assert [t for _ in range(4) for t in visit.frame("AB123CD")] == [("allowed", "AB123CD")]
    gone_s = visit.at_s
    visit.frame(seen_s=gone_s)
    again = [t for _ in range(6) for t in visit.frame("AB123CD", track=2, x=104, start_s=gone_s + 0.5)]
    assert again == []


def test_people_have_no_plates_and_neither_have_bicycles() -> None:
    visit = Visit()
    assert not any(visit.frame("AB123CD", label=label) for label in ("person", "bicycle") for _ in range(5))


def test_a_plate_off_the_list_is_not_looked_at_for_ever() -> None:
    visit = Visit()
    for _ in range(LOOKS_MOST):
        assert visit.rule.wanted(1)
        visit.frame("KX900ZZ")
    assert not visit.rule.wanted(1)


def test_a_sticker_is_no_plate() -> None:
    visit = Visit()
    assert not any(visit.frame("D", 1.0) for _ in range(10))


def test_the_explanation_says_how_readings_stand() -> None:
    notes: list[Note] = []
    visit = Visit(notes=notes)
    for _ in range(4):
        visit.frame("AB123CO")
    assert [(n.fired, n.text) for n in notes] == [
        (False, "unsettled: 1 of 1 readings make AB123CO at 0.90; needs 3 at 0.60"),
        (False, "unsettled: 2 of 2 readings make AB123CO at 0.90; needs 3 at 0.60"),
        (True, "near: 3 of 3 readings make AB123CO at 0.90, one character off AB123CD"),
        (False, "as told, near: 4 of 4 readings make AB123CO at 0.90, one character off AB123CD"),
    ]


def test_the_explanation_says_where_nothing_was_read() -> None:
    notes: list[Note] = []
    visit = Visit(notes=notes)
    for text in (None, "D", None, "AB123CO"):
        visit.frame(text)
    visit.frame(track=2, label="person")
    assert [n.text for n in notes] == [
        "nothing read: no plate of at least 60 px was found on it",
        "unsettled: 1 of 1 readings make AB123CO at 0.90; needs 3 at 0.60",
        "person: only vehicles have plates",
    ]


@given(st.lists(st.tuples(st.sampled_from(["AB123CD", "AB123CO", "KX900ZZ", "AB12", "", None]), st.floats(0.1, 1.0))))
def test_whatever_is_read_a_vehicle_is_told_of_at_most_thrice_and_ever_nearer_to_the_list(
    frames: list[tuple[str | None, float]],
) -> None:
    visit = Visit()
    states = [state for text, sure in frames for state, _ in visit.frame(text, sure)]
    ranks = [RANK[state] for state in states]  # type: ignore[index]
    assert ranks == sorted(set(ranks))
