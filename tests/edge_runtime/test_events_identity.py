"""Who it is: told once a track, from enough views, corrected only where views prove it wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.config import IdentityConfig
from edge_runtime.datatypes import Event, Track
from edge_runtime.events.explanation import Note
from edge_runtime.events.identity import KEPT, UNSURE, Identity, Verdict, confidence, verdict
from edge_runtime.identity.gallery import Gallery
from edge_runtime.identity.reader import Seen
from edge_runtime.tracking.tracker import TrackerOutput
from tests.tracks import moment, standing

THRESHOLD = 0.5
PLACES = {"anna": 0.0, "ben": 3.0}
"""On a line: a face at x is as far from a person as the two numbers are apart."""


def at(x: float) -> NDArray[np.float32]:
    return np.array([x, 0.0], np.float32)


GALLERY = Gallery("net", "0", {name: at(x)[None] for name, x in PLACES.items()})


def rule(config: IdentityConfig | None = None, gallery: Gallery = GALLERY, notes: list[Note] | None = None) -> Identity:
    listener = None if notes is None else notes.append
    return Identity(config or IdentityConfig(enabled=True), gallery, "euclidean", THRESHOLD, listener)


class Visit:
    """Feeds a rule with frames of one face at a time."""

    def __init__(self, identity: Identity) -> None:
        self.identity, self.at_s = identity, 0.0

    def frame(self, view: tuple[float, float] | None = None, *, track: int = 1, x: float = 100.0, **more: object) -> list[Event]:  # fmt: skip  # noqa: E501
        """One frame; `view` is where the face lies on the line, and the view's quality."""
        self.at_s += 0.2
        live = (standing(track, x, 200, self.at_s, label="face", **more),)  # type: ignore[arg-type]
        seen = [] if view is None else [Seen(track, view[1], at(view[0]))]
        return self.identity.update(TrackerOutput(live, ()), seen, moment(self.at_s))

    def lost(self, *, track: int = 1, x: float = 100.0, seen_s: float) -> None:
        """A frame in which the track is not seen."""
        self.at_s += 0.2
        live = (standing(track, x, 200, self.at_s, label="face", seen_s=seen_s),)
        self.identity.update(TrackerOutput(live, ()), [], moment(self.at_s))


def said(events: Sequence[Event]) -> list[tuple[str | None, str | None]]:
    return [(e.state, e.name) for e in events]


def test_a_known_face_is_named_at_its_third_good_view_and_never_again() -> None:
    visit = Visit(rule())
    told = [said(visit.frame((0.1, 0.9))) for _ in range(20)]
    assert told == [[], [], [("known", "anna")], *[[]] * 17]


def test_a_face_near_nobody_is_unknown() -> None:
    visit = Visit(rule())
    assert [said(visit.frame((1.5, 0.9))) for _ in range(4)] == [[], [], [("unknown", None)], []]


def test_two_views_tell_nothing_however_clear() -> None:
    visit = Visit(rule())
    assert not visit.frame((0.0, 1.0)) + visit.frame((0.0, 1.0)) + visit.frame() + visit.frame()


def test_between_known_and_unknown_nothing_is_said_until_a_better_view_tells() -> None:
    visit = Visit(rule())
    unsure = [visit.frame((THRESHOLD * 1.02, 0.5)) for _ in range(10)]
    assert not any(unsure)
    better = [said(visit.frame((0.1, 0.9))) for _ in range(3)]
    assert [("known", "anna")] in better


def test_what_bad_views_said_is_corrected_by_better_ones() -> None:
    visit = Visit(rule())
    first = [said(visit.frame((1.5, 0.2))) for _ in range(3)]
    assert first[-1] == [("unknown", None)]
    then = [told for _ in range(KEPT + 1) for told in said(visit.frame((0.0, 0.9)))]
    assert then == [("known", "anna")]


def test_names_stay_inside_where_the_configuration_says_so() -> None:
    visit = Visit(rule(IdentityConfig(enabled=True, tell_names=False)))
    told = [t for _ in range(5) for t in said(visit.frame((0.0, 0.5)))]
    told += [t for _ in range(KEPT + 2) for t in said(visit.frame((3.0, 0.9)))]
    assert ("known", "anna") not in told and told[0] == ("known", None)
    assert all(name is None for _, name in told)


def test_a_face_found_again_under_another_number_is_not_told_of_twice() -> None:
    visit = Visit(rule())
    told = [t for _ in range(4) for t in said(visit.frame((0.0, 0.9)))]
    gone_s = visit.at_s
    visit.lost(seen_s=gone_s)
    told += [t for _ in range(6) for t in said(visit.frame((0.0, 0.9), track=2, x=104, start_s=visit.at_s + 0.2))]
    assert told == [("known", "anna")]


def test_a_face_is_there_once_for_as_long_as_one_of_its_tracks_goes_on() -> None:
    visit = Visit(rule())
    for _ in range(4):
        visit.frame((0.0, 0.9))
    gone_s, known = visit.at_s, [Verdict("known", "anna")]
    assert visit.identity.present == known
    visit.lost(seen_s=gone_s)
    visit.frame((0.0, 0.9), track=2, x=104, start_s=visit.at_s + 0.2)
    assert visit.identity.present == known
    ended = standing(1, 100, 200, visit.at_s, label="face", seen_s=gone_s)
    visit.identity.update(TrackerOutput((), (ended,)), [], moment(visit.at_s + 0.1))
    assert visit.identity.present == known, "its first track is over, it is not"
    ended = standing(2, 104, 200, visit.at_s, label="face")
    visit.identity.update(TrackerOutput((), (ended,)), [], moment(visit.at_s + 0.2))
    assert visit.identity.present == []


def test_another_who_takes_the_place_of_a_lost_face_is_told_of() -> None:
    visit = Visit(rule())
    told = [t for _ in range(4) for t in said(visit.frame((0.0, 0.9)))]
    visit.lost(seen_s=visit.at_s)
    told += [t for _ in range(6) for t in said(visit.frame((3.0, 0.9), track=2, x=104, start_s=visit.at_s + 0.2))]
    assert told == [("known", "anna"), ("known", "ben")]


def test_whoever_is_enrolled_meanwhile_is_known_from_the_next_view_on() -> None:
    identity = rule()
    visit = Visit(identity)
    assert said([e for _ in range(3) for e in visit.frame((1.5, 0.5))]) == [("unknown", None)]
    identity.use(GALLERY.enrolled("carl", at(1.5)[None]))
    assert said(visit.frame((1.5, 0.6))) == [("known", "carl")]


def test_the_event_is_about_the_faces_track() -> None:
    visit = Visit(rule())
    (event,) = [e for _ in range(3) for e in visit.frame((0.0, 0.9), track=7)]
    assert (event.type, event.track and event.track.id, event.track and event.track.label) == ("identity", 7, "face")


@given(st.floats(0, 2 * THRESHOLD), st.floats(0, 2 * THRESHOLD))
def test_confidence_is_half_at_the_threshold_and_grows_away_from_it(near: float, far: float) -> None:
    near, far = sorted((near, far))
    for now, surer, less in ((Verdict("known", "anna"), near, far), (Verdict("unknown"), far, near)):
        a, b = (confidence(now, {"anna": x, "ben": 9.0}, THRESHOLD) for x in (surer, less))
        assert 0.5 <= b <= a <= 1.0
        assert confidence(now, {"anna": THRESHOLD}, THRESHOLD) == 0.5
    assert confidence(Verdict("unknown"), {}, THRESHOLD) == 1.0, "nobody is enrolled"


def test_the_event_says_how_sure_it_is_also_where_names_stay_inside() -> None:
    for config in (IdentityConfig(enabled=True), IdentityConfig(enabled=True, tell_names=False)):
        visit = Visit(rule(config))
        (known,) = [e for _ in range(3) for e in visit.frame((0.1, 0.9))]
        assert known.confidence is not None and abs(known.confidence - 0.9) < 1e-6
        visit = Visit(rule(config))
        (unknown,) = [e for _ in range(3) for e in visit.frame((1.5, 0.9))]
        assert unknown.confidence is not None and abs(unknown.confidence - 5 / 6) < 1e-6


def test_views_of_persons_and_cars_are_none_of_its_business() -> None:
    identity = rule()
    for i in range(6):
        live = (standing(1, 100, 200, 0.2 * i, label="person"),)
        assert not identity.update(TrackerOutput(live, ()), [Seen(1, 0.9, at(0))], moment(0.2 * i))


def test_why_it_did_not_fire_is_explained() -> None:
    notes: list[Note] = []
    visit = Visit(rule(notes=notes))
    for _ in range(4):
        visit.frame((0.1, 0.9))
    assert [(n.text, n.fired) for n in notes] == [
        ("1 of 3 good views", False),
        ("2 of 3 good views", False),
        ("anna: 3 views, nearest is anna at 0.100 of 0.500", True),
    ]


def test_the_explanation_says_of_whom_no_view_was_good_and_what_is_no_face() -> None:
    notes: list[Note] = []
    identity = rule(notes=notes)
    for i in range(3):
        live = (standing(1, 100, 200, 0.2 * i, label="face"), standing(2, 100, 200, 0.2 * i, label="person"))
        identity.update(TrackerOutput(live, ()), [], moment(0.2 * i))
    assert [(n.track, n.text) for n in notes] == [
        (1, "no good view: it was not large, sharp and turned to the camera at once"),
        (2, "person: only faces are compared"),
    ]


views = st.lists(st.tuples(st.floats(-1, 4), st.floats(0.01, 1)), max_size=40)


@given(views, st.integers(1, KEPT))
def test_whatever_is_seen_nothing_is_said_twice_or_too_early(shown: list[tuple[float, float]], needed: int) -> None:
    visit = Visit(rule(IdentityConfig(enabled=True, views=needed)))
    told = [visit.frame(view) for view in shown]
    assert all(len(events) <= 1 for events in told)
    assert not any(told[: needed - 1])
    flat = [t for events in told for t in said(events)]
    assert all(a != b for a, b in pairwise(flat))
    assert all((state == "known") == (name in PLACES) for state, name in flat)


@given(views)
def test_what_is_said_holds_for_the_best_views_seen_so_far(shown: list[tuple[float, float]]) -> None:
    visit = Visit(rule())
    kept: list[tuple[float, float]] = []
    for view in shown:
        events = visit.frame(view)
        kept = sorted([*kept, view], key=lambda v: -v[1])[:KEPT]
        apart = {n: float(np.sqrt(np.mean([(x - p) ** 2 for x, _ in kept]))) for n, p in PLACES.items()}
        for state, name in said(events):
            if state == "known":
                assert name is not None and apart[name] <= THRESHOLD * UNSURE + 1e-5
            else:
                assert min(apart.values()) > THRESHOLD * UNSURE - 1e-5


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 2)), st.sampled_from([None, *"abcdef"]))
def test_a_verdict_once_told_stands_until_another_is_clearly_nearer(
    apart: dict[str, float], before: str | None
) -> None:
    told = None if before is None else Verdict("known", before)
    now = verdict(apart, THRESHOLD, told)
    if now is not None and now.state == "known":
        assert now.name is not None and apart[now.name] <= UNSURE * min(apart.values()) + 1e-9
        assert verdict(apart, THRESHOLD, now) == now, "the same distances never change it"
    elif now is not None:
        assert all(d > UNSURE * THRESHOLD for d in apart.values())


@given(st.lists(st.floats(0.01, 1), min_size=KEPT, max_size=30))
def test_only_a_view_better_than_the_worst_kept_is_worth_a_run_of_the_embedder(qualities: list[float]) -> None:
    identity = rule()
    visit = Visit(identity)
    for i, quality in enumerate(qualities):
        assert identity.worth(1) == (sorted(qualities[:i], reverse=True)[KEPT - 1] if i >= KEPT else 0.0)
        visit.frame((0.0, quality))


def test_a_track_that_ended_is_forgotten() -> None:
    identity = rule()
    visit = Visit(identity)
    for _ in range(3):
        visit.frame((0.0, 0.9))
    over: Track = dataclasses.replace(standing(1, 100, 200, visit.at_s, label="face"), lost=True)
    identity.update(TrackerOutput((), (over,)), [], moment(visit.at_s + 3))
    visit.at_s += 3
    assert identity.worth(1) == 0.0
    assert said([e for _ in range(3) for e in visit.frame((0.0, 0.9))]) == [("known", "anna")]
