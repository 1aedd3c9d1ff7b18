"""The command `edge-build`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from build_tools.errors import BuildToolsError
from edge_runtime.errors import EdgeRuntimeError

COMMANDS = (
    "doctor",
    "recipe",
    "train",
    "compress",
    "sensitivity",
    "search",
    "evaluate",
    "bench",
    "inspect",
    "export",
    "reference",
    "keys",
    "papers",
)
"""Modules of `build_tools.commands`, in the order in which `--help` shows them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 usage or recipe, 4 a model file."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
        return code
    except (BuildToolsError, EdgeRuntimeError) as error:
        if args.debug:
            raise
        print(f"edge-build: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if args.debug or (error.name or "").startswith(("build_tools", "edge_runtime")):
            raise
        extra = "train" if error.name == "torch" else "search" if error.name in ("optuna", "distributed") else "build"
        print(f"edge-build: {error.name} is not installed; pip install 'edge-runtime[{extra}]', or from a checkout "
              f"pip install -e '.[{extra}]'", file=sys.stderr)  # fmt: skip
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
        return 0  # whoever read our output has seen enough
    except KeyboardInterrupt:
        print("edge-build: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-build", description="Trains, compresses and measures the models that edge-runtime runs."
    )
    parser.add_argument("--debug", action="store_true", help="show a traceback instead of one line")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"build_tools.commands.{name}").add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
