"""`edge-build search`: finds the recipes of which none is better in bytes, time and accuracy at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from build_tools.commands.arguments import positive
from build_tools.commands.searching import Teller, add_workers, read_recipe, workers_for

if TYPE_CHECKING:
    from build_tools.search.front import Front

EPILOG = """\
examples:
  edge-build search yunet.onnx --recipe yunet.toml --trials 60 --out found   # on all cores of this machine
  edge-build search yunet.onnx --recipe yunet.toml --trials 90 --out found   # 30 more: the storage is gone on from
  edge-build search yunet.onnx --recipe yunet.toml --trials 60 --table pi4.json
  dask scheduler                                                             # on the machine `hub`
  dask worker tcp://hub:8786 --nworkers auto --nthreads 1                    # on every machine that is to help
  edge-build search yunet.onnx --recipe yunet.toml --trials 60 --cluster tcp://hub:8786
  edge-build compress yunet.onnx --recipe found/best.toml --out yunet.edge

Workers get the model and the calibration data from here; labelled data of the recipe must lie at the same path on each.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    search = commands.add_parser(
        "search", help="search for the best recipes", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    search.add_argument("model", type=Path, help="ONNX file or bundle; never changed")
    search.add_argument("--recipe", type=Path, metavar="R.toml", help="evaluation, calibration, budget; no passes")
    search.add_argument("--trials", type=positive, default=40, help="trials in all, those of earlier runs too (40)")
    search.add_argument("--out", type=Path, metavar="DIR", help="where recipes and pages go (runs/search-MODEL)")
    search.add_argument("--storage", type=Path, metavar="F.db", help="the search's memory (DIR/search.db)")
    search.add_argument("--sampler", choices=("tpe", "nsga2"), default="tpe", help="tpe: best below 200 trials (tpe)")
    search.add_argument("--table", type=Path, metavar="PI.json", help="times by a device's table, not by this machine")
    add_workers(search)
    search.add_argument("--json", action="store_true", help="the front, for machines")
    search.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.model import write_whole
    from build_tools.search.front import find_front, write_front
    from build_tools.search.job import make_job, open_job
    from build_tools.search.pages import front_page, write_sensitivity
    from build_tools.search.search import scanned, search
    from build_tools.search.storage import Storage
    from edge_runtime.bench.table import read_table

    out = args.out or Path("runs") / f"search-{args.model.stem}"
    recipe, folder, tables = read_recipe(args.recipe)
    table = read_table(args.table) if args.table else None
    job = make_job(args.model, recipe, folder, table)
    open_job(job)  # what is wrong with the model or its data is said before any worker starts
    storage_path = args.storage or out / "search.db"
    storage = Storage(storage_path, job.digest(), args.sampler, recipe.seed)
    told = Teller(quiet=args.json)
    try:
        with workers_for(job, args) as workers:
            scans = scanned(job, storage, workers, told)
            search(storage, scans, workers, args.trials, told)
    except KeyboardInterrupt:
        told.close()
        kept = len(storage.done())
        print(f"edge-build: stopped; {storage_path} keeps {kept} trials, run it again to go on", file=sys.stderr)
        return 130
    told.close()
    front = find_front(storage, job, recipe.name or args.model.stem)
    files = write_front(front, out, tables, folder, recipe)
    write_whole(out / "front.html", front_page(front, "sensitivity.html").encode())
    write_sensitivity(scans, out / "sensitivity.html", f"Sensitivity of {args.model.name}")
    print((out / "front.json").read_text() if args.json else _story(front, files, out))
    return 0


def _story(front: Front, files: list[Path], out: Path) -> str:
    metric, before = front.before
    lines = [f"{'recipe':<16}{'bytes':>12}{'time':>8}{metric:>12}{'loss':>9}"]
    for path, p in zip(files, front.points, strict=True):
        mark = "  <- best.toml" if p is front.best else ""
        lines.append(f"{path.name:<16}{p.bytes:>12,}{p.ratio:>8.3f}{p.score:>12.4f}{p.loss:>9.2%}{mark}")
    besides = f"measured besides: {len(front.others)}, refused: {front.failed}"
    lines.append(f"{metric} of the input model: {before:.4f}; {besides}")
    if front.best is None:
        lines.append("no recipe is within the budget: raise budget.loss or budget.latency, or try more trials")
    lines.append(f"{out / 'front.html'} shows the front; a recipe is for `edge-build compress --recipe`")
    return "\n".join(lines)
