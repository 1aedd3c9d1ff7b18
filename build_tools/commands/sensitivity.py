"""`edge-build sensitivity`: what each layer loses under each technique, before a recipe is written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from build_tools.commands.arguments import positive
from build_tools.commands.searching import Teller, add_workers, read_recipe, workers_for

if TYPE_CHECKING:
    from build_tools.search.sensitivity import LayerScan

EPILOG = """\
examples:
  edge-build sensitivity yunet.onnx                                    # outputs against the input model's, on noise
  edge-build sensitivity yunet.onnx --recipe yunet.toml --plot s.html  # on the recipe's evaluation data
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    sensitivity = commands.add_parser(
        "sensitivity", help="measure what each layer loses under each technique", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sensitivity.add_argument("model", type=Path, help="ONNX file or bundle; never changed")
    sensitivity.add_argument("--recipe", type=Path, metavar="R.toml", help="evaluation and calibration data")
    sensitivity.add_argument("--plot", type=Path, metavar="OUT.html|png|svg", help="write a heat map")
    sensitivity.add_argument("--top", type=positive, metavar="N", help="print only the N most sensitive layers")
    add_workers(sensitivity)
    sensitivity.add_argument("--json", action="store_true", help="all figures, for machines")
    sensitivity.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.search.job import make_job
    from build_tools.search.sensitivity import scan, scan_layer
    from build_tools.search.workers import each

    if args.plot is not None:
        from build_tools.search.pages import check_suffix, write_sensitivity

        check_suffix(args.plot)
    recipe, folder, _ = read_recipe(args.recipe)
    job = make_job(args.model, recipe, folder, None)
    told = Teller(quiet=args.json)
    with workers_for(job, args) as workers:
        scans = scan(job, lambda names: each(workers, scan_layer, names, lambda n: told(f"layer {n}/{len(names)}")))
    told.close()
    if args.plot is not None:
        write_sensitivity(scans, args.plot, f"Sensitivity of {args.model.name}")
    print(json.dumps({"layers": [one.as_json() for one in scans]}, indent=1) if args.json else _table(scans, args.top))
    return 0


def _table(scans: Sequence[LayerScan], top: int | None) -> str:
    from build_tools.search.heat_map import HEADINGS

    headings = [h for group in HEADINGS.values() for h in group]
    rows = [(one, one.row()) for one in scans]
    if top is not None:
        rows = sorted(rows, key=lambda row: -max((v for v in row[1] if v is not None), default=0.0))[:top]
    width = max([len(one.weight) for one, _ in rows] + [5])
    lines = [f"{'layer':<{width}} {'shape':>16}" + "".join(f"{h:>12}" for h in headings)]
    for one, losses in rows:
        cells = "".join(f"{'-' if v is None else f'{v:.4f}':>12}" for v in losses)
        lines.append(f"{one.weight:<{width}} {'x'.join(map(str, one.shape)):>16}{cells}")
    lines.append("Relative loss of accuracy when this layer alone is changed; -: does not apply")
    return "\n".join(lines)
