"""`edge-build doctor`: says what is wrong with an ONNX model for a small device, and mends what can be mended."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_tools.commands.arguments import positive

if TYPE_CHECKING:
    from collections.abc import Iterable

    from build_tools.model import Model
    from build_tools.passes.contract import Feed
    from build_tools.passes.doctoring.diagnosis import Treatment
    from build_tools.passes.doctoring.findings import Finding

NAMES_SHOWN = 3
"""Places named of findings that say the same; `--json` names all."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    doctor = commands.add_parser("doctor", help="what is wrong with an ONNX model for a small device")
    doctor.add_argument("model", type=Path, help="ONNX file or bundle; never changed")
    doctor.add_argument("--fix", type=Path, metavar="OUT.onnx", help="mend what can be mended and write it here")
    doctor.add_argument("--align", type=positive, default=8, help="channel counts should be multiples of this (8)")
    doctor.add_argument("--opset", type=positive, default=17, help="convert older models to this opset (17)")
    doctor.add_argument(
        "--shape",
        type=input_shape,
        action="append",
        default=[],
        metavar="NAME=1x3x240x320",
        help="fix an input's sides",
    )
    doctor.add_argument("--keep-batchnorm", action="store_true", help="do not fold BatchNormalization")
    doctor.add_argument("--widen", action="store_true", help="make float16 weights behind a Cast float32, for passes")
    doctor.add_argument("--slim", action="store_true", help="try onnxslim too, if it is installed")
    doctor.add_argument(
        "--tolerance", type=float, default=1e-4, help="an output may change by this share of its largest value (1e-4)"
    )
    doctor.add_argument(
        "--calibration", type=Path, metavar="DIR|NPZ", help="pictures or arrays that cures are checked on as well"
    )
    doctor.add_argument("--json", action="store_true", help="every finding, for machines")
    doctor.set_defaults(run=run)


def input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`input=1x3x240x320` as ("input", (1, 3, 240, 320)); a name may hold an = too."""
    name, _, sides = text.rpartition("=")
    parts = sides.split("x")
    if not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: must look like input=1x3x240x320")
    return name, tuple(int(part) for part in parts)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.bundle.export import open_any
    from build_tools.errors import ModelError
    from build_tools.model import save_onnx
    from build_tools.passes.doctoring.diagnosis import examine, treat
    from build_tools.passes.doctoring.findings import Options
    from build_tools.passes.doctoring.interface import external_tensors
    from build_tools.passes.doctoring.trial import Trial
    from edge_runtime.bundle.reader import is_bundle

    if args.fix is not None and args.fix.exists() and args.fix.samefile(args.model):
        raise ModelError(f"{args.fix}: is the model itself, which is never changed; give another name to --fix")
    model = open_any(args.model)
    external = () if is_bundle(args.model) else external_tensors(args.model)
    options = Options(
        align=args.align,
        opset=args.opset,
        fold_batchnorm=not args.keep_batchnorm,
        merge_duplicates=True,
        rewrite_slow=True,
        widen=args.widen,
        slim=args.slim,
        shapes=dict(args.shape),
    )
    treatment = None
    try:
        if args.fix is None:
            found = examine(model, options, external)
        else:
            samples = _samples(args.calibration, model)
            treatment = treat(
                model, options, lambda proto: Trial(proto, 1, args.tolerance, samples), external, _progress
            )
            found = treatment.found
            save_onnx(treatment.model, args.fix)
    except ModelError as error:
        raise ModelError(f"{args.model}: {error}") from error
    facts = {
        "model": str(args.model),
        "bytes": args.model.stat().st_size,
        "nodes": len(model.proto.graph.node),
        "parameters": model.parameters(),
        "findings": [asdict(f) for f in found],
    }
    if treatment is not None:
        facts |= _treatment_facts(treatment, args.fix)
    if args.json:
        print(json.dumps(facts, indent=1))
    else:
        print(_text(facts, found, treatment, args.fix))
    return 0


def _samples(path: Path | None, model: Model) -> Iterable[Feed]:
    from build_tools.data.calibration import open_calibration
    from build_tools.data.pictures import InputEntry
    from build_tools.recipe import CalibrationEntry

    if path is None:
        return ()
    entry = CalibrationEntry(kind="npz" if path.suffix == ".npz" else "images", path=str(path.resolve()), batch=1)
    return open_calibration(entry, InputEntry(), model.proto, Path(), seed=1) or ()


def _progress(text: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r" if done + 1 < total else f"\r{' ' * 60}\r"
        print(f"  {done + 1}/{total} {text:<40}", end=end, file=sys.stderr, flush=True)


def _treatment_facts(treatment: Treatment, out: Path) -> dict[str, Any]:
    return {
        "fixed": {
            "model": str(out),
            "bytes": out.stat().st_size,
            "nodes": len(treatment.model.proto.graph.node),
            "mended": treatment.mended,
            "undone": treatment.undone,
            "difference": treatment.difference,
            "inputs_tried": treatment.feeds,
            "remaining": [asdict(f) for f in treatment.remaining],
        }
    }


def _text(facts: dict[str, Any], found: list[Finding], treatment: Treatment | None, out: Path | None) -> str:
    lines = [f"{facts['model']}: {facts['bytes']:,} bytes, {facts['nodes']} nodes, {facts['parameters']:,} weights"]
    lines += _grouped(found, fixing=treatment is not None)
    if not found:
        return "\n".join([*lines, "nothing to say against it"])
    fixable = sum(f.fixable for f in found)
    if treatment is None or out is None:
        if fixable:
            lines.append(
                f"{len(found)} findings; --fix OUT.onnx mends {fixable} of them and checks that outputs stay equal"
            )
        return "\n".join(lines)
    fixed = facts["fixed"]
    done = ", ".join(f"{count} {name}" for name, count in treatment.mended.items()) or "nothing"
    lines += [f"undone: {name}: {why}" for name, why in treatment.undone.items()]
    lines += ["", f"mended: {done}", f"{out}: {fixed['bytes']:,} bytes, {fixed['nodes']} nodes"]
    if treatment.checked:
        lines.append(treatment.checked)
    return "\n".join(lines)


def _grouped(found: list[Finding], fixing: bool) -> list[str]:
    """One line for findings that say the same, worst first."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    order = ("error", "slow", "size", "note")
    for finding in sorted(found, key=lambda f: order.index(f.severity)):
        said = finding.what if finding.severity == "error" else finding.remedy
        groups.setdefault((finding.severity, finding.ailment, said), []).append(finding)
    lines = []
    for (severity, ailment, _), members in groups.items():
        first = members[0]
        names = ", ".join(f.where for f in members[:NAMES_SHOWN])
        more = f" and {len(members) - NAMES_SHOWN} more" if len(members) > NAMES_SHOWN else ""
        cure = " [--fix]" if first.fixable and not fixing else ""
        count = f"{len(members)} x " if len(members) > 1 else ""
        lines += [
            f"  {severity:<5} {count}{ailment}: {names}{more}",
            f"          {first.what}",
            f"          -> {first.remedy}{cure}",
        ]
    return lines
