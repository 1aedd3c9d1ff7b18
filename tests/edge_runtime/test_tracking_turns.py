"""Turns: one track a frame is looked at, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.datatypes import Track
from edge_runtime.tracking.turns import Turns

S = 1_000_000_000


def track(id_: int, side_px: int = 20) -> Track:
    return Track(id_, "car", 0.9, 0.9, (0, 0, side_px, side_px), 0, 0, 9, confirmed=True, lost=False)


def side(one: Track) -> float:
    return one.box[2] - one.box[0]


def test_a_new_track_comes_before_all_others_and_the_largest_of_the_new_first() -> None:
    turns, far, near = Turns(0.2), track(1), track(2, 90)
    order = [turns.take([far, near], lambda t: True, side, i * S) for i in range(2)]
    order.append(turns.take([far, near, track(3, 5)], lambda t: True, side, 2 * S))
    assert [t.id for t in order if t is not None] == [2, 1, 3]


def test_nobody_is_looked_at_twice_within_the_time() -> None:
    turns, one = Turns(0.2), track(1)
    looked = [turns.take([one], lambda t: True, side, i * S // 10) is not None for i in range(5)]
    assert looked == [True, False, True, False, True]


def test_lost_and_unworthy_tracks_get_no_turn() -> None:
    turns, one = Turns(0.2), track(1)
    assert turns.take([replace(one, lost=True)], lambda t: True, side, 0) is None
    assert turns.take([one], lambda t: False, side, 0) is None
    assert turns.take([one], lambda t: True, side, 0) == one  # waiting cost it no turn


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(1, 5))
def test_everybody_gets_a_turn_before_anybody_gets_two(sides: list[int], every: int) -> None:
    turns = Turns(every / 10)
    tracks = [track(i, s) for i, s in enumerate(sides)]
    order = [turns.take(tracks, lambda t: True, side, i * S) for i in range(2 * len(tracks))]
    ids = [t.id for t in order if t is not None]
    assert set(ids[: len(tracks)]) == set(range(len(tracks)))
    assert ids[: len(tracks)] == ids[len(tracks) :]
