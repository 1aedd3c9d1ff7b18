"""What networks say becomes a text: along steps with blanks between, or from a slot for each character."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.plates.reading import BLANK, Reading, read_slots, read_steps

COLUMNS = ("A", "B", "7", BLANK)


def says(path: str, sure: float = 0.9) -> NDArray[np.float32]:
    """Probabilities [steps, 4]; `_` is the blank."""
    rows = np.full((len(path), 4), (1 - sure) / 3, np.float32)
    for step, sign in enumerate(path):
        rows[step, COLUMNS.index("" if sign == "_" else sign)] = sure
    return rows


@pytest.mark.parametrize(
    ("path", "text"), [("AA_BB77", "AB7"), ("A_A", "AA"), ("___", ""), ("_A__", "A"), ("7", "7"), ("AAAA", "A")]
)
def test_repeats_are_one_character_and_a_blank_between_makes_two(path: str, text: str) -> None:
    assert read_steps(says(path), COLUMNS).text == text


@given(st.text("AB7_", max_size=12))
def test_steps_are_read_as_the_definition_says(path: str) -> None:
    expected = "".join(sign for sign, _ in groupby(path) if sign != "_")
    reading = read_steps(says(path), COLUMNS)
    assert reading.text == expected
    assert len(reading.sure) == len(expected)


def test_a_character_is_as_sure_as_its_surest_step_and_a_text_as_its_worst_character() -> None:
    rows = np.concatenate([says("A", 0.5), says("A", 0.8), says("_", 0.9), says("7", 0.6)])
    reading = read_steps(rows, COLUMNS)
    assert reading.sure == pytest.approx((0.8, 0.6))
    assert reading.confidence == pytest.approx(0.6)
    assert Reading("", ()).confidence == 0


def test_slots_that_are_left_over_are_dropped() -> None:
    reading = read_slots(says("A7B__"), COLUMNS)
    assert reading == Reading("A7B", reading.sure)
    assert reading.sure == pytest.approx((0.9, 0.9, 0.9))


def test_two_slots_with_one_character_are_two() -> None:
    assert read_slots(says("AA7_"), COLUMNS).text == "AA7"


def test_logits_are_read_as_probabilities_are() -> None:
    rows = says("A_7", 0.7)
    reading = read_steps(np.log(rows) + 3, COLUMNS)
    assert reading.text == "A7"
    assert reading.sure == pytest.approx((0.7, 0.7), rel=1e-4)
