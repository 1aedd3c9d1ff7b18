"""Scores a network, or attention and detector together as the runtime runs them, on a labelled set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import LABELS, Sample
from build_tools.data.pictures import read_bgr
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.detection import Scored, report
from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import AttentionConfig, CroppingConfig, DetectionConfig
from edge_runtime.cropping.planner import plan_windows
from edge_runtime.datatypes import VEHICLES, CropPlan, Detections, Frame
from edge_runtime.detection.detector import CropDetector
from edge_runtime.detection.fusion import fuse
from edge_runtime.engine import OnnxEngine
from edge_runtime.geometry import Boxes, letterbox_scale, share_inside
from edge_runtime.imaging.lores import make_lores

SCORE_MIN = 0.02
"""Detections scored below this are not counted, as for the peers."""
CROP_PX = 160
"""Side of the crops where no detector says it: that of the shipped one's."""
INSIDE_SHARE = 0.95
"""A crop holds a truth when at least this share of its area is inside."""

Looker = Callable[[Frame], tuple[Detections, Boxes]]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated: an attention network or any centre network by itself, or attention with a detector."""

    model: Path
    detector: Path | None
    size_wh: tuple[int, int]
    cropping: CroppingConfig
    attention: AttentionConfig


def evaluate(
    subject: Subject,
    samples: Sequence[Sample],
    groups: dict[str, tuple[str, ...]],
    progress: Callable[[int], None],
) -> dict[str, object]:
    """All figures of the design's `evaluate --json`.

    Args:
        subject: what is evaluated and at which size.
        samples: labelled pictures.
        groups: labels counted together under another name, in truths and detections alike.
        progress: told of each picture done.

    Raises:
        DataError: a picture cannot be read, or the model has none of the labelled classes.
        FormatError: a model cannot be read.
    """
    look, names, crop_px = looker(subject)
    files = [subject.model] + ([subject.detector] if subject.detector else [])
    return {
        **measure(look, names, samples, groups, subject.size_wh, progress),
        "model_bytes": sum(f.stat().st_size for f in files),
        "crop_px": crop_px,
        "crop_budget": subject.cropping.budget,
    }


def measure(
    look: Looker, names: Sequence[str], samples: Sequence[Sample], groups: dict[str, tuple[str, ...]],
    size_wh: tuple[int, int], progress: Callable[[int], None],
) -> dict[str, object]:  # fmt: skip
    """All figures of anything that looks at frames; `skipped` says which pictures told nothing of a class, and why.

    Args:
        look: from a frame, detections, faint ones too, and the windows that would be cropped.
        names: what it may find.
        samples: labelled pictures.
        groups: labels counted together under another name.
        size_wh: of the small picture; sizes of truths are told at its scale.
        progress: told of each picture done.

    Raises:
        DataError: a picture cannot be read, or it finds none of the labelled classes.
    """
    if "vehicle" in names and "vehicle" not in groups:
        groups = {**groups, "vehicle": VEHICLES}
    labelled = {label for s in samples for label in LABELS if label not in s.unknown}
    classes = {_grouped(label, groups) for label in labelled} & {_grouped(name, groups) for name in names}
    if not classes:
        raise DataError(
            f"the pictures have labels of {', '.join(sorted(labelled))}, but the model finds only {', '.join(names)}; "
            "use --group"
        )
    per_class: dict[str, list[Scored]] = {name: [] for name in sorted(classes)}
    unlabelled: dict[str, list[set[str]]] = {name: [] for name in per_class}
    for sample in samples:
        bgr = read_bgr(sample)
        found, windows = look(Frame(bgr, make_lores(bgr, size_wh), 0, 0))
        scale = letterbox_scale(sample.size_wh, size_wh)
        for name, items in per_class.items():
            members = groups.get(name, (name,))
            if unknown := labelled & sample.unknown & set(members):
                unlabelled[name].append(unknown)
                continue  # not all is known of this class here: neither truths nor false alarms
            items.append(_scored(sample, members, found, name, groups, windows, scale))
        progress(1)
    return {
        **report(per_class),
        "images": len(samples),
        "input_wh": list(size_wh),
        "classes": sorted(classes),
        "skipped": {
            name: {"images": len(labels), "unlabelled": sorted(set().union(*labels)), "group": groups.get(name, [name])}
            for name, labels in unlabelled.items()
            if labels
        },
    }


def parse_group(text: str) -> tuple[str, tuple[str, ...]]:
    """`vehicle=car,truck` as ("vehicle", ("car", "truck")).

    Raises:
        RecipeError: another form, or an unknown label.
    """
    name, equals, members = text.partition("=")
    labels = tuple(m.strip() for m in members.split(",") if m.strip())
    unknown = [m for m in labels if m not in LABELS]
    if not equals or not name.strip() or not labels or unknown:
        raise RecipeError(f"--group {text}: must look like vehicle=car,truck with labels of {', '.join(LABELS)}")
    return name.strip(), labels


def looker(subject: Subject) -> tuple[Looker, tuple[str, ...], int]:
    """A function from a frame to detections and crop windows; its class names; the crop's side."""
    engine = OnnxEngine(subject.model)
    generous = replace(subject.attention, score_min=SCORE_MIN)
    network = AttentionNetwork(engine, generous)
    detector = None
    if subject.detector is not None:
        detector = CropDetector(OnnxEngine(subject.detector, "detector"), DetectionConfig(), subject.cropping.budget)
    crop_px = detector.crop_px if detector else CROP_PX

    def look(frame: Frame) -> tuple[Detections, Boxes]:
        found = network(frame)
        regions = found.select(found.scores >= subject.attention.score_min)
        chosen: CropPlan = plan_windows(regions, (), frame.size_wh, crop_px, subject.cropping)
        if detector is not None:
            found = fuse(detector(frame.main, chosen, frame.size_wh), regions)
        return found, chosen.windows

    names = detector.classes if detector else engine.facts.classes
    return look, names, crop_px


def _grouped(label: str, groups: dict[str, tuple[str, ...]]) -> str:
    return next((name for name, members in groups.items() if label in members), label)


def _scored(
    sample: Sample, members: tuple[str, ...], found: Detections, name: str, groups: dict[str, tuple[str, ...]],
    windows: Boxes, scale: float,
) -> Scored:  # fmt: skip
    ids = [LABELS.index(m) for m in members if m in LABELS]
    own, crowd = np.isin(sample.labels, ids), np.isin(sample.ignore_labels, ids)
    truth = np.concatenate([sample.boxes[own], sample.ignore[crowd]])
    mine: NDArray[np.bool_] = np.array([_grouped(n, groups) == name for n in found.names])[found.labels]
    order = np.argsort(-found.scores[mine], kind="stable")
    side = (truth[:, 2:] - truth[:, :2]).min(1, initial=np.inf) * scale
    inside: NDArray[np.bool_] = np.zeros(len(truth), np.bool_)
    if len(windows):
        inside = np.asarray((share_inside(truth, windows) >= INSIDE_SHARE).any(1))
    return Scored(
        found.boxes[mine][order], found.scores[mine][order], truth, np.arange(len(truth)) >= own.sum(),
        side.astype(np.float32), sample.source, inside,
    )  # fmt: skip
