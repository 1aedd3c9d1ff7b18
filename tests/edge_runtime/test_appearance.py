"""Every confirmed track gets one start, one end, and updates between."""

from __future__ import annotations

import itertools
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.config import EventsConfig
from edge_runtime.datatypes import Track
from edge_runtime.events.appearance import Appearance, Moment
from edge_runtime.tracking.tracker import TrackerOutput

STEP_NS = 250_000_000


def track(id_: int, *, confirmed: bool, lost: bool) -> Track:
    return Track(id_, "person", 0.9, 0.9, (1, 2, 3, 4), 0, 0, 3, confirmed, lost)


def moment(i: int) -> Moment:
    return Moment(i * STEP_NS, i * STEP_NS / 1e9, (640, 480))


states = st.sampled_from(["absent", "tentative", "seen", "lost"])


@given(st.lists(st.lists(states, min_size=3, max_size=3), max_size=40))
@settings(max_examples=200, deadline=None)
def test_starts_and_ends_pair_up_and_updates_keep_their_distance(frames: list[list[str]]) -> None:
    appearance = Appearance(EventsConfig(update_s=1.0))
    told: dict[int, list[tuple[str, int]]] = defaultdict(list)
    live: set[int] = set()
    generation = [0, 0, 0]
    for i, frame in enumerate(frames):
        now, ended = [], []
        for slot, state in enumerate(frame):
            id_ = slot + 10 * generation[slot]
            if state == "absent":
                if id_ in live:
                    live.discard(id_)
                    ended.append(track(id_, confirmed=True, lost=True))
                    generation[slot] += 1
                continue
            live.add(id_)
            now.append(track(id_, confirmed=state != "tentative", lost=state == "lost"))
        for event in appearance.update(TrackerOutput(tuple(now), tuple(ended)), moment(i)):
            assert event.track is not None
            told[event.track.id].append((event.type, event.at_ns))
    for event in appearance.finish(moment(len(frames))):
        assert event.track is not None
        told[event.track.id].append((event.type, event.at_ns))
    for events in told.values():
        kinds = [kind for kind, _ in events]
        assert kinds == ["track_start", *["track_update"] * (len(kinds) - 2), "track_end"]
        updates = [at for kind, at in events if kind != "track_end"]
        assert all(b - a >= 1e9 for a, b in itertools.pairwise(updates))


def test_nothing_is_told_of_a_track_that_was_never_confirmed() -> None:
    appearance = Appearance(EventsConfig())
    assert appearance.update(TrackerOutput((track(1, confirmed=False, lost=False),), ()), moment(0)) == []
    assert appearance.update(TrackerOutput((), (track(1, confirmed=False, lost=True),)), moment(1)) == []
    assert appearance.finish(moment(2)) == []
