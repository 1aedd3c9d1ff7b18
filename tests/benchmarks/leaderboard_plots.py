"""The leaderboard as plots: AP8 over bytes and over time, each name by its own dot or tied to it by a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from tests.benchmarks.leaderboard_page import Row

INK, OURS, THEIRS = "#333333", "#d55e00", "#0072b2"
BUDGET_BYTES = 44_000
DOT_PX = 6
"""Half a dot's width on the plot, and a little."""
TIME_TICKS = (0.5, 1, 2, 4, 8, 16)
BESIDE_PT = 8
"""A name whose edge is so near to its dot needs no line to it."""
ROUND_PT = (18, 26, 36, 48, 62, 78)
"""Distances at which a name with a line is tried, in sixteen directions."""
FILES = {"bytes": "bytes of the file", "time": "time over yunet_s at 320x240, one thread"}


@dataclass(frozen=True, slots=True)
class Point:
    """One model on one panel: `across` is one value, or the two ends of a span that one AP8 was reached in."""

    name: str
    ours: bool
    across: tuple[float, ...]
    ap8: float


def plot(folder: Path, rows: Sequence[Row]) -> None:
    """`leaderboard_bytes.png` and `leaderboard_time.png` in `folder`: AP8 of faces, and of persons and vehicles."""
    for file in FILES:
        figure = drawn(file, rows)
        figure.savefig(folder / f"leaderboard_{file}.png")
        plt.close(figure)


def drawn(file: str, rows: Sequence[Row]) -> Figure:
    """The plot over what `FILES` calls `file`; the caller closes it."""
    panels = {
        "faces, 320x240": [_point(r, file, r["faces 320x240"]["ap8"]) for r in rows if "faces 320x240" in r],
        "persons and vehicles, mean of both halves": [_point(r, file, _scene_mean(r)) for r in rows if r.get("scenes")],
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4.6), dpi=90, layout="constrained")
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        axis.set_title(title, color=INK)
        axis.set_xscale("log")
        axis.set_xlabel(FILES[file])
        axis.set_ylabel("AP8")
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
        if file == "time":
            axis.set_xticks(TIME_TICKS, [f"{t:g}" for t in TIME_TICKS])
            axis.minorticks_off()
        else:
            axis.axvline(BUDGET_BYTES, color=OURS, alpha=0.5, ls="--", lw=1)
            axis.text(BUDGET_BYTES, 0.985, " 44,000 bytes", color=OURS, fontsize=8, va="top")
        for point in points:
            colour = OURS if point.ours else THEIRS
            ys = [point.ap8] * len(point.across)
            axis.plot(point.across, ys, marker="D" if point.ours else "o", color=colour, ms=6, lw=2)
        axis.margins(x=0.3)
    # Names are placed in pixels: nothing may move after them.
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axis, points in zip(axes, panels.values(), strict=True):
        _Names(axis, points).place()
    return figure


def _point(row: Row, file: str, ap8: float) -> Point:
    """A detector behind attention is timed with the fewest and the most crops: its time is a span."""
    if file == "bytes":
        return Point(row["name"], row["ours"], (row["bytes"],), ap8)
    runs = {run.strip(): ratio for run, ratio in row["time 320x240"].items()}
    name = row["name"]
    if len(runs) > 1:
        few, *_, many = runs
        name += f" + ({few.removesuffix(' crops')} to {many})"
    return Point(name, row["ours"], (min(runs.values()), max(runs.values()))[: len(runs)], ap8)


def _scene_mean(row: Row) -> float:
    values = [figures["ap8"] for half in row["scenes"].values() for figures in half.values() if "ap8" in figures]
    return float(sum(values) / len(values))


class _Names:
    """Puts a panel's names where they cover no dot and no other name, and where nobody takes them for another's."""

    def __init__(self, axis: Axes, points: Sequence[Point]) -> None:
        self._axis, self._points = axis, points
        self._dots = {p: axis.transData.transform([(x, p.ap8) for x in p.across]) for p in points}
        self._taken: list[Bbox] = [text.get_window_extent() for text in axis.texts]
        self._lines: list[Outline] = []

    def place(self) -> None:
        """Draw all names, the lowest first; one that fits nowhere stands at the last place tried."""
        for point in sorted(self._points, key=lambda p: p.ap8):
            places = list(self._places(point))
            for place in places:
                text = self._write(point, *place)
                box, line = extent(text).padded(1), self._line(text)
                if place is places[-1] or self._fits(point, box, line):
                    self._taken.append(box)
                    self._lines += [line] if line else []
                    break
                text.remove()

    def _places(self, point: Point) -> Iterator[tuple[float, tuple[float, float], bool]]:
        """Which end of it, how far from there in points, and whether a line leads there."""
        yield point.across[-1], (BESIDE_PT, 0), False
        yield point.across[0], (-BESIDE_PT, 0), False
        for away in ROUND_PT:
            for turn in np.linspace(0, 2 * np.pi, 16, endpoint=False):
                for x in point.across:
                    yield x, (away * np.cos(turn), away * np.sin(turn)), True

    def _write(self, point: Point, x: float, offset_pt: tuple[float, float], tied: bool) -> Annotation:
        colour = OURS if point.ours else INK
        dx, dy = offset_pt
        return self._axis.annotate(
            point.name.replace(" + (", "\n(").replace(" + ", "\n+ "), (x, point.ap8), offset_pt,
            textcoords="offset points", fontsize=8.5, color=colour, weight="bold" if point.ours else "normal",
            ha="center" if abs(dx) < 1 else "left" if dx > 0 else "right",
            va="center" if abs(dy) < 1 else "bottom" if dy > 0 else "top",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0, "shrinkB": 3} if tied else None,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip

    def _line(self, text: Annotation) -> Outline | None:
        """From the dot to the middle of the name, in pixels."""
        if text.arrow_patch is None:
            return None
        box = extent(text)
        dot = self._axis.transData.transform(text.xy)
        return Outline([dot, ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)])

    def _fits(self, point: Point, box: Bbox, line: Outline | None) -> bool:
        marks = [(dot, owner is point) for owner, dots in self._dots.items() for dot in dots]
        spans = [Outline(dots) for dots in self._dots.values() if len(dots) > 1]
        if (
            not (self._axis.bbox.contains(box.x0, box.y0) and self._axis.bbox.contains(box.x1, box.y1))
            or any(box.overlaps(other) for other in self._taken)
            or any(gap(box, dot) < DOT_PX for dot, _ in marks)
            or any(other.intersects_bbox(box, filled=False) for other in [*self._lines, *spans])
        ):
            return False
        if line is not None:
            start, end = line.vertices
            others = [Outline(dots) for owner, dots in self._dots.items() if len(dots) > 1 and owner is not point]
            return not (
                any(passes(start, end, dot) for dot, own in marks if not own)
                or any(line.intersects_bbox(other, filled=False) for other in self._taken)
                or any(line.intersects_path(other, filled=False) for other in [*self._lines, *others])
            )
        own_gap = min(gap(box, dot) for dot, own in marks if own)
        return all(gap(box, dot) >= 2 * own_gap for dot, own in marks if not own)


def extent(text: Annotation) -> Bbox:
    """The letters' pixels; matplotlib's own extent of an annotation spans its line, too."""
    text.get_window_extent()  # which also puts the letters where they belong
    return Text.get_window_extent(text)


def gap(box: Bbox, dot: Any) -> float:
    """Pixels from a dot to the nearest edge of a box; 0 inside."""
    x, y = dot
    return float(np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1)))


def passes(start: Any, end: Any, dot: Any) -> bool:
    """Whether a line from `start` to `end` goes over a dot, or, from a dot that touches it, towards it."""
    along = np.clip((dot - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    nearest = float(np.hypot(*(start + along * (end - start) - dot)))
    return nearest < min(DOT_PX, 0.99 * float(np.hypot(*(dot - start))))
