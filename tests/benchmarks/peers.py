"""Detectors by others, run and read as their authors would have it, so that they stand beside ours.

What each wants of its input is a fact of its file; `shared/peers/peers.json` says where from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from build_tools.data.coco import LABELS
from build_tools.data.decoders import COCO80, DECODERS
from build_tools.data.pictures import InputEntry, Preparation
from build_tools.evaluation.evaluate import CROP_PX, SCORE_MIN
from build_tools.model import Model, load_model
from edge_runtime.bench.interleaved import session_options
from edge_runtime.config import AttentionConfig, CroppingConfig
from edge_runtime.cropping.planner import plan_windows
from edge_runtime.datatypes import Detections, Frame
from edge_runtime.geometry import Boxes, non_maximum_suppression

MAX_BOXES = 2000
"""Best boxes that suppression looks at."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A detector by others.

    Attributes:
        name: of its row.
        file: in the folder of peers.
        decoder: in `data.decoders`.
        knows: faces, or COCO's 80 classes.
        entry: how a picture becomes its input.
        fixed: its input size cannot be chosen.
        stretched: the picture is stretched into its input instead of letterboxed.
    """

    name: str
    file: str
    decoder: str
    knows: Literal["faces", "coco80"]
    entry: InputEntry
    fixed: bool = False
    stretched: bool = False

    def model(self, folder: Path) -> Model:
        """Its network; UltraFace's is freed of its one input size."""
        found = load_model(folder / self.file)
        if self.decoder == "ultraface":
            _free_size(found.proto)
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        """What it can find, of what we know."""
        return ("face",) if self.knows == "faces" else tuple(COCO80.values())


YUNET = InputEntry(multiple=32)
ULTRAFACE = InputEntry(colour="rgb", mean=(127.0,), std=(128.0,))
PEERS = (
    Peer("yunet_s", "yunet_s.onnx", "yunet", "faces", YUNET),
    Peer("yunet_n", "yunet_n.onnx", "yunet", "faces", YUNET),
    Peer("ultraface_slim", "ultraface_slim_320.onnx", "ultraface", "faces", ULTRAFACE),
    Peer("ultraface_rfb", "ultraface_rfb_320.onnx", "ultraface", "faces", ULTRAFACE),
    Peer("yoloface_50k", "yoloface_50k.onnx", "yoloface", "faces", InputEntry(multiple=8, colour="rgb", std=(255.0,))),
    Peer(
        "blazeface", "blazeface_front_128.onnx", "blazeface", "faces",
        InputEntry((128, 128), colour="rgb", mean=(127.5,), std=(127.5,)), fixed=True,
    ),
    Peer(
        "fastestdet", "fastestdet_352.onnx", "fastestdet", "coco80",
        InputEntry((352, 352), std=(255.0,)), fixed=True, stretched=True,
    ),
    Peer(
        "nanodet_m", "nanodet_m_320.onnx", "nanodet", "coco80",
        InputEntry((320, 320), mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)), fixed=True,
    ),
    Peer("yolox_nano", "yolox_nano_416.onnx", "yolox", "coco80", InputEntry((416, 416), pad=114), fixed=True),
)  # fmt: skip


def sized(entry: InputEntry, size_wh: tuple[int, int]) -> InputEntry:
    """The entry for another size of pictures."""
    return InputEntry(size_wh, entry.multiple, entry.colour, entry.mean, entry.std, entry.pad)


def looker(peer: Peer, folder: Path, size_wh: tuple[int, int]) -> Callable[[Frame], tuple[Detections, Boxes]]:
    """From a frame to what the peer finds in it, and the windows that the runtime's planner would crop of that."""
    model = peer.model(folder)
    session = ort.InferenceSession(
        model.proto.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    prepare = Preparation(peer.entry if peer.fixed else sized(peer.entry, size_wh), model.proto)
    decode, iou_max = DECODERS[peer.decoder]

    def look(frame: Frame) -> tuple[Detections, Boxes]:
        bgr = np.asarray(frame.main, np.uint8)
        w, h = prepare.canvas_wh
        ready = prepare(_stretched(bgr, (w, h)) if peer.stretched else bgr)
        scale = np.array((w / bgr.shape[1], h / bgr.shape[0]) if peer.stretched else (ready.scale,) * 2, np.float32)
        outputs = [np.asarray(o) for o in session.run(None, {prepare.name: ready.blob})]
        boxes, scores, labels = decode(outputs, w, h)
        likely = np.flatnonzero(scores >= SCORE_MIN)
        likely = likely[np.argsort(-scores[likely], kind="stable")[:MAX_BOXES]]
        boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
        kept = non_maximum_suppression(boxes, scores, labels, iou_max)
        limit = np.array(frame.size_wh * 2, np.float32)
        inside = np.clip(boxes[kept] / np.tile(scale, 2), 0, limit).astype(np.float32)
        found = Detections(inside, scores[kept].astype(np.float32), labels[kept].astype(np.int32), LABELS)
        regions = found.select(found.scores >= AttentionConfig().score_min)
        return found, plan_windows(regions, (), frame.size_wh, CROP_PX, CroppingConfig()).windows

    return look


def _stretched(bgr: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _free_size(proto: onnx.ModelProto) -> None:
    """Let the row counts in the head's Reshapes follow the input, whose sides are then free."""
    shapes = {n.input[1] for n in proto.graph.node if n.op_type == "Reshape"}
    for tensor in proto.graph.initializer:
        if tensor.name in shapes:
            shape = numpy_helper.to_array(tensor).copy()
            shape[1] = -1
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
    for value, first in ((proto.graph.input[0], 2), *((o, 1) for o in proto.graph.output)):
        for index, side in enumerate(value.type.tensor_type.shape.dim[first:]):
            side.dim_param = f"free{index}"
    del proto.graph.value_info[:]
