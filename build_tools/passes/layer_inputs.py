"""What a layer's weights are multiplied with: second moments and means of its input patches, streamed.

A convolution is a matrix product of its filters with patches of its input; groups are products of their own. All
sums run over patches, so memory does not grow with the calibration data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.graph import Graph, Layer, attribute
from build_tools.model import F32
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration

MAX_WIDTH = 6144
"""Widest patch whose second moments are kept: 150 MB of float32. VGG-16's widest filter has 4,608."""


@dataclass(slots=True, eq=False)
class Moments:
    """Of the patches a weight sees.

    Attributes:
        gram: float32 [groups, k, k], mean of x x^T; None where only the diagonal was asked for.
        diagonal: float64 [groups, k], mean of x^2.
        mean: float64 [groups, k], mean of x.
        count: patches seen.
    """

    gram: F32 | None
    diagonal: NDArray[np.float64]
    mean: NDArray[np.float64]
    count: int


def supported(layer: Layer, node: onnx.NodeProto) -> bool:
    """Whether a layer's inputs can be laid out as patches (a transposed convolution's cannot)."""
    plain = layer.op in ("Conv", "MatMul", "Gemm")
    return plain and not (layer.op == "Gemm" and (attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1))


def stream_patches(
    proto: onnx.ModelProto, layers: Sequence[Layer], calibration: Calibration, positions: int, rng: np.random.Generator
) -> Iterator[tuple[Layer, F32]]:
    """For each feed and layer the patches [groups, p, k] at `positions` random places (all, if there are no more)."""
    graph = Graph(proto)
    inputs = {layer.node: graph.nodes[layer.index].input[0] for layer in layers}
    for values in stream(proto, list(inputs.values()), calibration):
        for layer in layers:
            yield layer, patches(values[inputs[layer.node]], layer, graph.nodes[layer.index], positions, rng)


def gather_moments(
    proto: onnx.ModelProto,
    layers: Sequence[Layer],
    calibration: Calibration,
    positions: int,
    rng: np.random.Generator,
    grams: bool = True,
) -> dict[str, Moments]:
    """Moments by weight name; layers that share a weight are taken together.

    Args:
        proto: the model.
        layers: those that are `supported`.
        calibration: see `Context`.
        positions: patches taken of each feed and layer.
        rng: chooses them.
        grams: also gather the second moments between inputs, where patches are at most `MAX_WIDTH` wide.
    """
    found: dict[str, Moments] = {}
    for layer, x in stream_patches(proto, layers, calibration, positions, rng):
        groups, count, width = x.shape
        if layer.weight not in found:
            gram = np.zeros((groups, width, width), np.float32) if grams and width <= MAX_WIDTH else None
            found[layer.weight] = Moments(gram, np.zeros((groups, width)), np.zeros((groups, width)), 0)
        mine = found[layer.weight]
        mine.count += count
        share = count / mine.count
        mine.diagonal += share * (np.einsum("gpk,gpk->gk", x, x, dtype=np.float64) / count - mine.diagonal)
        mine.mean += share * (x.mean(1, dtype=np.float64) - mine.mean)
        if mine.gram is not None:
            mine.gram *= np.float32(1 - share)
            mine.gram += np.matmul(x.transpose(0, 2, 1), x) * np.float32(share / count)
    return found


def patches(
    x: NDArray[np.generic], layer: Layer, node: onnx.NodeProto, positions: int, rng: np.random.Generator
) -> F32:
    """The rows a layer's weight is multiplied with, at random places.

    Args:
        x: the layer's input: [n, channels, ...] of a convolution, [..., k] of others.
        layer: one that is `supported`.
        node: its node.
        positions: how many places at most.
        rng: chooses them.

    Returns:
        float32 [groups, places, k]; k runs over (channel of the group, kernel place), as in the weight.
    """
    if layer.op != "Conv":
        flat = np.asarray(x, np.float32).reshape(-1, layer.shape[layer.in_axis])
        return np.ascontiguousarray(flat[_some(len(flat), positions, rng)])[None]
    kernel = layer.shape[2:]
    sides = len(kernel)
    strides = attribute(node, "strides", [1] * sides)
    dilations = attribute(node, "dilations", [1] * sides)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(node, x.shape[2:], reach, strides)
    padded = np.pad(np.asarray(x, np.float32), [(0, 0), (0, 0), *pads])
    axes = tuple(range(2, 2 + sides))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=axes)
    every = slice(None)
    index: tuple[Any, ...] = (every, every, *(slice(None, None, s) for s in strides))
    windows = windows[(*index, *(slice(None, None, d) for d in dilations))]
    places = (windows.shape[0], *windows.shape[2 : 2 + sides])
    picked = np.unravel_index(_some(int(np.prod(places)), positions, rng), places)
    index = (picked[0], every, *picked[1:])
    rows = windows[index]  # [p, channels, *kernel]
    rows = rows.reshape(len(rows), layer.groups, -1).transpose(1, 0, 2)
    return np.ascontiguousarray(rows)


def _some(total: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.arange(total) if total <= wanted else np.sort(rng.choice(total, wanted, replace=False))


def _pads(
    node: onnx.NodeProto, sides: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding before and after each side, `auto_pad` worked out (ONNX operator Conv)."""
    auto = attribute(node, "auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        whole = [max((-(-n // s) - 1) * s + r - n, 0) for n, r, s in zip(sides, reach, strides, strict=True)]
        halves = [(w // 2, w - w // 2) for w in whole]
        return halves if auto == "SAME_UPPER" else [(after, before) for before, after in halves]
    if auto == "VALID":
        return [(0, 0)] * len(sides)
    pads = attribute(node, "pads", [0] * 2 * len(sides))
    return list(zip(pads[: len(sides)], pads[len(sides) :], strict=True))
