"""Networks for tests of who is who: ours where they are shipped, else peers of the shared folder in their place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_runtime.config import IdentityConfig
from edge_runtime.datatypes import Picture
from edge_runtime.engine import open_model
from edge_runtime.errors import ConfigError
from edge_runtime.identity.embedder import OnnxEmbedder
from edge_runtime.identity.finder import FaceFinder
from edge_runtime.identity.reader import FINDER, FaceNetworks
from edge_runtime.imaging.part import square_bgr

SHARED = Path(__file__).resolve().parents[2] / "shared"
PERSONS = SHARED / "data/identity"
CLIPS = SHARED / "data/clips"
DLIB = SHARED / "peers/dlib_face_resnet.onnx"
YUNET = SHARED / "peers/yunet_n.onnx"
ADAPTER = """input_px = 150
template = [[46.2, 44.5], [101.4, 44.1], [74.4, 73.9], [50.4, 100.7], [97.9, 100.3]]
metric = "euclidean"
threshold = 0.55
"""


class YuNetPoints:
    """YuNet's five points where our landmark head is not there yet; never in the product."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(YUNET), options)

    def points(self, picture: Picture, box: Sequence[float]) -> NDArray[np.float32]:
        """Of the cell that scores best in a square of twice the face's side, 128 px across."""
        side = round(2 * max(box[2] - box[0], box[3] - box[1]))
        x, y = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
        crop = square_bgr(picture, (x, y, x + side, y + side), 128)
        names = [f"{kind}_{stride}" for stride in (8, 16, 32) for kind in ("cls", "obj", "kps")]
        said = self._session.run(names, {"input": crop.transpose(2, 0, 1)[None].astype(np.float32)})
        best, found = -1.0, np.zeros((5, 2))
        for k, stride in enumerate((8, 16, 32)):
            scores = (said[3 * k] * said[3 * k + 1])[0, :, 0]
            cell = int(np.argmax(scores))
            if scores[cell] > best:
                row, column = divmod(cell, 128 // stride)
                best = float(scores[cell])
                found = (said[3 * k + 2][0, cell].reshape(5, 2) + np.array([column, row])) * stride
        return np.asarray(found * side / 128 + (x, y), np.float32)


def networks(folder: Path) -> FaceNetworks:
    """Ours; peers where one of ours is not shipped yet.

    Args:
        folder: where the peer's adapter is written.
    """
    try:
        return FaceNetworks.of(IdentityConfig())
    except ConfigError:
        model = folder / "dlib.onnx"
        if not model.exists():
            model.symlink_to(DLIB)
            (folder / "dlib.adapter.toml").write_text(ADAPTER)
        return FaceNetworks(FaceFinder(open_model(FINDER, "attention")), YuNetPoints(), OnnxEmbedder(model))


def persons(part: str) -> dict[str, list[Path]]:
    """The photos of each person of `calibration`, or of the strangers, one each."""
    split = json.loads((PERSONS / "split.json").read_text())
    if part == "strangers":
        return {Path(name).stem: [PERSONS / "strangers" / Path(name).name] for name in split["strangers"]}
    return {name: [PERSONS / name / f"{i + 1:02d}.jpg" for i in range(n)] for name, n in split[part].items()}


def photo(path: Path) -> NDArray[np.uint8]:
    """A picture as BGR."""
    return np.asarray(cv2.imread(str(path)), np.uint8)
