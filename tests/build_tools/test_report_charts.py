"""Numbers and pictures of a report against what they stand for."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from build_tools.report import figures
from build_tools.report.charts import Dot, Fall, Point, dots, pareto, pareto_front, pile, waterfall
from build_tools.report.html import breakable, tag


@given(st.integers(1, 20_000), st.data())
def test_interval_of_a_share_equals_scipys(total: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, total))
    expected = binomtest(wrong, total).proportion_ci(0.95, method="wilson")
    assert figures.wilson(wrong, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_enclose_their_range_in_few_even_steps(low: float, span: float) -> None:
    marks = figures.ticks(low, low + span)
    steps = {round((b - a) / (marks[1] - marks[0]), 3) for a, b in itertools.pairwise(marks)}
    assert marks[0] <= low + 1e-6 and marks[-1] >= low + span - 1e-6
    assert steps == {1.0}
    assert 2 <= len(marks) <= 7


def test_numbers_are_written_for_people() -> None:
    assert figures.size(43_950) == "44 kB"
    assert figures.size(1_237_823) == "1.24 MB"
    assert figures.size(515) == "515 B"
    assert figures.change(200, 100) == "−50 %"
    assert figures.change(1000, 1003) == "+0.3 %"
    assert figures.share(0.043) == "4.3 %"
    assert figures.ratio(1110.4) == "1,110"
    assert figures.over(100, 113) == "13 % more than that was paid"
    assert figures.over(100, 90) == "10 % less than that was paid, by context models"


points = st.builds(
    Point,
    st.uuids().map(str),
    st.integers(1, 9).map(lambda n: n * 1000),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.1, 0.5, 0.9]),
)


@given(st.lists(points, min_size=1, max_size=12))
def test_front_holds_exactly_what_nothing_beats(tried: list[Point]) -> None:
    front = pareto_front(tried)
    for point in tried:
        beaten = any(
            other.bytes <= point.bytes
            and other.latency <= point.latency
            and other.score >= point.score
            and (other.bytes, other.latency, other.score) != (point.bytes, point.latency, point.score)
            for other in tried
        )
        assert (point in front) is not beaten
    assert [p.bytes for p in front] == sorted(p.bytes for p in front)


def test_front_of_errors_has_the_low_ones() -> None:
    good, bad = Point("good", 10, 1.0, 0.01), Point("bad", 10, 1.0, 0.2)
    assert pareto_front([bad, good], higher_is_better=False) == [good]


@given(st.lists(points, min_size=1, max_size=12))
def test_pareto_draws_a_dot_a_point_within_the_picture(tried: list[Point]) -> None:
    picture = pareto(tried, "ap8")
    centres = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', picture)
    assert len(centres) == len(tried)
    assert all(0 <= float(x) <= 516 and 0 <= float(y) <= 306 for x, y in centres)


def widths(picture: str, shade: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<b class="{shade}" style="left:([\d.]+)%;width:([\d.]+)%">', picture)
    return [(float(left), float(width)) for left, width in found]


def test_waterfall_bars_are_in_proportion() -> None:
    picture = waterfall([Fall("input", 1000), Fall("one", 600), Fall("two", 300, "too dear"), Fall("three", 800)])
    assert widths(picture, "input") == [(0, 100)]
    assert widths(picture, "now") == [(0, 60), (0, 60), (0, 60)]
    assert widths(picture, "saved") == [(60, 40)]
    assert widths(picture, "undone") == [(30, 30)]  # what it would have saved of what was there
    assert widths(picture, "grown") == [(60, 20)]


def test_waterfall_of_a_thousandfold_has_equal_steps_for_equal_ratios() -> None:
    picture = waterfall([Fall("input", 1_000_000), Fall("one", 100_000), Fall("two", 10_000), Fall("three", 1_000)])
    (_, one), (_, two), (_, three) = widths(picture, "saved")
    assert one == pytest.approx(two, abs=0.01) and two == pytest.approx(three, abs=0.01)


def test_dots_stand_where_their_values_are() -> None:
    picture = dots("time", [Dot("a", 1.0, (0.9, 1.1)), Dot("b", 2.0), Dot("c", 1.5)], "{:g}", (1.75, "budget"))
    a, b, c = (float(x) for x in re.findall(r'cx="([\d.]+)"', picture))
    assert c == pytest.approx((a + b) / 2, abs=0.01)
    limit = float(re.search(r'x1="([\d.]+)" x2="[\d.]+" y1="[\d.]+" y2="[\d.]+" class="limit"', picture).group(1))  # type: ignore[union-attr]
    assert limit == pytest.approx((b + c) / 2, abs=0.01)


def test_undone_outlier_becomes_an_arrow_with_its_value() -> None:
    picture = dots("ap", [Dot("a", 0.61), Dot("b", 0.60), Dot("c", 0.0975, undone=True)], "{:g}")
    assert picture.count("<circle") == 2 and picture.count("<polygon") == 1
    assert ">0.0975</text>" in picture


def test_a_single_dot_is_drawn() -> None:
    assert 'cx="' in dots("ap", [Dot("a", 0.5)], "{:g}")
    assert 'cx="' in dots("ap", [Dot("a", 0.0)], "{:g}")


def test_pile_tells_every_part() -> None:
    picture = pile((("weights", 750, "now"), ("graph", 250, "floor"), ("nothing", 0, "rest")))
    assert "weights: 750 (75 %)" in picture and "graph: 250 (25 %)" in picture and "nothing: 0 (0 %)" in picture
    assert re.findall(r"width:([\d.]+)%", picture) == ["75.000", "25.000"]


def test_tags_escape_texts_and_attributes_and_keep_elements() -> None:
    inner = tag("b", "a < b & c")
    assert inner == "<b>a &lt; b &amp; c</b>"
    assert tag("p", inner, ' "q"', title='"x"', hidden=True, data_value=None) == (
        '<p title="&quot;x&quot;" hidden><b>a &lt; b &amp; c</b> &quot;q&quot;</p>'
    )
    assert breakable("a.b/<i>_c") == "a.<wbr>b/<wbr>&lt;i&gt;_<wbr>c"
