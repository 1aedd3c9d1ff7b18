"""A face and networks so small that a test can write them: they see little, but what they see is the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.identity.embedder import ARCFACE
from edge_runtime.identity.landmarks import NAMES, TASK
from edge_runtime.settings import toml

ROOT = Path(__file__).resolve().parents[1]
FRACTIONS = (0.37, 0.42, 0.63, 0.42, 0.5, 0.57, 0.4, 0.7, 0.6, 0.7)
"""Where the points of a face from the front are in the landmark head's crop."""


def face_photo(scale: int = 2) -> NDArray[np.uint8]:
    """A face from the front, cut out of a picture of a clip (Intel IoT DevKit sample videos, CC BY 4.0); 41 px wide."""
    bgr = cv2.imread(str(ROOT / "tests/three_people.jpg"))
    framed = cv2.copyMakeBorder(bgr[84:147, 62:105], 24, 24, 24, 24, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(framed, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def write_landmarks(path: Path) -> Path:
    """A landmark head that takes every face for one from the front."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["bgr"], ["mean"]),
        helper.make_node("Conv", ["mean", "nothing", "where"], ["points"], kernel_shape=[1, 1]),
    ]
    weights = {"nothing": np.zeros((10, 3, 1, 1), np.float32), "where": np.array(FRACTIONS, np.float32)}
    facts = {
        "format": 1, "name": "front", "task": TASK, "classes": NAMES, "size_wh": [64, 64], "size_multiple": 64,
        "decoding": "points", "strides": [64],
    }  # fmt: skip
    _write(path, nodes, "bgr", ["n", 3, 64, 64], "points", ["n", 10, 1, 1], weights, facts)
    return path


def write_embedder(path: Path, *, cell_px: int = 14, threshold: float = 0.05) -> Path:
    """An embedder whose answer is the face in 112 / cell_px squared cells; only the same picture is near."""
    nodes = [
        helper.make_node("AveragePool", ["face"], ["cells"], kernel_shape=[cell_px] * 2, strides=[cell_px] * 2),
        helper.make_node("Flatten", ["cells"], ["embedding"]),
    ]
    _write(path, nodes, "face", [1, 3, 112, 112], "embedding", [1, 3 * (112 // cell_px) ** 2], {}, {})
    path.with_name(f"{path.stem}.adapter.toml").write_text(
        f'input_px = 112\ntemplate = {toml(ARCFACE)}\nmetric = "cosine"\nthreshold = {threshold}\n'
        "mean = [127, 127, 127]\n"
    )
    return path


def face_settings(folder: Path) -> list[str]:
    """`--set` of a node that uses both, its state in the same folder."""
    landmarks, embedder = write_landmarks(folder / "points.onnx"), write_embedder(folder / "cells.onnx")
    return [f"identity.landmarks={landmarks}", f"identity.embedder={embedder}", f"node.state={folder / 'state'}"]


def _write(
    path: Path, nodes: list[onnx.NodeProto], source: str, takes: list[int | str], output: str, gives: list[int | str],
    weights: dict[str, NDArray[np.float32]], facts: dict[str, object],
) -> None:  # fmt: skip
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if facts:
        helper.set_model_props(model, {"edge": json.dumps(facts)})
    onnx.save(model, path)
