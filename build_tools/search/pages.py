"""What a scan or a search found, to look at: self-contained pages in the look of the compression report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from build_tools.errors import DataError
from build_tools.model import write_whole
from build_tools.report import figures
from build_tools.report.charts import Point as Dot
from build_tools.report.charts import pareto
from build_tools.report.html import Safe, page, tag
from build_tools.report.look import SCRIPT, STYLE
from build_tools.search.front import Front, Point
from build_tools.search.heat_map import FAINT, FATAL, HEADINGS, drawn
from build_tools.search.sensitivity import LayerScan

HEAT = "td.heat{background:color-mix(in srgb,var(--bad) var(--hot),var(--card))} td.off{color:var(--soft)}"


def write_sensitivity(scans: Sequence[LayerScan], path: Path, title: str) -> None:
    """The heat map as an HTML page, PNG or SVG, by the path's suffix.

    Raises:
        DataError: another suffix.
        ModelError: a full disk or a folder that cannot be written.
    """
    check_suffix(path)
    if path.suffix == ".html":
        write_whole(path, sensitivity_page(scans, title).encode())
    else:
        write_whole(path, drawn(scans, title, path.suffix[1:]))


def check_suffix(path: Path) -> None:
    """Refuse a picture of a form that is not known.

    Raises:
        DataError: with the forms there are.
    """
    if path.suffix not in (".html", ".png", ".svg"):
        raise DataError(f"--plot {path}: must end in .html, .png or .svg")


def sensitivity_page(scans: Sequence[LayerScan], title: str) -> str:
    """A table of layers whose cells glow by what is lost; sortable by any column."""
    groups = [tag("th", ""), tag("th", "")] + [
        tag("th", said, colspan=str(len(HEADINGS[key])))
        for key, said in (("prune", "weights pruned"), ("bits", "bits of a weight"), ("rank", "cost left by low rank"))
    ]
    columns = [_head("layer", "text"), _head("shape", "text")]
    columns += [_head(h.split()[0 if "bits" in h else 1], "number") for group in HEADINGS.values() for h in group]
    rows = [
        tag("tr", tag("th", one.weight, class_="text name"), tag("td", _sides(one.shape)), *map(_heat, one.row()))
        for one in scans
    ]
    note = (
        "Relative loss of accuracy when this one layer is changed and all others stay. A dash: the technique does not "
        "apply to the layer. Colours are logarithmic, from 0.01 % to all of it."
    )
    head = tag("thead", tag("tr", *groups), tag("tr", *columns))
    table = tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll", tabindex="0")
    body = tag("main", tag("header", tag("h1", title), tag("p", note)), table)
    return page(title, STYLE + HEAT, SCRIPT, body)


def front_page(front: Front, sensitivity: str) -> str:
    """The search: its front as a picture and as a table.

    Args:
        front: what was found.
        sensitivity: name of the page of the scan, to link to.
    """
    metric, before = front.before
    everything = [(front.file_name(i), p) for i, p in enumerate(front.points)]
    everything += [(f"trial {p.trial}", p) for p in front.others]
    dots = [Dot(name, p.bytes, p.ratio, p.score) for name, p in everything]
    title = f"Recipes for {front.name}"
    text = (
        f"{len(front.points)} of {len(dots)} recipes that were measured are on the front: no other is better in bytes, "
        f"time and accuracy at once. The input model's {metric} is {figures.score(before)}."
    )
    chart = tag("p", "Nothing was measured.")
    if dots:
        chart = tag("div", pareto(dots, metric, front.higher_is_better), class_="card")
    columns = (("recipe", "text"), ("bytes", "number"), ("time", "number"), (metric, "number"), ("loss", "number"))
    head = tag("tr", *(_head(*c) for c in columns), _head("passes", "text"))
    rows = [_row(front, index, point) for index, point in enumerate(front.points)]
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll", tabindex="0")
    legend = (
        f"{metric} over bytes. Line: the front. Size of a dot: time. Grey: one of the front is better in everything."
    )
    parts = [tag("header", tag("h1", title), tag("p", text)), chart, tag("p", legend, class_="note"), table]
    parts.append(tag("p", "What each layer can bear: ", tag("a", sensitivity, href=sensitivity)))
    return page(title, STYLE, SCRIPT, tag("main", *parts))


def _row(front: Front, index: int, point: Point) -> Safe:
    best = point is front.best
    passes = "; ".join(_told(table) for table in point.tables[1:])
    return tag(
        "tr",
        tag("th", front.file_name(index) + (" (best within the budget)" if best else ""), class_="text"),
        tag("td", figures.count(point.bytes), data_value=str(point.bytes)),
        tag("td", f"{point.ratio:.3f}", data_value=point.ratio),
        tag("td", figures.score(point.score), data_value=point.score),
        tag("td", f"{point.loss:.2%}", data_value=point.loss),
        tag("td", passes, class_="text wrap"),
    )


def _told(table: dict[str, Any]) -> str:
    layers = table.get("layers", {}).values()
    said = " ".join(str(table[key]) for key in ("structure", "rounding") if key in table)
    named = f"{table['kind']} {said}".strip()
    if not layers:
        return named
    span = f"{min(layers):g}" if min(layers) == max(layers) else f"{min(layers):g} to {max(layers):g}"
    return f"{named}: {len(layers)} layer{'s' * (len(layers) > 1)} at {span}"


def _heat(loss: float | None) -> Safe:
    if loss is None:
        return tag("td", "–", class_="off", data_value="")
    hot = math.log(min(max(loss, FAINT), FATAL) / FAINT) / math.log(FATAL / FAINT)
    said = f"{loss:.2%}" if abs(loss) >= FAINT else "0"
    return tag("td", said, class_="heat", style=f"--hot:{hot:.0%}", data_value=loss)


def _head(text: str, kind: str) -> Safe:
    return tag("th", tag("button", text), data_kind=kind, class_="text" if kind == "text" else None)


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
