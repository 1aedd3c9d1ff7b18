"""`edge-build papers`: makes every row of the papers' table, from data to table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    papers = commands.add_parser("papers", help="make the table of models/PAPERS.md again, from data to table")
    papers.add_argument("--mnist", type=Path, metavar="DIR", help="folder of MNIST's idx files; the LeNet rows need it")
    papers.add_argument("--row", action="append", default=[], metavar="NAME", help="only this row (may be repeated)")
    papers.add_argument("--recipes", type=Path, default=Path("models/papers"), metavar="DIR", help="the rows' recipes")
    papers.add_argument("--out", type=Path, metavar="DIR", help="bundles and table (default: the recipes' folder)")
    papers.add_argument("--page", type=Path, metavar="FILE", help="the page (default: PAPERS.md beside that folder)")
    papers.add_argument(
        "--work", type=Path, default=Path("runs/papers"), metavar="DIR", help="baselines, checkpoints (runs/papers)"
    )
    papers.add_argument(
        "--quick", action="store_true", help="one epoch on few digits, into --work: only shows that all of it runs"
    )
    papers.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code: 1 when a row is below its goal."""
    from build_tools.papers.rows import names, run_rows
    from build_tools.papers.table import markdown

    out = args.work / "quick" if args.quick else args.out or args.recipes
    page = args.page or out.parent / "PAPERS.md"
    if args.quick:
        page = out / "PAPERS.md"
    chosen = args.row or list(names())
    rows = run_rows(
        chosen, recipes=args.recipes, digits=args.mnist, out=out, page=page, work=args.work, quick=args.quick,
        progress=_tell,
    )  # fmt: skip
    print(markdown(rows))
    missed = [row.name for row in rows if not row.reached]
    if missed and not args.quick:
        print(f"below their goal: {', '.join(missed)}", file=sys.stderr)
        return 1
    return 0


def _tell(text: str, done: int, total: int) -> None:
    """A line every twentieth part, so that a log of hours stays readable."""
    if done % max(1, total // 20) == 0 or done == total:
        print(f"{text} {done}/{total}", file=sys.stderr, flush=True)
