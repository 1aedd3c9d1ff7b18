"""The pictures of a report: bars that are table cells, and small SVGs; colours come from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from build_tools.report import figures
from build_tools.report.html import Safe, breakable, join, tag

LOG_FROM = 60
"""Largest over smallest from which on bars of equal scale would show nothing but the largest."""


@dataclass(frozen=True, slots=True)
class Fall:
    """A row of the waterfall.

    Attributes:
        name: of the step.
        bytes: after it; for an undone one, what it would have been.
        undone: why it was rolled back, or empty.
    """

    name: str
    bytes: int
    undone: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of a dot plot: a value, its interval if there is one, and whether it was undone."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe that a search has tried: bytes, time ratio and score of its result, and what it is called."""

    name: str
    bytes: int
    latency: float
    score: float


def waterfall(falls: Sequence[Fall]) -> Safe:
    """Bytes left after each step; what it saved, added, or would have saved had it not been undone."""
    sizes = [f.bytes for f in falls]
    low, high = min(sizes), max(sizes)
    logarithmic = high / max(low, 1) > LOG_FROM
    start = 10.0 ** math.floor(math.log10(max(low * 0.7, 1)))

    def place(value: float) -> float:
        if logarithmic:
            return 100 * math.log(max(value, start) / start) / math.log(high / start)
        return 100 * value / high

    rows, left = [], falls[0].bytes
    for index, fall in enumerate(falls):
        now, before = place(fall.bytes), place(left)
        if index == 0:
            bars = [_bar("b", "input", 0, now)]
        elif fall.undone:
            bars = [_bar("b", "now", 0, before), _bar("b", "undone", min(before, now), max(before, now))]
        elif fall.bytes <= left:
            bars = [_bar("b", "now", 0, now), _bar("b", "saved", now, before)]
        else:
            bars = [_bar("b", "now", 0, before), _bar("b", "grown", before, now)]
        what = "" if index == 0 else figures.change(left, fall.bytes)
        struck = "s" if fall.undone else "span"
        rows.append(
            tag(
                "tr",
                tag("th", fall.name, scope="row", class_="text"),
                tag("td", tag("div", *bars, aria_hidden="true"), class_="track"),
                tag("td", tag(struck, figures.count(fall.bytes))),
                tag("td", tag(struck, what)),
            )
        )
        if fall.undone:
            rows.append(tag("tr", tag("td", "undone: ", fall.undone, colspan="4", class_="why"), class_="reason"))
        left = left if fall.undone else fall.bytes
    scale = tag("p", "The scale is logarithmic: equal lengths are equal ratios.", class_="note") if logarithmic else ""
    head = tag(
        "thead",
        tag("tr", tag("th", "pass", scope="col", class_="text"), tag("th", "", scope="col", class_="track"),
            tag("th", "bytes", scope="col"), tag("th", "change", scope="col")),
    )  # fmt: skip
    return join(
        key(("what is left", "now"), ("taken away by the pass", "saved"), ("added", "grown"), ("undone", "undone")),
        scale,
        tag("table", head, tag("tbody", *rows), class_="falls", aria_label="Bytes after each pass"),
    )


def pairs(rows: Sequence[tuple[str, str, float, float]], others: str = "") -> Safe:
    """For each layer a bar of the bytes paid above a bar of its Shannon floor.

    Args:
        rows: name, operator, bytes, floor bytes.
        others: said below of those that are not shown.
    """
    high = max((max(paid, floor) for *_, paid, floor in rows), default=1) or 1
    made = []
    for name, operator, paid, floor in rows:
        bars = (_bar("b", "now", 0, 100 * paid / high), _bar("i", "floor", 0, 100 * floor / high))
        made.append(
            tag(
                "tr",
                tag("th", breakable(name), " ", tag("small", operator), scope="row", class_="text name"),
                tag("td", tag("div", *bars, aria_hidden="true"), class_="track"),
                tag("td", figures.count(paid)),
                tag("td", figures.count(floor)),
            )
        )
    head = tag(
        "thead",
        tag("tr", tag("th", "weight", scope="col", class_="text"), tag("th", "", scope="col", class_="track"),
            tag("th", "bytes paid", scope="col"), tag("th", "floor", scope="col")),
    )  # fmt: skip
    return join(
        key(("paid", "now"), ("Shannon floor", "floor")),
        tag("table", head, tag("tbody", *made), class_="layers"),
        tag("p", others, class_="note") if others else "",
    )


def pile(parts: Sequence[tuple[str, int, str]]) -> Safe:
    """One bar made of parts: name, bytes, class of its colour; the same in words below."""
    total = sum(size for _, size, _ in parts) or 1
    bars = [tag("i", class_=shade, style=f"width:{100 * size / total:.3f}%") for _, size, shade in parts if size]
    words = [(f"{name}: {figures.count(size)} ({figures.share(size / total)})", shade) for name, size, shade in parts]
    return join(tag("div", *bars, class_="pile", aria_hidden="true"), key(*words))


def key(*entries: tuple[str, str]) -> Safe:
    """What the colours mean."""
    shades = {"now": "keep", "saved": "saved", "grown": "loss", "floor": "floor", "other": "other", "rest": "rest"}
    spans = [
        tag("span", text, class_="dashed" if shade == "undone" else None,
            style=None if shade == "undone" else f"--shade:var(--{shades[shade]})")
        for text, shade in entries
    ]  # fmt: skip
    return tag("div", *spans, class_="key")


def dots(title: str, rows: Sequence[Dot], unit: str, limit: tuple[float, str] | None = None) -> Safe:
    """A dot a row on one scale, with its 95 % interval where there is one, and the budget as a line.

    Args:
        title: said to those who do not see the picture.
        rows: from top to bottom.
        unit: format of a number on the axis, as `{:.2f}x`.
        limit: the budget and its name.
    """
    low, high, marks = _range(rows, limit)
    left, right, top, row_height = 118, 396, 24, 25
    bottom = top + row_height * len(rows)

    def x(value: float) -> float:
        return left + (right - left) * (min(max(value, low), high) - low) / (high - low)

    parts = [tag("title", title)]
    for mark in marks:
        parts.append(tag("line", x1=x(mark), x2=x(mark), y1=top - 2, y2=bottom, class_="grid"))
        parts.append(tag("text", unit.format(mark), x=x(mark), y=bottom + 17, text_anchor="middle", class_="dim"))
    if limit:
        parts.append(tag("line", x1=x(limit[0]), x2=x(limit[0]), y1=top - 6, y2=bottom, class_="limit"))
        end = x(limit[0]) > (left + right) / 2
        anchor = "end" if end else "start"
        parts.append(
            tag(
                "text",
                limit[1],
                x=x(limit[0]) + (4 if end else -4),
                y=top - 10,
                text_anchor=anchor,
                class_="limit-text",
            )
        )
    for index, row in enumerate(rows):
        y = top + row_height * (index + 0.5)
        parts.append(tag("text", shortened(row.name), x=left - 10, y=y + 4, text_anchor="end"))
        dropped = " dropped" if row.undone else ""
        if not low <= row.value <= high:
            parts.append(_off_scale(row.value, x(row.value), y, 1 if row.value < low else -1))
            continue
        if row.interval:
            first, last = x(row.interval[0]), x(row.interval[1])
            parts.append(tag("line", x1=first, x2=max(last, first + 1), y1=y, y2=y, class_=f"whisker{dropped}"))
        parts.append(tag("circle", cx=x(row.value), cy=y, r=5.0, class_="hollow" if row.undone else "dot"))
    height = bottom + 26
    return tag("svg", *parts, viewBox=f"0 0 412 {height}", role="img", aria_label=title)


def _range(rows: Sequence[Dot], limit: tuple[float, str] | None) -> tuple[float, float, list[float]]:
    """Ends and marks of the axis: wide enough for what was kept and thrice that, whatever an undone pass has done."""
    kept = [v for r in rows if not r.undone for v in (r.value, *(r.interval or ()))] + ([limit[0]] if limit else [])
    low, high = min(kept), max(kept)
    span = max(high - low, 0.02 * max(abs(high), abs(low)), 1e-6)
    every = [v for r in rows for v in (r.value, *(r.interval or ()))]
    low, high = max(min(*every, low), low - 2 * span), min(max(*every, high), high + 2 * span)
    marks = figures.ticks(low, high)
    return marks[0], marks[-1] if marks[-1] > marks[0] else marks[0] + 1, marks


def _off_scale(value: float, x: float, y: float, inwards: int) -> Safe:
    """An arrow at the edge and the value beside it."""
    tip, back = x + inwards * 2, x + inwards * 10
    arrow = tag("polygon", points=f"{tip},{y} {back},{y - 5} {back},{y + 5}", class_="hollow")
    anchor = "start" if inwards > 0 else "end"
    return join(arrow, tag("text", f"{value:.3g}", x=x + inwards * 15, y=y + 4, text_anchor=anchor, class_="dim"))


def pareto(points: Sequence[Point], metric: str, higher_is_better: bool = True) -> Safe:
    """Score over bytes of every recipe that was tried; time is the dot's size.

    Dark dots are those that no other beats in bytes, time and score; the line joins the best in bytes and score.

    Args:
        points: at least one.
        metric: what the score is.
        higher_is_better: which way is up.
    """
    sizes, scores = [math.log10(max(p.bytes, 1)) for p in points], [p.score for p in points]
    marks = figures.ticks(min(scores), max(scores))
    low, high = marks[0], marks[-1] if marks[-1] > marks[0] else marks[0] + 1
    first, last = min(sizes) - 0.04, max(sizes) + 0.04
    left, right, top, bottom = 52, 500, 12, 280

    def x(value: float) -> float:
        return left + (right - left) * (math.log10(max(value, 1)) - first) / (last - first)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    front = {p.name for p in pareto_front(points, higher_is_better)}
    line = pareto_front([Point(p.name, p.bytes, 0.0, p.score) for p in points], higher_is_better)
    parts = [tag("title", f"{metric} over bytes of {len(points)} recipes")]
    for mark in marks:
        parts.append(tag("line", x1=left, x2=right, y1=y(mark), y2=y(mark), class_="grid"))
        parts.append(tag("text", f"{mark:g}", x=left - 8, y=y(mark) + 4, text_anchor="end", class_="dim"))
    for value in _size_marks(10**first, 10**last):
        parts.append(tag("line", x1=x(value), x2=x(value), y1=top, y2=bottom, class_="grid"))
        parts.append(tag("text", figures.size(value), x=x(value), y=bottom + 18, text_anchor="middle", class_="dim"))
    corners = [f"{x(p.bytes):.1f},{y(p.score):.1f}" for p in line]
    parts.append(tag("polyline", points=" ".join(corners), class_="front"))
    for point in sorted(points, key=lambda p: p.name in front):
        radius = 3.5 + 4.5 * math.sqrt(min(max(point.latency, 0.0), 2.0) / 2)
        said = (
            f"{point.name}: {figures.count(point.bytes)} bytes, {metric} {point.score:.4f}, {point.latency:.2f}× time"
        )
        shade = "dot" if point.name in front else "behind"
        parts.append(tag("circle", tag("title", said), cx=x(point.bytes), cy=y(point.score), r=radius, class_=shade))
    return tag("svg", *parts, viewBox="0 0 516 306", role="img", aria_label=f"{metric} over bytes")


def pareto_front(points: Sequence[Point], higher_is_better: bool = True) -> list[Point]:
    """Points that no other equals or beats in bytes, time and score at once, being better in one; smallest first."""
    sign = 1 if higher_is_better else -1

    def beats(a: Point, b: Point) -> bool:
        mine, theirs = (a.bytes, a.latency, -sign * a.score), (b.bytes, b.latency, -sign * b.score)
        return mine != theirs and all(m <= t for m, t in zip(mine, theirs, strict=True))

    return sorted((p for p in points if not any(beats(o, p) for o in points)), key=lambda p: p.bytes)


def shortened(name: str, most: int = 16) -> str:
    """The name, or its beginning."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _size_marks(low: float, high: float) -> list[float]:
    """Round sizes on a logarithmic axis: 1, 2, 5 times a power of ten; fewer where there are many decades."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    return [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]


def _bar(name: str, shade: str, start: float, end: float) -> Safe:
    return tag(name, class_=shade, style=f"left:{start:.3f}%;width:{max(end - start, 0):.3f}%")
