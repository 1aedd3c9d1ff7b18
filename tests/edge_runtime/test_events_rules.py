"""Rules drawn by a user: what is refused, and what the refusal says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import config, polygons
from edge_runtime.errors import ConfigError

SQUARE = "points = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5], [0.1, 0.5]]"
LINE = "points = [[0.2, 0.5], [0.8, 0.5]]"


def load(tmp_path: Path, text: str) -> config.Config:
    file = tmp_path / "edge.toml"
    file.write_text(text)
    return config.load(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[[zones]]\nname = "path"\npoints = [[0.1, 0.1], [1.2, 0.1], [0.5, 0.5]]',
            "zones[0].points[1] = [1.2, 0.1]: lies outside the frame; points are shares of its width and height",
        ),
        (
            '[[zones]]\nname = "path"\npoints = [[0.1, 0.1], [nan, 0.1], [0.5, 0.5]]',
            "zones[0].points[1] = NaN: must be a finite number",
        ),
        (
            '[[zones]]\nname = "path"\npoints = [[0.1, 0.1], [0.5, 0.5], [0.5, 0.1], [0.1, 0.5]]',
            "zones[0].points: the sides 0-1 and 2-3 cross or touch (corners count from 0); list the corners in their",
        ),
        (
            '[[zones]]\nname = "path"\npoints = [[0.1, 0.1], [0.5, 0.1]]',
            "zones[0].points: an area has three corners or more, not 2; add corners",
        ),
        (
            '[[zones]]\nname = "path"\npoints = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]',
            "zones[0].points = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]: the area is next to nothing; draw it larger",
        ),
        (f'[[zones]]\nname = "path"\n{SQUARE}\nenter_s = -1', "zones[0].enter_s = -1: must be at least 0"),
        (
            f'[[zones]]\nname = "path"\n{SQUARE}\ndwel_s = 3',
            "unknown key zones[0].dwel_s; did you mean zones[0].dwell_s?",
        ),
        (f"[[zones]]\n{SQUARE}", "zones[0].name is missing: unique over zones, lines and slots"),
        (
            f'[[zones]]\nname = "Front Path"\n{SQUARE}',
            'name = "Front Path": may hold a-z, 0-9, _ and - only, as in "front-path"',
        ),
        (
            f'[[zones]]\nname = "gate"\n{SQUARE}\n[[lines]]\nname = "gate"\n{LINE}',
            'lines[0].name = "gate": zones[0].name has that name; give it another',
        ),
        (
            f'[[slots]]\nname = "1"\n{SQUARE}\n[[slots]]\nname = "1"\n{SQUARE}',
            'slots[1].name = "1": slots[0].name has that name; give it another',
        ),
        (
            f'[[lines]]\nname = "gate"\n{LINE}\nactive = "22-06"',
            'lines[0].active = "22-06": "22-06" is no span of time; write "22:00-06:00" or "mon-fri',
        ),
        (
            f'[[zones]]\nname = "front-door"\n{SQUARE}\n[[slots]]\nname = "front_door"\n{SQUARE}',
            'slots[0].name = "front_door": zones[0].name has that name, "front-door", but for - and _; give it another',
        ),
        (
            f'[[zones]]\nname = "path"\n{SQUARE}\nquiet = "late"',
            'zones[0].quiet = "late": "late" is no day; days are mon, tue',
        ),
        ('[identity]\nquiet = "22-06"', 'identity.quiet = "22-06": "22-06" is no span of time'),
        ('[plates]\nactive = "8"', 'plates.active = "8": "8" is no span of time'),
        (f'[[lines]]\nname = "gate"\n{LINE}\nactive = "mon-fry 08:00-09:00"', '"fry" is no day; days are mon, tue'),
        (
            '[[lines]]\nname = "gate"\npoints = [[0.1, 0.1], [0.2, 0.2], [0.3, 0.1]]',
            "lines[0].points: a line has two ends, not 3; draw one line for each segment",
        ),
        (
            '[[lines]]\nname = "gate"\npoints = [[0.1, 0.1], [0.1, 0.1]]',
            "lines[0].points = [[0.1, 0.1], [0.1, 0.1]]: its ends are nearly one point; draw it longer",
        ),
        (f'[zones]\nname = "path"\n{SQUARE}', "must be a list"),
    ],
)  # fmt: skip
def test_a_bad_rule_is_refused_by_field_value_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert message in str(refused.value)
    assert "edge.toml: " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_good_rules_are_read(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, f'[[zones]]\nname = "path"\n{SQUARE}\nlabels = ["person"]\n[[lines]]\nname = "gate"\n{LINE}'
    )
    assert loaded.zones[0].points[2] == (0.5, 0.5)
    assert (loaded.zones[0].labels, loaded.lines[0].name) == (("person",), "gate")


@settings(deadline=None)
@given(st.integers(3, 12), st.floats(0.05, 0.45), st.floats(0, 2 * math.pi), st.data())
def test_a_star_shaped_polygon_is_simple(n: int, radius: float, turn: float, data: st.DataObject) -> None:
    shrink = [data.draw(st.floats(0.5, 1.0)) for _ in range(n)]
    corners = [
        (0.5 + radius * s * math.cos(turn + math.tau * i / n), 0.5 + radius * s * math.sin(turn + math.tau * i / n))
        for i, s in enumerate(shrink)
    ]
    assert polygons.crossing_sides(corners) is None
    assert polygons.contains(corners, (0.5, 0.5))
    assert not polygons.contains(corners, (0.5 + 2 * radius, 0.5))


@settings(deadline=None)
@given(st.integers(4, 12), st.floats(0, 2 * math.pi))
def test_a_convex_polygon_crosses_itself_once_two_corners_change_places(n: int, turn: float) -> None:
    corners = [
        (0.5 + 0.4 * math.cos(turn + math.tau * i / n), 0.5 + 0.4 * math.sin(turn + math.tau * i / n)) for i in range(n)
    ]
    assert polygons.crossing_sides(corners) is None
    corners[0], corners[1] = corners[1], corners[0]
    assert polygons.crossing_sides(corners) is not None


def test_a_polygon_that_folds_back_on_itself_is_not_simple() -> None:
    assert polygons.crossing_sides([(0, 0), (4, 0), (2, 0), (2, 3)]) is not None
    assert polygons.crossing_sides([(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)]) is not None, "a corner touches a side"
    assert polygons.crossing_sides([(0, 0), (2, 0), (4, 0), (4, 4)]) is None, "three corners in a row are allowed"
