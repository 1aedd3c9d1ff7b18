"""Plates are compared exactly, or but for one character; the distance is that of a plain reference."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.events.plates import Match, match
from edge_runtime.plates.matching import distance, nearest, plain
from edge_runtime.rules import PlatesConfig
from edge_runtime.settings import build

TEXTS = st.text("AB01", max_size=6)


@cache
def distance_reference(a: str, b: str) -> int:
    """Levenshtein's recursion as it stands in the book."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        distance_reference(a[1:], b) + 1,
        distance_reference(a, b[1:]) + 1,
        distance_reference(a[1:], b[1:]) + (a[0] != b[0]),
    )


@given(TEXTS, TEXTS)
def test_the_distance_is_that_of_the_reference(a: str, b: str) -> None:
    assert distance(a, b) == distance_reference(a, b)


@given(TEXTS, TEXTS, TEXTS)
def test_the_distance_is_one(a: str, b: str, c: str) -> None:
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@pytest.mark.parametrize(
    ("read", "found"),
    [
        ("AB123CD", Match("allowed", "AB123CD")),
        ("AB123CO", Match("near", "AB123CD")),  # another character
        ("AB123C", Match("near", "AB123CD")),  # one too few
        ("AB1123CD", Match("near", "AB123CD")),  # one too many
        ("AB132CD", Match("unknown")),  # two are swapped: two characters off
        ("KX900", Match("allowed", "KX900")),
        ("", Match("unknown")),
    ],
)
def test_one_character_off_is_near_and_two_are_unknown(read: str, found: Match) -> None:
    assert match(read, ["AB123CD", "KX900"]) == found


def test_nothing_is_near_an_empty_list() -> None:
    assert nearest("AB123CD", []) is None
    assert match("AB123CD", []) == Match("unknown")


def test_people_write_plates_with_blanks_dots_and_dashes() -> None:
    assert plain("ab·123 c-d") == "AB123CD"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"allow": ["AB 123 CD", "ab-123-cd"]}, 'plates.allow[1] = "ab-123-cd": is allow[0] once more'),
        ({"allow": ["YBE*1153"]}, 'plates.allow[0] = "YBE*1153": * stands on no plate; list each plate as it is'),
        ({"allow": ["--"]}, 'plates.allow[0] = "--": a plate has 3 to 12 letters and digits'),
        ({"tell": "all"}, 'plates.tell = "all": must be one of listed, read, none'),
    ],
)
def test_mistakes_in_the_list_are_refused_by_name(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(PlatesConfig, table, "edge.toml", ConfigError, "plates.")
    assert message in str(refusal.value)
