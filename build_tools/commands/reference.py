"""`edge-build reference`: notes what models answer to a fixed input, for `edge-runtime doctor` on a node."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    reference = commands.add_parser("reference", help="note models' answers, for edge-runtime doctor to compare with")
    reference.add_argument("models", type=Path, nargs="+", help="ONNX files or bundles, all in one folder")
    reference.add_argument("--out", type=Path, metavar="FILE", help="(default: reference.json beside them)")
    reference.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.errors import ModelError
    from build_tools.model import write_whole
    from edge_runtime.bench import reference

    folder = args.models[0].resolve().parent
    out = args.out or folder / reference.FILE
    for model in args.models:
        if model.resolve().parent != out.resolve().parent:
            raise ModelError(f"{model}: must lie beside {out}, which names models without their folder")
    noted = {model.name: reference.answers(str(model)) for model in args.models}
    write_whole(out, reference.text(noted).encode())
    print(f"{out}: {len(noted)} models")
    return 0
