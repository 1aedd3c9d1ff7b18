"""`edge-build recipe`: shows every key of a recipe, or checks one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    recipe = commands.add_parser("recipe", help="show every key of a recipe, or check one")
    what = recipe.add_mutually_exclusive_group(required=True)
    what.add_argument("--default", action="store_true", help="print the documented default recipe")
    what.add_argument("--check", type=Path, metavar="R.toml", help="read a recipe and say what is wrong with it")
    recipe.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools import recipe, recipe_file

    if args.default:
        sys.stdout.write(recipe_file.default_text())
        return 0
    found = recipe.read(args.check)
    passes = " -> ".join(step.kind for step in found.passes) or "none"
    print(f"{args.check}: sound; passes: {passes}")
    return 0
