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
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from build_tools.data.coco import LABEL_ID, Sample
from build_tools.data.decoders import DECODERS, Found
from build_tools.errors import DataError, ModelError
from edge_runtime.geometry import iou, non_maximum_suppression


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """One teacher as a recipe names it."""

    model: str
    decoder: str
    size_wh: tuple[int, int]
    labels: tuple[str, ...]
    accept: float
    doubt: float


SHAPES = {"yunet": (32, 0), "yolox": (32, 114)}
"""The multiple that a teacher's input is padded to, and the value of the padding."""


class Teacher:
    """A detector by others; one verb: call it with a BGR picture.

    Args:
        config: as a recipe names it.
        folder: what its path starts from.
        any_size: open the sides of an input that was exported for one size.

    Raises:
        ModelError: no such file, no decoder for it, or not a model.
    """

    def __init__(self, config: TeacherConfig, folder: Path, *, any_size: bool = False) -> None:
        if config.decoder not in SHAPES:
            raise ModelError(f"teacher decoder {config.decoder}: must be one of {', '.join(SHAPES)}")
        self.path = folder / config.model
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such teacher; check `teachers.model` in the recipe")
        self.config = config
        self._session = open_session(self.path, any_size=any_size)

    @property
    def label_ids(self) -> NDArray[np.int32]:
        """Numbers of the labels it is asked for."""
        return np.array([LABEL_ID[name] for name in self.config.labels], np.int32)

    def __call__(self, bgr: NDArray[np.uint8]) -> Found:
        """What it finds in a picture of any size, scored `doubt` or more: boxes in the picture's pixels."""
        _, iou_max = DECODERS[self.config.decoder]
        multiple, pad = SHAPES[self.config.decoder]
        w, h = self.config.size_wh
        scale = min(w / bgr.shape[1], h / bgr.shape[0])
        small = cv2.resize(
            bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        small = small[:h, :w]
        canvas = np.full((h + -h % multiple, w + -w % multiple, 3), pad, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        boxes, scores, labels = self.dense(canvas)
        likely = np.flatnonzero(scores >= self.config.doubt)
        boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
        kept = non_maximum_suppression(boxes, scores, labels, iou_max)
        limit = np.array((bgr.shape[1], bgr.shape[0]) * 2, np.float32)
        return np.clip(boxes[kept] / scale, 0, limit).astype(np.float32), scores[kept], labels[kept]

    def dense(self, canvas: NDArray[np.uint8]) -> Found:
        """What it answers at every cell of every level, from the finest level on, row by row.

        Args:
            canvas: uint8 [h, w, 3] BGR, sides multiples of 32.

        Raises:
            ModelError: it does not take pictures of this size.
        """
        blob = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        try:
            outputs = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(
                f"{self.path}: takes no picture of {canvas.shape[1]}x{canvas.shape[0]}; if its graph holds one size, "
                f"give it as `teachers.size_wh` and leave `teachers.dense` out ({str(error).splitlines()[0][:120]})"
            ) from error
        return DECODERS[self.config.decoder][0](outputs, canvas.shape[1], canvas.shape[0])


def open_session(path: Path, *, any_size: bool = False) -> ort.InferenceSession:
    """A teacher's session on one thread; `any_size`: see `Teacher`.

    Raises:
        ModelError: not a model that ONNX Runtime takes.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        model = _opened(path) if any_size else str(path)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{path}: not a usable model; fetch it again ({str(error)[:120]})") from error


def _opened(path: Path) -> bytes:
    """The model with the height and width of its pictures left open, for graphs that need no other change."""
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        for name, side in zip("nchw", value.type.tensor_type.shape.dim, strict=False):
            if value in proto.graph.output or name in "hw":
                side.dim_param = f"{value.name}_{name}"
    del proto.graph.value_info[:]
    whole: bytes = proto.SerializeToString()
    return whole


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
