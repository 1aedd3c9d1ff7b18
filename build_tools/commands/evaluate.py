"""`edge-build evaluate`: precision and recall on a labelled set, the error on MNIST, of an embedder or of a reader."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from build_tools.commands.arguments import positive, share, size_wh
from build_tools.errors import DataError, ModelError, RecipeError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its arguments."""
    evaluate = commands.add_parser("evaluate", help="average precision and recall on a labelled set, or MNIST's error")
    evaluate.add_argument("model", type=Path, help="ONNX network or bundle; the attention network with --detector")
    evaluate.add_argument("--detector", type=Path, help="crop detector: evaluate both, as the runtime runs them")
    evaluate.add_argument("--data", type=Path, help="COCO JSON")
    evaluate.add_argument("--images", type=Path, help="folder its file names are relative to")
    evaluate.add_argument("--size", type=size_wh, default=(320, 240), metavar="WxH", help="input size (320x240)")
    evaluate.add_argument("--group", action="append", default=[], metavar="NAME=A,B", help="count labels together")
    evaluate.add_argument("--budget", type=positive, default=8, help="crops a picture at the most (8)")
    evaluate.add_argument("--region-score", type=share, help="regions scored below this are not cropped (0.25)")
    digits = evaluate.add_argument_group("digits")
    digits.add_argument("--mnist", type=Path, metavar="DIR", help="MNIST's folder: error in percent, bytes")
    digits.add_argument(
        "--split", choices=("test", "validation"), default="test", help="test, or the last 5,000 training digits"
    )
    digits.add_argument("--divisor", type=float, default=255.0, help="pixels 0..255 are divided by this (255)")
    persons = evaluate.add_argument_group("persons")
    persons.add_argument("--identity", type=Path, metavar="DIR", help="identity pack: equal error rate of an embedder")
    persons.add_argument(
        "--landmarks", type=Path, metavar="MODEL", help="aligns faces (default: our landmark head); yunet_n.onnx"
    )
    persons.add_argument(
        "--adapter", type=Path, metavar="TOML", help="how MODEL wants faces or plates (default: beside it, or ours)"
    )
    persons.add_argument("--plot", type=Path, metavar="F.png", help="draw the verification curves")
    plates = evaluate.add_argument_group("plates")
    plates.add_argument("--plates", type=Path, metavar="DIR", help="plate-text pack: what a plate reader reads wrongly")
    evaluate.add_argument("--json", action="store_true", help="all figures, for machines")
    evaluate.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    if args.mnist:
        return _digits(args)
    if args.identity:
        return _persons(args)
    if args.plates:
        return _plates(args)
    if not (args.data and args.images):
        raise RecipeError(
            "evaluate needs --data and --images, --mnist, --identity or --plates; see `edge-build evaluate --help`"
        )
    from dataclasses import replace

    from tqdm import tqdm

    from build_tools.data.coco import read_pack
    from build_tools.evaluation.evaluate import Subject, evaluate, parse_group
    from edge_runtime.config import AttentionConfig, CroppingConfig

    attention = AttentionConfig()
    if args.region_score is not None:
        attention = replace(attention, score_min=args.region_score)
    subject = Subject(args.model, args.detector, args.size, replace(CroppingConfig(), budget=args.budget), attention)
    _check_files(args)
    samples, groups = read_pack(args.data, args.images), dict(parse_group(g) for g in args.group)
    if missing := [s.path.name for s in samples if not s.path.is_file()]:
        raise DataError(
            f"--images {args.images}: {len(missing)} of the {len(samples)} pictures that {args.data} names are not "
            f"there, as {missing[0]}; give the folder that its file names are relative to"
        )
    with tqdm(total=len(samples), desc="evaluating", unit="picture", disable=not sys.stderr.isatty()) as bar:
        found = evaluate(subject, samples, groups, bar.update)
    print(json.dumps(found, indent=1) if args.json else _table(found))
    return 0


def _check_files(args: argparse.Namespace) -> None:
    """Say which argument names something that is not there."""
    if not args.images.is_dir():
        raise DataError(f"--images {args.images}: no such folder; give the one that holds the pictures of {args.data}")
    if not args.model.is_file():
        raise ModelError(f"MODEL {args.model}: no such model file; check the path")
    if args.detector is not None and not args.detector.is_file():
        raise ModelError(f"--detector {args.detector}: no such model file; check the path")


def _digits(args: argparse.Namespace) -> int:
    from build_tools.evaluation.classification import evaluate_digits

    found = evaluate_digits(args.model, args.mnist, args.split, args.divisor)
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    weights = f", weights {found['weights_bytes']:,}" if "weights_bytes" in found else ""
    print(f"{found['error']:.2f} % of {found['digits']:,} digits read wrongly; {found['model_bytes']:,} bytes{weights}")
    return 0


def _persons(args: argparse.Namespace) -> int:
    from build_tools.data.aligned_faces import open_adapter
    from build_tools.evaluation.identity import evaluate_identity
    from edge_runtime.adapters import adapter_path
    from edge_runtime.shipped import shipped

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    beside = adapter_path(args.model)
    adapter = args.adapter or (beside if beside.is_file() else shipped("face_embedder.adapter.toml"))
    landmarks = args.landmarks or shipped("face_landmarks.edge")
    found, curves = evaluate_identity(args.model, args.identity, landmarks, open_adapter(adapter), tell)
    tell("")
    if args.plot:
        from build_tools.report.plots import verification_curves

        verification_curves(curves, args.plot, args.model.name)
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    rows = {"as they are": found, **{f"{px} px": row for px, row in found["by_face_px"].items()}}
    for name, row in rows.items():
        print(f"{name:<12} equal error rate {row['eer']:.4f}, false rejects at 1 % {row['frr_at_far1']:.4f}")
    print(
        f"{found['pairs_same']:,} pairs of one person, {found['pairs_other']:,} of two; threshold "
        f"{found['threshold']:.3f}; {found['model_bytes']:,} bytes and {found['landmarks_bytes']:,} for landmarks"
    )
    return 0


def _plates(args: argparse.Namespace) -> int:
    from build_tools.evaluation.plates import evaluate_plates
    from edge_runtime.adapters import adapter_path, read_adapter_file
    from edge_runtime.plates.adapter import ReaderAdapter
    from edge_runtime.shipped import shipped

    beside = adapter_path(args.model)
    path = args.adapter or (beside if beside.is_file() else shipped("plate_reader.adapter.toml"))
    found = evaluate_plates(args.model, args.plates, read_adapter_file(ReaderAdapter, path))
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, row in {**found["by_source"], "all": found}.items():
        print(
            f"{name:<6} {row['whole']:.3f} of {row['plates']:.0f} plates wholly right, "
            f"{row['error']:.4f} of the characters wrong"
        )
    print(f"{found['model_bytes']:,} bytes")
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
    lines += [_left_out(name, told, found["images"]) for name, told in found["skipped"].items()]
    return "\n".join(lines)


def _left_out(name: str, told: dict, images: int) -> str:  # type: ignore[type-arg]
    """Why pictures did not count for a class or group, and the group that they would count for."""
    lacking, rest = told["unlabelled"], [m for m in told["group"] if m not in told["unlabelled"]]
    line = f"{name}: {told['images']} of {images} pictures left out, as {' and '.join(lacking)} is not labelled in them"
    return f"{line}; to count them: --group {name}={','.join(rest)}" if rest else line
