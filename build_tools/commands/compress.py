"""`edge-build compress`: makes any ONNX model small by a recipe's passes, and tells what each cost and brought."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from build_tools.compress import Compressed, Measured
    from build_tools.recipe import Recipe

NAMES_SHOWN = 3
"""Weights named of those left alone for one reason."""
EPILOG = """\
examples:
  edge-build compress yunet.onnx --out yunet.edge                       # doctor, then 8-bit weights, or 10
  edge-build compress yunet.onnx --out yunet.edge --calibration photos  # judged on your own pictures
  edge-build compress lenet5.onnx --recipe lenet5.toml --out lenet5.edge --report lenet5.html
  edge-build recipe --default > mine.toml                               # every pass and key, documented
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    compress = commands.add_parser(
        "compress", help="make a model small by a recipe", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    compress.add_argument("model", type=Path, help="ONNX file or bundle; never changed")
    compress.add_argument("--out", type=Path, required=True, metavar="M.edge", help="the bundle to write")
    compress.add_argument("--recipe", type=Path, metavar="R.toml", help="passes and budget (default: a sound recipe)")
    compress.add_argument("--report", type=Path, metavar="R.html", help="write a report to look at")
    compress.add_argument(
        "--calibration", type=Path, metavar="DIR|NPZ", help="pictures, or arrays; in place of the recipe's"
    )
    compress.add_argument(
        "--table", type=Path, metavar="PI.json", help="times by a device's table (`edge-runtime bench --table`)"
    )
    compress.add_argument("--work", type=Path, metavar="DIR", help="keep checkpoints here, to go on after a stop")
    compress.add_argument("--key", type=Path, metavar="KEY", help="sign the bundle with this private key")
    compress.add_argument("--json", action="store_true", help="everything that was measured, for machines")
    compress.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.bundle.signing import read_private_key
    from build_tools.compress import compress
    from build_tools.model import write_whole
    from build_tools.recipe import digest, load_passes
    from edge_runtime.bench.table import read_table

    recipe, folder, sha256, text = _recipe(args.recipe, load_passes, digest)
    if args.calibration is not None:
        entry = replace(recipe.calibration, kind="images", path=str(args.calibration.resolve()))
        if args.calibration.suffix == ".npz":
            entry = replace(entry, kind="npz")
        recipe = replace(recipe, calibration=entry)
    key = read_private_key(args.key) if args.key else None
    teller = _Teller(quiet=args.json)
    done = compress(
        args.model, recipe, args.out, folder=folder, recipe_sha256=sha256, work=args.work, private_key=key,
        table=read_table(args.table) if args.table else None, progress=teller,
    )  # fmt: skip
    teller.close()
    if recipe.calibration.kind == "random" and recipe.evaluation.kind == "agreement":
        print(
            "passes were judged by how outputs agree on noise; --calibration PHOTOS judges them on pictures, "
            "a recipe's [evaluation] by accuracy",
            file=sys.stderr,
        )
    if args.report:
        from build_tools.report.compression import render

        write_whole(args.report, render(done, text).encode())
    print(json.dumps(as_json(done), indent=1) if args.json else _story(done, args.out))
    return 0


def _recipe(path: Path | None, load: Any, digest: Any) -> tuple[Recipe, Path, str, str]:
    """The recipe, the folder of its paths, its digest and its text."""
    import hashlib
    import tempfile

    if path is not None:
        return load(path), path.parent, digest(path), path.read_text(encoding="utf-8")
    from build_tools.recipe_file import WITHOUT_RECIPE

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "default.toml"
        file.write_text(WITHOUT_RECIPE)
        return load(file), Path(), hashlib.sha256(WITHOUT_RECIPE.encode()).hexdigest(), WITHOUT_RECIPE


def as_json(done: Compressed) -> dict[str, Any]:
    """Everything that was measured, for machines."""
    return {
        "name": done.name,
        "source": str(done.source),
        "before": _measured(done.before),
        "plain": _measured(done.plain),
        "after": _measured(done.after),
        "steps": [
            {
                "kind": s.kind, "summary": s.summary, "seconds": s.seconds, "undone": s.undone,
                "refused": list(s.refused), "layers": s.layers, **_measured(s.measured),
            }
            for s in done.steps
        ],
        "layers": [asdict(layer) for layer in done.written.layers],
        "graph_bytes": done.written.graph_bytes,
        "manifest_bytes": done.written.manifest_bytes,
        "weights_bytes": done.written.weights_bytes,
        "provenance": done.provenance,
        "seconds": done.seconds,
    }  # fmt: skip


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "bytes": measured.bytes,
        "score": asdict(measured.score) if measured.score else None,
        "latency": asdict(measured.latency) if measured.latency else None,
    }


def _story(done: Compressed, out: Path) -> str:
    rows = [("input", done.before, "", ""), ("coded only", done.plain, "", "")]
    rows += [(s.kind, s.measured, s.summary, s.undone) for s in done.steps]
    metric = done.before.score.metric if done.before.score else "score"
    lines = [f"{'step':<12}{'bytes':>12}{metric:>12}{'time':>8}"]
    for name, measured, summary, undone in rows:
        score = f"{measured.score.value:.4f}" if measured.score else "-"
        ratio = f"{measured.latency.ratio:.2f}" if measured.latency else "-"
        told = f"UNDONE: {undone}" if undone else summary
        lines.append(f"{name:<12}{measured.bytes:>12,}{score:>12}{ratio:>8}  {told}".rstrip())
    lines += [line for step in done.steps for line in _left_alone(step.refused)]
    factor = done.before.bytes / done.after.bytes
    lines.append(f"{out}: {done.after.bytes:,} bytes, {factor:.1f}x smaller, in {done.seconds:.1f} s")
    return "\n".join(lines)


def _left_alone(refused: Iterable[str]) -> list[str]:
    """A line for each reason, with the first weights it holds for; the report and `--json` name all."""
    named: dict[str, list[str]] = {}
    for line in refused:
        name, _, reason = line.partition(": ")
        named.setdefault(reason, []).append(name)
    lines = []
    for reason, names in named.items():
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        lines.append(f"  left alone: {', '.join(names[:NAMES_SHOWN])}{more}{': ' if reason else ''}{reason}")
    return lines


class _Teller:
    """Tells of progress: one line that changes on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._terminal, self._quiet, self._last = sys.stderr.isatty(), quiet, ""

    def __call__(self, text: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if self._terminal:
            print(f"\r\033[K{text} {done}/{total}", end="", file=sys.stderr, flush=True)
        elif text != self._last:
            print(f"{text} ({done}/{total})", file=sys.stderr, flush=True)
        self._last = text

    def close(self) -> None:
        """Leave the line."""
        if self._terminal and self._last and not self._quiet:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
