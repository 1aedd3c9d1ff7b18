"""`edge-build bench`: times networks against the first one, interleaved."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from build_tools.commands.arguments import positive, size_wh


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    bench = commands.add_parser("bench", help="time networks against the first one, interleaved")
    bench.add_argument(
        "models", type=sized_model, nargs="+", help="ONNX files or bundles; append @WxH for an input size of its own"
    )
    bench.add_argument("--size", type=size_wh, default=(320, 240), metavar="WxH", help="input size (320x240)")
    bench.add_argument("--rounds", type=positive, default=60, help="timed rounds (60)")
    bench.add_argument("--threads", type=positive, default=1, help="threads a session (1)")
    bench.add_argument("--json", action="store_true", help="for machines")
    bench.set_defaults(run=run)


def sized_model(text: str) -> tuple[Path, tuple[int, int] | None]:
    """A path and the size after its last @; a folder's name may hold an @ too."""
    name, _, size = text.rpartition("@")
    try:
        return (Path(name), size_wh(size)) if name else (Path(text), None)
    except argparse.ArgumentTypeError:
        return Path(text), None


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from tqdm import tqdm

    from build_tools.evaluation.latency import WARM_UP_ROUNDS, Candidate, bench

    stems = [path.stem for path, _ in args.models]
    models = []
    for path, size in args.models:
        # An ONNX file and the bundle made of it share a stem, and so does one file at two sizes.
        shared = str(path) if size is None else f"{path}@{size[0]}x{size[1]}"
        models.append(Candidate(path.stem if stems.count(path.stem) == 1 else shared, path, size or args.size))
    with tqdm(total=args.rounds + WARM_UP_ROUNDS, desc="timing", disable=not sys.stderr.isatty()) as bar:
        timings = bench(models, args.rounds, args.threads, bar.update)
    if args.json:
        print(json.dumps({"models": [asdict(t) for t in timings]}, indent=1))
        return 0
    for t in timings:
        print(f"{t.name:<28} {t.median_ms:8.3f} ms   {t.ratio:6.3f}x  [{t.ratio_ci[0]:.3f}, {t.ratio_ci[1]:.3f}]")
    return 0
