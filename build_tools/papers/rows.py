"""All rows of the papers' table by name; a row that was run replaces its older figures and leaves the others'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from build_tools.errors import DataError, RecipeError
from build_tools.papers import lenets
from build_tools.papers.table import Row, read_rows, write_rows
from build_tools.passes.contract import Progress
from edge_runtime.settings import nearest

VGG = "vgg16-shape"
TABLE = "table.json"


def names() -> tuple[str, ...]:
    """Of all rows, in the table's order."""
    return (*(goal.name for goal in lenets.GOALS), VGG)


def run_rows(
    chosen: Sequence[str],
    *,
    recipes: Path,
    digits: Path | None,
    out: Path,
    page: Path,
    work: Path,
    quick: bool,
    progress: Progress,
) -> list[Row]:
    """Run rows one after the other; the table and the page are written after each.

    Args:
        chosen: names.
        recipes: folder of the rows' recipes.
        digits: MNIST's folder, or None when no row needs it.
        out: for bundles and `table.json`.
        page: the Markdown file.
        work: for baselines and checkpoints; a row that was cut goes on from there.
        quick: see `lenets.run`.
        progress: told of what is being done.

    Raises:
        RecipeError: no such row.
        DataError: no MNIST.
        BuildToolsError: see `compress`.
    """
    for name in chosen:
        if name not in names():
            raise RecipeError(f"--row {name}: no such row{nearest(name, names(), '')}")
        if name != VGG and digits is None:
            raise DataError(f"row {name} needs MNIST; give --mnist DIR, the folder of its four idx files")
    goals = {goal.name: goal for goal in lenets.GOALS}
    work = work / "quick" if quick else work
    made = []
    for name in chosen:
        if name == VGG:
            from build_tools.papers.vgg import row as vgg_row

            row = vgg_row(work, progress)
        else:
            assert digits is not None
            row = lenets.run(goals[name], recipes, digits, out, work, quick, progress)
        made.append(row)
        rows = read_rows(out / TABLE) | {row.name: row}
        write_rows(rows.values(), names(), out / TABLE, page)
    return made
