"""Makes the leaderboard of `models/README.md`: ours beside peers by others, on the same pictures.

    python -m tests.benchmarks.leaderboard [--shared ../shared] [--again NAME ...] [--only NAME ...] [--pictures]

Figures are kept in `models/leaderboard.json` under the digest of the files that gave them; what is there is not
measured again, so that a new model costs only its own minutes. Times are ratios to yunet_s at the same size, both in
the same rounds, on one thread.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from build_tools.data.coco import Sample, read_pack
from build_tools.evaluation.latency import WARM_UP_ROUNDS
from edge_runtime.bench.interleaved import interleaved, quiet_clock
from tests.benchmarks.contestants import Contestant, Size, contestants, digest
from tests.benchmarks.leaderboard_page import rewrite
from tests.benchmarks.leaderboard_plots import plot

MODELS = Path(__file__).parents[2] / "models"
BASELINE = "yunet_s"
SIZES: tuple[Size, ...] = ((320, 240), (160, 120))
ROUNDS = 40
KEPT = ("truths", "ap50", "ap8", "ap16", "ap32", "r8", "r16", "crop_recall8", "crop_recall16")
"""Figures that are kept of each class."""

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is not known, then write the page and the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=MODELS.parents[1] / "shared", help="folder of data and peers")
    parser.add_argument("--again", nargs="+", default=[], metavar="NAME", help="forget what is known of these; `all`")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measure only these")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page of what is known")
    parser.add_argument("--pictures", action="store_true", help="draw detections on the clips of free licence, too")
    args = parser.parse_args(argv)
    board = Board(MODELS / "leaderboard.json")
    every = contestants(MODELS, args.shared / "peers")
    board.keep_only(every, args.again)
    for one in [] if args.page else every:
        if args.only is None or one.name in args.only:
            board.measure(one, every, args.shared / "data")
    if args.pictures:
        from tests.benchmarks.clip_pictures import draw_clips

        draw_clips(args.shared / "data" / "clips", MODELS)
    rows = [board.rows[c.name] | {"name": c.name, "ours": c.ours} for c in every if c.name in board.rows]
    rewrite(MODELS / "README.md", rows, [c.name for c in every if not board.is_complete(c)])
    plot(MODELS, rows)


class Board:
    """What was measured, by name; written after each step, so that a stopped run goes on where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[str, Row] = json.loads(path.read_text()) if path.is_file() else {}

    def keep_only(self, every: Sequence[Contestant], again: Sequence[str]) -> None:
        """Forget contestants that are gone, have changed, or are asked for `again`."""
        current = {c.name: digest(c.files) for c in every}
        self.rows = {
            name: row
            for name, row in self.rows.items()
            if current.get(name) == row["digest"] and name not in again and "all" not in again
        }

    def measure(self, one: Contestant, every: Sequence[Contestant], data: Path) -> None:
        """Measure what is not known of it."""
        row = self.rows.setdefault(
            one.name, {"digest": digest(one.files), "bytes": sum(f.stat().st_size for f in one.files)}
        )
        self._step(row, "parameters", one.parameters)
        for size in SIZES[: 1 if one.fixed else None]:
            at = "x".join(map(str, size))
            self._step(row, f"macs {at}", lambda size=size: one.macs(size))  # type: ignore[misc]
            if f"time {at}" not in row:
                baseline = next(c for c in every if c.name == BASELINE)
                row[f"time {at}"] = _ratios(one, baseline, size)
                self._save()
        if "scenes" in one.sets:
            self._step(row, "scenes", lambda: _scenes(one, data))
        for size in SIZES if "faces" in one.sets else ():
            at = "x".join(map(str, size))
            self._step(row, f"faces {at}", lambda size=size: _faces(one, size, data))  # type: ignore[misc]

    def is_complete(self, one: Contestant) -> bool:
        """Whether all of its figures are known."""
        wanted = {"scenes"} & one.sets
        if "faces" in one.sets:
            wanted |= {f"faces {w}x{h}" for w, h in SIZES}
        return wanted <= self.rows.get(one.name, {}).keys()

    def _step(self, row: Row, key: str, measured: Callable[[], object]) -> None:
        if key not in row:
            row[key] = measured()
            self._save()

    def _save(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(dict(sorted(self.rows.items())), indent=1) + "\n")
        partial.replace(self._path)


def _ratios(one: Contestant, baseline: Contestant, size: Size) -> dict[str, float]:
    """Time over the baseline's, by what was run (empty: the network once)."""
    if one.name == BASELINE:
        return {"": 1.0}
    runs = one.runs(size)
    timed = [("", baseline.runs(size)[""]), *runs.items()]
    with tqdm(total=ROUNDS + WARM_UP_ROUNDS, desc=f"timing {one.name}", leave=False) as bar:
        timings = interleaved(timed, ROUNDS, bar.update, quiet_clock(1))
    return {name: t.ratio for (name, _), t in zip(timed[1:], timings[1:], strict=True)}


def _faces(one: Contestant, size: Size, data: Path) -> Row:
    samples = read_pack(data / "faces" / "val.json", data / "faces" / "images")
    return _kept(_figures(one, samples, size)["per_class"]["face"])


def _scenes(one: Contestant, data: Path) -> dict[str, dict[str, Row]]:
    """By half and class."""
    samples = read_pack(data / "scenes" / "dev.json", data / "scenes" / "images" / "dev")
    halves = _figures(one, samples, SIZES[0])["by_source"]
    return {
        half: {name: _kept(row) for name, row in told["per_class"].items() if name in ("person", "vehicle")}
        for half, told in halves.items()
    }


def _figures(one: Contestant, samples: Sequence[Sample], size: Size) -> dict[str, Any]:
    with tqdm(total=len(samples), desc=f"evaluating {one.name}", leave=False) as bar:
        return one.figures(samples, size, bar.update)


def _kept(row: Row) -> Row:
    """As measured: the page rounds, and what is rounded twice comes out wrong now and then."""
    return {key: row[key] for key in KEPT if key in row}


if __name__ == "__main__":
    main()
