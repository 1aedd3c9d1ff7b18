"""Schedules: what they say, and what cannot be read."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.events import schedule

MONDAY = datetime(2026, 11, 23)


@pytest.mark.parametrize(
    ("text", "active", "idle"),
    [
        ("22:00-06:00", ["mon 22:00", "tue 05:59", "sun 23:30"], ["mon 06:00", "mon 21:59", "wed 12:00"]),
        ("mon-fri 08:00-18:00; sat 10:00-14:00", ["mon 08:00", "fri 17:59", "sat 13:00"], ["fri 18:00", "sun 12:00"]),
        ("fri 22:00-06:00", ["fri 22:00", "sat 05:00"], ["fri 05:00", "sat 22:30", "sun 05:00"]),
        ("sun 23:00-01:00", ["sun 23:00", "mon 00:59"], ["mon 01:00", "mon 23:30"]),
        ("fri-mon 12:00-13:00", ["fri 12:00", "sun 12:30", "mon 12:59"], ["tue 12:30", "thu 12:30"]),
        ("sat,sun", ["sat 00:00", "sun 23:59"], ["fri 23:59", "mon 00:00"]),
        ("Tue 00:00-24:00", ["tue 00:00", "tue 23:59"], ["wed 00:00", "mon 23:59"]),
        ("", ["mon 00:00", "thu 12:00"], []),
    ],
)  # fmt: skip
def test_a_schedule_says_when(text: str, active: list[str], idle: list[str]) -> None:
    plan = schedule.parse(text)
    for when in (*active, *idle):
        day, clock = when.split()
        hours, minutes = map(int, clock.split(":"))
        wall = MONDAY + timedelta(days=schedule.DAYS.index(day), hours=hours, minutes=minutes)
        assert plan.active(wall) == (when in active), when


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("22-06", "is no span of time; write"),
        ("mon-fri 08:00", "is no span of time; write"),
        ("mon tue 08:00-09:00", "is no span of time; write"),
        ("08:00-25:00", "hours go from 00:00 to 24:00"),
        ("08:70-09:00", "minutes to 59"),
        ("24:00-06:00", "hours go from 00:00 to 24:00"),
        ("08:00-08:00", "is empty; write 00:00-24:00 for the whole day"),
        ("someday 08:00-09:00", '"someday" is no day; days are mon, tue'),
        ("mon- 08:00-09:00", '"" is no day'),
    ],
)
def test_a_typing_error_is_refused_with_the_right_form(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.parse(text)


@settings(deadline=None)
@given(st.integers(0, 1439), st.integers(0, 1440), st.integers(0, 7 * 1440 - 1))
def test_a_daily_span_and_its_complement_share_the_day(start: int, end: int, minute: int) -> None:
    def span(a: int, b: int) -> str:
        return f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}"

    if start == end or end == 1440 or (start, end) == (0, 1440):
        return
    wall = MONDAY + timedelta(minutes=minute)
    assert schedule.parse(span(start, end)).active(wall) != schedule.parse(span(end, start)).active(wall)


def test_where_nobody_knows_the_time_a_rule_holds() -> None:
    assert schedule.parse("22:00-06:00").active(None)
