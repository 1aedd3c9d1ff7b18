"""Compares a text that was read with those on a list: exactly, or but for one character."""

from __future__ import annotations

from collections.abc import Sequence

SEPARATORS = " .-\u00b7\u2010\u2011\u2013"
"""What people write between a plate's groups: blanks, dots, dashes."""


def distance(a: str, b: str) -> int:
    """Least number of characters to put in, take out or change to make one text of the other (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def plain(text: str) -> str:
    """A plate as it is compared: in capitals, without the blanks, dots and dashes that people write."""
    return "".join(c for c in text.upper() if c.isalnum())


def nearest(text: str, allowed: Sequence[str]) -> tuple[str, int] | None:
    """The first of the nearest on the list, and how many characters it is away; None: the list is empty."""
    if not allowed:
        return None
    away = [distance(text, one) for one in allowed]
    best = min(away)
    return allowed[away.index(best)], best
