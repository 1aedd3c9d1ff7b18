"""Several readings of one plate make one text, better than each of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.plates.fusion import WIDTH_GOOD_PX, Vote, fused
from edge_runtime.plates.reading import Reading

WIDE = WIDTH_GOOD_PX
TEXTS = st.text("ABC0123", min_size=1, max_size=7)
SURE = st.floats(0.05, 1.0)


def vote(text: str, sure: float = 0.9, width_px: float = WIDE) -> Vote:
    return Vote(Reading(text, (sure,) * len(text)), width_px)


def text_of(*votes: Vote) -> str:
    made = fused(votes)
    assert made is not None
    return made[0].text


def test_without_readings_there_is_no_text() -> None:
    assert fused([]) is None


@given(TEXTS, SURE, st.integers(1, 12), st.floats(20, 300))
def test_readings_that_agree_are_as_sure_together_as_each(text: str, sure: float, times: int, width_px: float) -> None:
    made = fused([vote(text, sure, width_px)] * times)
    assert made is not None
    reading, agree = made
    assert (reading.text, agree) == (text, times)
    assert reading.sure == pytest.approx((sure,) * len(text))


@given(st.lists(st.tuples(TEXTS, SURE, st.floats(20, 300)), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_readings_does_not_matter(rows: list[tuple[str, float, float]], chance: random.Random) -> None:
    votes = [vote(*row) for row in rows]
    shuffled = votes[:]
    chance.shuffle(shuffled)
    one, other = fused(votes), fused(shuffled)
    assert one is not None and other is not None
    assert one[0].text == other[0].text and one[1] == other[1]
    assert one[0].sure == pytest.approx(other[0].sure)
    assert all(0 <= much <= 1 for much in one[0].sure)
    assert len(one[0].text) in {len(text) for text, _, _ in rows}


@given(st.lists(st.integers(0, 6), min_size=3, max_size=3, unique=True))
def test_errors_in_different_places_are_outvoted(places: list[int]) -> None:
    truth = "ABC0123"
    wrong = [truth[:i] + "9" + truth[i + 1 :] for i in places]
    assert text_of(*map(vote, wrong)) == truth


def test_a_sure_reading_outweighs_an_unsure_one_and_a_large_plate_a_small_one() -> None:
    assert text_of(vote("AB1", 0.9), vote("AB7", 0.4)) == "AB1"
    assert text_of(vote("AB1", 0.8, 40), vote("AB7", 0.8, 90)) == "AB7"


def test_a_reading_of_another_length_votes_on_no_character_but_costs_confidence() -> None:
    made, alone = fused([vote("AB12")] * 3 + [vote("XAB12")]), fused([vote("AB12")] * 3)
    assert made is not None and alone is not None
    assert (made[0].text, made[1]) == ("AB12", 3)
    assert made[0].confidence == pytest.approx(0.75 * alone[0].confidence)
