"""`edge-runtime bench`: times models on this node, or its layers for a search elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

EPILOG = """\
examples:
  edge-runtime bench                               the shipped models
  edge-runtime bench a.onnx b.edge --size 320x240  two models, b against a
  edge-runtime bench --table pi4.json              what layers cost here; `edge-build search --table pi4.json` reads it
"""
SHIPPED = ("scene_attention", "crop_detector")


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="edge-runtime bench",
        description="Time models against the first one, or single layers for a device table.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("models", nargs="*", metavar="MODEL", help="ONNX or .edge file, or a shipped model's name")
    made.add_argument("--size", type=_size_wh, default=(320, 240), metavar="WxH", help="input size where it is free")
    made.add_argument("--rounds", type=_positive, default=30, help="timed rounds (30)")
    made.add_argument("--threads", type=_positive, default=1, help="threads a session (1, as the runtime has)")
    made.add_argument("--table", type=Path, metavar="FILE.json", help="time a set of layers and write what they cost")
    made.add_argument("--json", action="store_true", help="for machines")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run it; the exit code."""
    asking = parser()
    args = asking.parse_args(arguments)
    if args.table is not None:
        if args.models:
            asking.error("--table times layers, not models; run the two apart")
        return _write_table(args)
    return _time_models(args)


def _write_table(args: argparse.Namespace) -> int:
    from edge_runtime.bench.probes import measure, probes
    from edge_runtime.bench.table import write_table

    asked = list(probes())
    told = _Progress("layer", len(asked))
    table = measure(asked, args.rounds, args.threads, told)
    told.close()
    write_table(table, args.table)
    if args.json:
        print(json.dumps({"table": str(args.table), "rows": len(table.rows), "run_ms": table.run_ms, **table.device}))
    else:
        print(f"{args.table}: {len(table.rows)} layers of {table.device['name']}; a run costs {table.run_ms:.4f} ms")
    return 0


def _time_models(args: argparse.Namespace) -> int:
    from edge_runtime.bench.interleaved import WARM_UP_ROUNDS, interleaved
    from edge_runtime.bench.models import runner

    names = args.models or list(SHIPPED)
    runs = [(Path(name).name, runner(name, args.size, args.threads)) for name in names]
    told = _Progress("round", args.rounds + WARM_UP_ROUNDS)
    timings = interleaved(runs, args.rounds, told)
    told.close()
    if args.json:
        print(json.dumps({"models": [asdict(t) for t in timings]}, indent=1))
        return 0
    width = max(len(t.name) for t in timings)
    print(f"{'':<{width}} {'median':>12} {'/ first':>8}  [95 % interval]")
    for t in timings:
        print(f"{t.name:<{width}} {t.median_ms:9.3f} ms {t.ratio:7.3f}x  [{t.ratio_ci[0]:.3f}, {t.ratio_ci[1]:.3f}]")
    return 0


class _Progress:
    """Counts on a terminal, is silent elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0

    def __call__(self, count: int) -> None:
        self._done += count
        if sys.stderr.isatty():
            print(f"\r\033[K{self._what} {self._done}/{self._total}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def _size_wh(text: str) -> tuple[int, int]:
    w, x, h = text.partition("x")
    if not (x and w.isdecimal() and h.isdecimal() and int(w) >= 16 and int(h) >= 16):
        raise argparse.ArgumentTypeError(f"{text}: must look like 320x240")
    return int(w), int(h)
