"""Teachers: other people's detectors that fill in what a pack did not label.

Only what a teacher *says* of a picture is used (its boxes), never its weights. Which teacher, at which size and
threshold, stands in the recipe and so on the model card.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID, Sample
from build_tools.errors import DataError, ModelError
from edge_runtime.geometry import iou, non_maximum_suppression

F32 = NDArray[np.float32]
Found = tuple[F32, F32, NDArray[np.int32]]
"""Boxes [n, 4] xyxy in picture pixels, scores [n], labels [n] (indices into LABELS)."""

COCO80 = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """One teacher as a recipe names it."""

    model: str
    decoder: str
    size_wh: tuple[int, int]
    labels: tuple[str, ...]
    accept: float
    doubt: float


def _grid(w: int, h: int, stride: int) -> tuple[F32, F32]:
    rows, cols = np.mgrid[0 : h // stride, 0 : w // stride].astype(np.float32)
    return cols.ravel(), rows.ravel()


def _centred(cx: F32, cy: F32, w: F32, h: F32) -> F32:
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1).astype(np.float32)


def _yunet(outputs: list[F32], w: int, h: int) -> Found:
    """YuNet (Wu et al. 2023): nine-tuple of maps per stride; score is the mean geometric of two sigmoids."""
    boxes, scores = [], []
    for level, stride in enumerate((8, 16, 32)):
        d = outputs[6 + level][0]
        cols, rows = _grid(w, h, stride)
        sides = np.exp(np.minimum(d[:, 2:], 10.0)) * stride
        boxes.append(_centred((cols + d[:, 0]) * stride, (rows + d[:, 1]) * stride, sides[:, 0], sides[:, 1]))
        scores.append(np.sqrt(np.clip(outputs[level][0, :, 0] * outputs[3 + level][0, :, 0], 0, 1)))
    flat = np.concatenate(scores)
    return np.concatenate(boxes), flat, np.full(len(flat), LABEL_ID["face"], np.int32)


def _yolox(outputs: list[F32], w: int, h: int) -> Found:
    """YOLOX (Ge et al. 2021): rows of offsets, log sides, objectness and 80 classes at strides 8, 16, 32."""
    d = outputs[0][0]
    grids = [(*_grid(w, h, s), s) for s in (8, 16, 32)]
    cols, rows = np.concatenate([g[0] for g in grids]), np.concatenate([g[1] for g in grids])
    stride = np.concatenate([np.full(len(g[0]), g[2], np.float32) for g in grids])
    sides = np.exp(d[:, 2:4]) * stride[:, None]
    boxes = _centred((d[:, 0] + cols) * stride, (d[:, 1] + rows) * stride, sides[:, 0], sides[:, 1])
    ours = sorted(COCO80)
    per_class = d[:, 4:5] * d[:, [5 + i for i in ours]]
    labels = np.array([LABEL_ID[COCO80[i]] for i in ours], np.int32)[per_class.argmax(1)]
    return boxes, per_class.max(1), labels


DECODERS: dict[str, tuple[Callable[[list[F32], int, int], Found], int, int]] = {
    "yunet": (_yunet, 32, 0),
    "yolox": (_yolox, 32, 114),
}
"""Decoder, the multiple its input is padded to, and the value of the padding."""


class Teacher:
    """A detector by others; one verb: call it with a BGR picture."""

    def __init__(self, config: TeacherConfig, folder: Path) -> None:
        if config.decoder not in DECODERS:
            raise ModelError(f"teacher decoder {config.decoder}: must be one of {', '.join(DECODERS)}")
        self.path = folder / config.model
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such teacher; check `teachers.model` in the recipe")
        self.config = config
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"{self.path}: not a usable model; fetch it again ({str(error)[:120]})") from error

    def __call__(self, bgr: NDArray[np.uint8]) -> Found:
        decode, multiple, pad = DECODERS[self.config.decoder]
        w, h = self.config.size_wh
        scale = min(w / bgr.shape[1], h / bgr.shape[0])
        small = cv2.resize(
            bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        small = small[:h, :w]
        canvas = np.full((h + -h % multiple, w + -w % multiple, 3), pad, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        blob = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        outputs = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        boxes, scores, labels = decode(outputs, canvas.shape[1], canvas.shape[0])
        likely = np.flatnonzero(scores >= self.config.doubt)
        boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
        kept = non_maximum_suppression(boxes, scores, labels, 0.45)
        limit = np.array((bgr.shape[1], bgr.shape[0]) * 2, np.float32)
        return np.clip(boxes[kept] / scale, 0, limit).astype(np.float32), scores[kept], labels[kept]


def ask(teacher: Teacher, samples: Iterable[Sample], cache: Path, progress: Callable[[int], None]) -> dict[str, Found]:
    """What the teacher finds on each sample, by path; kept in `cache` so that it is asked once.

    Raises:
        DataError: a picture cannot be read.
    """
    digest = hashlib.sha256(teacher.path.read_bytes() + repr(teacher.config).encode()).hexdigest()[:16]
    file = cache / f"{teacher.path.stem}-{digest}.jsonl"
    known: dict[str, Found] = {}
    if file.is_file():
        text = file.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # a killed run tore the last line; what is added must not stick to it
            file.write_text(whole)
        for line in whole.splitlines():
            row = json.loads(line)
            known[row["path"]] = (
                np.array(row["boxes"], np.float32).reshape(-1, 4),
                np.array(row["scores"], np.float32),
                np.array(row["labels"], np.int32),
            )
    cache.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        for sample in samples:
            name = key(sample)
            if name not in known:
                bgr = cv2.imread(str(sample.path))
                if bgr is None:
                    raise DataError(f"{sample.path}: cannot be read as a picture")
                boxes, scores, labels = teacher(np.asarray(bgr, np.uint8))
                # Rounded here as in the file, or a resumed training would see other boxes than the first run.
                known[name] = boxes.round(3), scores.round(3), labels
                rows = [a.tolist() for a in known[name]]
                out.write(json.dumps({"path": name, "boxes": rows[0], "scores": rows[1], "labels": rows[2]}) + "\n")
            progress(1)
    return known


def key(sample: Sample) -> str:
    """The sample's name in what a teacher said: its path, as far as it does not depend on the machine."""
    return "/".join(sample.path.parts[-4:])


def complete(sample: Sample, found: Found, config: TeacherConfig) -> Sample:
    """`sample` with the teacher's labels filled in.

    - A label the pack did not give, or gave only loosely: the teacher's boxes scored `accept` or more become
      objects, those between `doubt` and `accept` become places to ignore, and loose boxes that the teacher did not
      confirm become places to ignore too.
    - A label the pack did give: the pack's boxes stay; what the teacher is sure of and the pack lacks is ignored.
    """
    boxes, scores, labels = found
    for name in config.labels:
        mine = labels == LABEL_ID[name]
        own = sample.labels == LABEL_ID[name]
        missing = name in sample.unknown
        if missing or sample.loose:
            sure = mine & (scores >= config.accept)
            loose = sample.boxes[own]
            sample = replace(
                sample,
                boxes=np.concatenate([sample.boxes[~own], boxes[sure]]),
                labels=np.concatenate([sample.labels[~own], labels[sure]]),
                ignore=np.concatenate([sample.ignore, boxes[mine & ~sure], loose]),
                ignore_labels=np.concatenate(
                    [
                        sample.ignore_labels,
                        labels[mine & ~sure],
                        np.full(len(loose), LABEL_ID[name], np.int32),
                    ]
                ),
                unknown=sample.unknown - {name},
            )
        else:
            extra = mine & (scores >= config.accept)
            if own.any() and extra.any():
                extra[extra] &= iou(boxes[extra], sample.boxes[own]).max(1) < 0.4
            sample = replace(
                sample,
                ignore=np.concatenate([sample.ignore, boxes[extra]]),
                ignore_labels=np.concatenate([sample.ignore_labels, labels[extra]]),
            )
    return sample
