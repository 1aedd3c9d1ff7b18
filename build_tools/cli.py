"""The command `edge-build`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from build_tools.errors import BuildToolsError
from edge_runtime.errors import EdgeRuntimeError


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
    except KeyboardInterrupt:
        print("edge-build: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-build", description="Trains and measures the models that edge-runtime runs."
    )
    parser.add_argument("--debug", action="store_true", help="show a traceback instead of one line")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a network from a recipe")
    train.add_argument("recipe", type=Path, help="TOML recipe; see models/*.toml")
    train.add_argument("--out", type=Path, help="folder for checkpoints, curves and the ONNX (default: runs/NAME)")
    train.add_argument("--resume", action="store_true", help="go on after the last finished epoch in --out")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="average precision and recall on a labelled set")
    evaluate.add_argument("model", type=Path, help="ONNX network, or the attention network with --detector")
    evaluate.add_argument("--detector", type=Path, help="crop detector: evaluate both, as the runtime runs them")
    evaluate.add_argument("--data", type=Path, required=True, help="COCO JSON")
    evaluate.add_argument("--images", type=Path, required=True, help="folder its file names are relative to")
    evaluate.add_argument("--size", type=_size, default=(320, 240), metavar="WxH", help="input size (320x240)")
    evaluate.add_argument("--group", action="append", default=[], metavar="NAME=A,B", help="count labels together")
    evaluate.add_argument("--budget", type=_positive, default=8, help="crops a picture at the most (8)")
    evaluate.add_argument("--region-score", type=float, help="regions scored below this are not cropped")
    evaluate.add_argument("--json", action="store_true", help="all figures, for machines")
    evaluate.set_defaults(run=_evaluate)

    bench = commands.add_parser("bench", help="time networks against the first one, interleaved")
    bench.add_argument(
        "models", type=_sized_model, nargs="+", help="ONNX files; append @WxH for an input size of its own"
    )
    bench.add_argument("--size", type=_size, default=(320, 240), metavar="WxH", help="input size (320x240)")
    bench.add_argument("--rounds", type=_positive, default=60, help="timed rounds (60)")
    bench.add_argument("--threads", type=_positive, default=1, help="threads a session (1)")
    bench.add_argument("--json", action="store_true", help="for machines")
    bench.set_defaults(run=_bench)
    return parser


def _size(text: str) -> tuple[int, int]:
    w, x, h = text.partition("x")
    if not (x and w.isdecimal() and h.isdecimal() and int(w) >= 16 and int(h) >= 16):
        raise argparse.ArgumentTypeError(f"{text}: must look like 320x240")
    return int(w), int(h)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def _sized_model(text: str) -> tuple[Path, tuple[int, int] | None]:
    """A path and the size after its last @; a folder's name may hold an @ too."""
    name, _, size = text.rpartition("@")
    try:
        return (Path(name), _size(size)) if name else (Path(text), None)
    except argparse.ArgumentTypeError:
        return Path(text), None


def _train(args: argparse.Namespace) -> int:
    # torch takes seconds to import: only the command that trains pays for it
    from build_tools import recipe
    from build_tools.training.trainer import Trainer

    out = args.out or Path("runs") / recipe.load(args.recipe).name
    Trainer(args.recipe, out, args.resume).run()
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from tqdm import tqdm

    from build_tools.evaluation.evaluate import Subject, evaluate, parse_group
    from edge_runtime.config import AttentionConfig, CroppingConfig

    attention = AttentionConfig()
    if args.region_score is not None:
        attention = replace(attention, score_min=args.region_score)
    subject = Subject(args.model, args.detector, args.size, replace(CroppingConfig(), budget=args.budget), attention)
    with tqdm(desc="evaluating", unit="picture", disable=not sys.stderr.isatty()) as bar:
        found = evaluate(subject, args.data, args.images, dict(parse_group(g) for g in args.group), bar.update)
    print(json.dumps(found, indent=1) if args.json else _table(found))
    return 0


COLUMNS = (
    "truths",
    "ap50",
    "ap50_95",
    "ap8",
    "ap16",
    "ap32",
    "r8",
    "r16",
    "r16_p90",
    "crop_recall8",
    "crop_recall16",
)


def _table(found: dict) -> str:  # type: ignore[type-arg]
    rows = {"all": found, **found["per_class"]}
    for source, by in found["by_source"].items():
        rows |= {f"{source}: {name}": figures for name, figures in by["per_class"].items()}
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"{c:>15}" for c in COLUMNS)]
    for name, row in rows.items():
        cells = [row.get(c) for c in COLUMNS]
        texts = ["-" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in cells]
        lines.append(f"{name:<{width}}" + "".join(f"{t:>15}" for t in texts))
    lines.append(
        f"{found['images']} pictures at {'x'.join(map(str, found['input_wh']))}, {found['model_bytes']:,} bytes"
    )
    return "\n".join(lines)


def _bench(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from build_tools.evaluation.latency import WARM_UP_ROUNDS, bench

    models = [path for path, _ in args.models]
    sizes = [size or args.size for _, size in args.models]
    with tqdm(total=args.rounds + WARM_UP_ROUNDS, desc="timing", disable=not sys.stderr.isatty()) as bar:
        timings = bench(models, sizes, args.rounds, args.threads, bar.update)
    if args.json:
        print(json.dumps({"models": [asdict(t) for t in timings]}, indent=1))
        return 0
    for t in timings:
        print(f"{t.name:<28} {t.median_ms:8.3f} ms   {t.ratio:6.3f}x  [{t.ratio_ci[0]:.3f}, {t.ratio_ci[1]:.3f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
