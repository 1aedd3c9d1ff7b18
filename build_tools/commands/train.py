"""`edge-build train`: trains one of our networks from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    train = commands.add_parser("train", help="train a network from a recipe")
    train.add_argument("recipe", type=Path, help="TOML recipe; see models/*.toml")
    train.add_argument("--out", type=Path, help="folder for checkpoints, curves and the ONNX (default: runs/NAME)")
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last finished epoch in --out; networks that take minutes start anew",
    )
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    # torch takes seconds to import: only the command that trains pays for it
    from build_tools import recipe

    what = recipe.load(args.recipe)
    out = args.out or Path("runs") / what.name
    if what.task == "classifier":
        from build_tools.training.classifier_trainer import ClassifierTrainer

        ClassifierTrainer(args.recipe, out).run()
    elif what.task == "landmarks":
        from build_tools.training.points_trainer import PointsTrainer

        PointsTrainer(args.recipe, out).run()
    elif what.task == "reader":
        from build_tools.training.reader_trainer import ReaderTrainer

        ReaderTrainer(args.recipe, out).run()
    else:
        from build_tools.training.trainer import Trainer

        Trainer(args.recipe, out, args.resume).run()
    return 0
