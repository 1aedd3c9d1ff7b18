"""Numbers as a person reads them."""

from __future__ import annotations

import math


def count(value: float) -> str:
    """12,345."""
    return f"{round(value):,}"


def size(value: float) -> str:
    """43.9 kB: three digits that mean something; thousands, not 1,024s, as flash and radio are sold."""
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}" if value < 999.5 * factor else f"{value / factor:,.0f} {unit}"
    return f"{value:,.0f} B"


def ratio(value: float) -> str:
    """5.4 and 1,110: a tenth below a hundred."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def change(before: float, after: float) -> str:
    """-12 % of what was there; a real minus sign."""
    if not before:
        return ""
    share = (after - before) / before
    digits = 0 if abs(share) >= 0.1 or share == 0 else 1
    return f"{share:+.{digits}%}".replace("%", " %").replace("-", "−")


def over(floor: float, paid: float) -> str:
    """How what was paid stands to the floor, in words."""
    if not floor:
        return "there is nothing to code"
    text = change(floor, paid).lstrip("+−")
    return f"{text} more than that was paid" if paid >= floor else f"{text} less than that was paid, by context models"


def share(value: float) -> str:
    """62 %."""
    return f"{value:.0%}".replace("%", " %") if value >= 0.1 or value == 0 else f"{value:.1%}".replace("%", " %")


def score(value: float) -> str:
    """0.8123; errors of a few in ten thousand keep their digits."""
    return f"{value:.4f}"


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from below `low` to above `high`: steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if span / (s * power) <= about)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def wilson(wrong: float, total: float) -> tuple[float, float]:
    """95 % interval of a share of `total` samples (Wilson 1927)."""
    z = 1.959964
    p = wrong / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)
