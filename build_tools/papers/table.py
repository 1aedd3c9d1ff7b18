"""The papers' table: what was reached in each row beside what was published, as JSON and as Markdown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from build_tools.errors import DataError
from build_tools.model import write_whole

INTRODUCTION = """\
# Beside the papers

One command goes from data to a row: the baseline is trained, its recipe is run by the same code as `edge-build
compress`, and the bundle is read back and measured by the same code as `edge-build evaluate`. Every shipped bundle is
what that command gave.

    edge-build papers --mnist DIR               # all rows
    edge-build papers --mnist DIR --row NAME    # one of them

Epochs and settings are chosen on the last 5,000 training digits; the 10,000 test digits give the errors below. They
were not read only once: the notes say where a run was kept after its test error was known. A ratio is fp32 bytes over
bytes; for LeNet-300-100 and LeNet-5 the papers' 1,070 KB and 1,720 KB are divided. Bytes are those of the whole file on
disk; for the row marked * they are those of `weights.bin` with every table in it, as the papers count, and the whole
file's stand beside.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row that was run.

    Attributes:
        name: of the row.
        network: what was compressed.
        published: the best published figure, with its source.
        goal: what was to be reached.
        bytes: that count, with `counted` saying of what: `file` or `weights`.
        file_bytes: of the whole bundle.
        weights_bytes: of its weights with every table, codebook and position.
        ratio: fp32 bytes over `bytes`.
        baseline_error: test error of the uncompressed network in percent, or None.
        error: test error of the bundle in percent, or None.
        reached: whether bytes and error meet the goal.
        seed: of everything random.
        seconds: for the recipe, on one core; a baseline's training is not in them.
        command: that repeats it.
        note: what a reader has to know besides.
    """

    name: str
    network: str
    published: str
    goal: str
    counted: str
    bytes: int
    file_bytes: int
    weights_bytes: int
    ratio: float
    baseline_error: float | None
    error: float | None
    reached: bool
    seed: int
    seconds: float
    command: str
    note: str = ""


def read_rows(path: Path) -> dict[str, Row]:
    """The rows that were run before, by name; none where there is no file.

    Raises:
        DataError: a file that is not such a table.
    """
    if not path.is_file():
        return {}
    try:
        return {entry["name"]: Row(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not a table of rows ({error}); delete it, and run all rows again") from error


def write_rows(rows: Iterable[Row], order: Sequence[str], data: Path, page: Path) -> None:
    """Write the table for machines and the page for people, in a given order of names."""
    chosen = sorted(rows, key=lambda row: order.index(row.name) if row.name in order else len(order))
    write_whole(data, (json.dumps([dataclasses.asdict(r) for r in chosen], indent=1) + "\n").encode())
    write_whole(page, markdown(chosen).encode())


def markdown(rows: Sequence[Row]) -> str:
    """The page."""
    head = ("row", "network", "published", "to reach", "bytes", "ratio", "baseline", "error", "reached")
    lines = [INTRODUCTION, _line(head), _line(["---"] * len(head))]
    for row in rows:
        mark = "\\*" if row.counted == "weights" else ""
        beside = f" (file {row.file_bytes:,})" if row.counted == "weights" else ""
        lines.append(
            _line(
                (
                    f"`{row.name}`", row.network, row.published, row.goal, f"{row.bytes:,}{mark}{beside}",
                    f"{row.ratio:,.1f}x", _percent(row.baseline_error), _percent(row.error),
                    "yes" if row.reached else "**no**",
                )
            )
        )  # fmt: skip
    lines += ["", _line(("row", "seed", "seconds", "weights", "command")), _line(["---"] * 5)]
    for row in rows:
        lines.append(
            _line((f"`{row.name}`", str(row.seed), f"{row.seconds:,.0f}", f"{row.weights_bytes:,}", f"`{row.command}`"))
        )
    notes = [f"- `{row.name}`: {row.note}" for row in rows if row.note]
    if notes:
        lines += ["", "To know besides:", "", *notes]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
