"""`edge-build inspect`: what a bundle holds and what each weight takes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    inspect = commands.add_parser("inspect", help="bytes by layer, entropy floor and provenance of a bundle")
    inspect.add_argument("model", type=Path, help=".edge bundle")
    inspect.add_argument("--json", action="store_true", help="for machines")
    inspect.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.bundle.inspect import inspect, table

    found = inspect(args.model)
    print(json.dumps(found, indent=1, ensure_ascii=False) if args.json else table(found))
    return 0
