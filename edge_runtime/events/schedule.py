"""When a rule works and when it is quiet: `22:00-06:00`, `mon-fri 08:00-18:00; sat 10:00-14:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from edge_runtime.settings import toml

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
EXAMPLE = '"22:00-06:00" or "mon-fri 08:00-18:00; sat 10:00-14:00"'


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of time on some days of the week.

    Attributes:
        days: 0 (monday) to 6; the days on which the span begins.
        from_min: minutes after midnight at which it begins.
        to_min: at which it ends, exclusive; beyond 1440: on the next day.
    """

    days: frozenset[int]
    from_min: int
    to_min: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stretches of the week, in the node's local time.

    Attributes:
        spans: when the rule works; none at all: always.
    """

    spans: tuple[Span, ...] = ()

    def active(self, wall: datetime | None) -> bool:
        """Whether the rule holds at that local time; where nobody knows the time (None), it does."""
        if not self.spans or wall is None:
            return True
        today, minute = wall.weekday(), wall.hour * 60 + wall.minute
        return any(
            (today in span.days and span.from_min <= minute < span.to_min)
            or ((today - 1) % 7 in span.days and span.from_min <= minute + DAY_MIN < span.to_min)
            for span in self.spans
        )


class Hours:
    """When a rule tells something: within its `active` hours, but for its `quiet` ones.

    Args:
        active: see `parse`; empty: always.
        quiet: the same; empty: never.
    """

    def __init__(self, active: str, quiet: str) -> None:
        self._active, self._quiet = parse(active), parse(quiet)
        self._texts = toml(active), toml(quiet)

    def silent(self, wall: datetime | None) -> str | None:
        """Why nothing is told at that local time, for a person; None: it works, as where nobody knows the time."""
        if not self._active.active(wall):
            return f"outside its schedule {self._texts[0]}"
        if wall is not None and self._quiet.spans and self._quiet.active(wall):
            return f"in its quiet hours {self._texts[1]}"
        return None


def parse(text: str) -> Schedule:
    """The schedule written as spans joined by `;`, each `[days] HH:MM-HH:MM`, or days alone.

    Days are `mon` to `sun`, ranges of them (`fri-mon`) and lists (`tue,thu`). A span that ends before it begins runs
    over midnight and belongs to the day on which it begins.

    Raises:
        ValueError: what cannot be read, and how it should be written.
    """
    return Schedule(tuple(_span(part.strip()) for part in text.split(";") if text.strip()))


def _span(text: str) -> Span:
    days, times = frozenset(range(7)), "00:00-24:00"
    words = text.lower().split()
    if not words or len(words) > 2:
        raise ValueError(f'"{text}" is no span of time; write {EXAMPLE}')
    if words[0][0].isalpha():
        days = _days(words.pop(0))
    if words:
        times = words[0]
    found = re.fullmatch(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)", times)
    if found is None:
        raise ValueError(f'"{times}" is no span of time; write {EXAMPLE}')
    from_h, from_m, to_h, to_m = map(int, found.groups())
    from_min, to_min = from_h * 60 + from_m, to_h * 60 + to_m
    if from_m > 59 or to_m > 59 or from_min >= DAY_MIN or to_min > DAY_MIN:
        raise ValueError(f'"{times}": hours go from 00:00 to 24:00, minutes to 59')
    if from_min == to_min:
        raise ValueError(f'"{times}" is empty; write 00:00-24:00 for the whole day')
    return Span(days, from_min, to_min if to_min > from_min else to_min + DAY_MIN)


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in DAYS:
                raise ValueError(f'"{name}" is no day; days are {", ".join(DAYS)}')
        start, count = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7 + 1 if dash else 1
        days |= {(start + i) % 7 for i in range(count)}
    return frozenset(days)
