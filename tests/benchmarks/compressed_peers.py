"""Compresses networks by others and measures them on data no choice was made on: a table of bytes, accuracy and time.

    python -m tests.benchmarks.compressed_peers --shared ../shared            # all rows, into models/peers
    python -m tests.benchmarks.compressed_peers --shared ../shared --row yunet_s

The recipes are `models/peers/NAME.toml`, run as `edge-build compress` runs them; the bundles are not kept in the
repository. Accuracy before and after is that of the development sets; the recipes look at training pictures only.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from build_tools.bundle.export import open_any
from build_tools.compress import compress
from build_tools.evaluation.gate import evaluator
from build_tools.evaluation.latency import Candidate, bench
from build_tools.recipe import EvaluationEntry, digest, load_passes

ROUNDS = 60
FACES, SCENES = ("data/faces/val.json", "data/faces/images"), ("data/scenes/dev.json", "data/scenes/images/dev")
HEAD = """\
# Networks by others, made smaller

    python -m tests.benchmarks.compressed_peers --shared DIR

Each recipe beside this page, run by the code of `edge-build compress`, its bundle read back. Accuracy is measured on
pictures that neither calibration nor any choice saw (WIDER FACE val, scenes dev, MNIST test); time is the bundle's
over the original's, interleaved on one thread. The networks are others' (`licence`); no bundle is shipped. Only the
rows below have been run; a recipe without a row waits for its run.

| network | licence | bytes before | after | ratio | figure | before | after | time | to reach | reached |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A network, and what its compression is measured by."""

    file: str
    licence: str
    data: tuple[str, str]
    bytes_max: int | None
    metric: str
    size_wh: tuple[int, int] = (320, 256)


PEERS = {
    "yunet_s": Peer("yunet_s", "Apache-2.0", FACES, 44_000, "ap8"),
    "yunet_s_everything": Peer("yunet_s", "Apache-2.0", FACES, 44_000, "ap8"),
    "ultraface_rfb": Peer("ultraface_rfb_320", "MIT", FACES, 150_000, "ap8"),
    "yolox_nano": Peer("yolox_nano_416", "Apache-2.0", SCENES, None, "ap50"),
    "mnist_cnn": Peer("mnist_cnn_cntk", "MIT", ("data/mnist", ""), None, "error"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; a time of the bundle over the original's."""

    name: str
    licence: str
    bytes_before: int
    bytes_after: int
    bytes_max: int | None
    metric: str
    before: float
    after: float
    time: float
    recipe_sha256: str

    def reached(self) -> bool:
        """Small enough, at most 1 % worse, not slower."""
        if self.metric == "error":
            loss = (self.after - self.before) / (1 - self.before)
        else:
            loss = (self.before - self.after) / self.before
        return self.bytes_after <= (self.bytes_max or self.bytes_before) and loss <= 0.01 and self.time <= 1.05

    def line(self) -> str:
        """As Markdown."""
        goal = "" if self.bytes_max is None else f"<= {self.bytes_max:,} B, "
        return (
            f"| {self.name} | {self.licence} | {self.bytes_before:,} | {self.bytes_after:,} | "
            f"{self.bytes_before / self.bytes_after:.1f}x | {self.metric} | {self.before:.4f} | {self.after:.4f} | "
            f"{self.time:.2f} | {goal}<= 1 % lost, not slower | {'yes' if self.reached() else 'no'} |"
        )


def measure(name: str, recipes: Path, shared: Path, out: Path) -> Row:
    """Compress one network and measure it."""
    peer = PEERS[name]
    source, bundle, path = shared / "peers" / f"{peer.file}.onnx", out / f"{name}.edge", recipes / f"{name}.toml"
    recipe = load_passes(path)
    compress(source, recipe, bundle, folder=recipes, recipe_sha256=digest(path), progress=_tell)
    data, images = peer.data
    kept = recipe.evaluation
    entry = EvaluationEntry(kept.kind, data, images, kept.decoder, peer.metric, "test")
    judge = evaluator(replace(recipe, evaluation=entry), open_any(source), None, shared)
    assert judge is not None
    before, after = judge(open_any(source)).value, judge(open_any(bundle)).value
    timed = bench([Candidate("before", source, peer.size_wh), Candidate("after", bundle, peer.size_wh)], ROUNDS)
    return Row(
        name, peer.licence, source.stat().st_size, bundle.stat().st_size, peer.bytes_max, peer.metric,
        before, after, timed[1].ratio, digest(path),
    )  # fmt: skip


def _tell(text: str, done: int, total: int) -> None:
    if done in (0, total):
        print(f"{text} {done}/{total}", file=sys.stderr, flush=True)


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and peers/")
    parser.add_argument("--row", choices=list(PEERS), action="append", help="only this network (may be repeated)")
    parser.add_argument("--recipes", type=Path, default=Path("models/peers"), help="recipes, table and page")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="bundles")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.recipes / "table.json"
    rows = {r["name"]: Row(**r) for r in json.loads(table.read_text())} if table.is_file() else {}
    for name in args.row or PEERS:
        rows[name] = measure(name, args.recipes, args.shared, args.out)
        print(rows[name].line(), flush=True)
        known = [rows[n] for n in PEERS if n in rows]
        table.write_text(json.dumps([asdict(r) for r in known], indent=1) + "\n")
        (args.recipes / "README.md").write_text(HEAD + "\n".join(r.line() for r in known) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
