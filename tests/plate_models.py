"""Networks for plates so small that a test can write them: plates are stripes, boxes are where they were put."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INKS = {"A": (255, 0, 0), "B": (0, 255, 0), "_": (0, 0, 255)}
"""Blue is an A, green a B, red is nothing."""
STRIPES = 8
READER = 'input_wh = [64, 16]\nalphabet = "AB"\ncolour = "bgr"\n'


def striped(signs: str, size_wh: tuple[int, int] = (64, 16)) -> NDArray[np.uint8]:
    """A plate of eight stripes."""
    assert len(signs) == STRIPES
    w, h = size_wh
    row = np.array([INKS[sign] for sign in signs], np.uint8).repeat(w // STRIPES, 0)
    return np.broadcast_to(row[None], (h, *row.shape)).copy()


def write_striped_reader(path: Path, adapter: str = READER, *, gives: str = "columns", kind: int = TensorProto.FLOAT, takes: Sequence[int] = (1, 3, 16, 64)) -> Path:  # fmt: skip  # noqa: E501
    """A reader of stripes: the mean of each channel in each of them.

    Args:
        path: of the ONNX; its adapter is written beside it.
        adapter: text of that.
        gives: columns [1, 3, 1, 8], rows [1, 8, 3], or flat [1, 24].
        kind: of its input's numbers.
        takes: shape of its input.
    """
    stripe = {"kernel_shape": [16, 8], "strides": [16, 8]}
    nodes = [helper.make_node("Cast", ["plate"], ["real"], to=TensorProto.FLOAT)]
    source = "real"
    if takes[3] == 3:
        nodes.append(helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]))
        source = "planes"
    nodes.append(helper.make_node("AveragePool", [source], ["columns"], **stripe))
    weights = []
    shape = [1, 3, 1, STRIPES]
    if gives != "columns":
        nodes.append(helper.make_node("Transpose", ["columns"], ["turned"], perm=[0, 2, 3, 1]))
        shape = [1, STRIPES, 3] if gives == "rows" else [1, 3 * STRIPES]
        weights.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", ["turned", "shape"], [gives]))
    _save(path, nodes, ("plate", kind, takes), (gives, shape), weights, adapter)
    return path


def write_finder(path: Path, boxes: Sequence[Sequence[float]], adapter: str, *, size_wh: tuple[int, int] = (96, 64), columns: bool = False) -> Path:  # fmt: skip  # noqa: E501
    """A detector that always answers with the same boxes, a row each, or a column each."""
    rows = np.array(boxes, np.float32)[None]
    rows = rows.transpose(0, 2, 1) if columns else rows
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["always", "zero"], ["boxes"]),
    ]
    weights = [numpy_helper.from_array(rows, "always"), numpy_helper.from_array(np.zeros(1, np.float32), "nothing")]
    takes = (1, 3, size_wh[1], size_wh[0])
    _save(path, nodes, ("picture", TensorProto.FLOAT, takes), ("boxes", list(rows.shape)), weights, adapter)
    return path


def _save(
    path: Path, nodes: list[onnx.NodeProto], source: tuple[str, int, Sequence[int]], output: tuple[str, list[int]],
    weights: list[onnx.TensorProto], adapter: str,
) -> None:  # fmt: skip
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    path.with_name(f"{path.stem}.adapter.toml").write_text(adapter)
