"""`edge-build export`: a bundle back as plain ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    export = commands.add_parser("export", help="plain ONNX back, for any other runtime")
    export.add_argument("model", type=Path, help=".edge bundle")
    export.add_argument("--onnx", type=Path, required=True, metavar="OUT.onnx", help="file to write")
    export.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.bundle.export import to_onnx
    from build_tools.model import Model, save_onnx

    save_onnx(Model(to_onnx(args.model)), args.onnx)
    print(f"{args.onnx}: {args.onnx.stat().st_size:,} bytes")
    return 0
