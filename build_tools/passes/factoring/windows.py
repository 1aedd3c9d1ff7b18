"""What each output position of a layer sees of its input: windows, their sizes and their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from build_tools.errors import PassError
from build_tools.graph import Graph, Layer, Shape, attribute
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration
from build_tools.passes.factoring.decompose import Inputs

MOST_INPUTS = 6144
"""A layer that sees more inputs at once has no covariance taken: 300 MB at this size, and it grows with the square."""
MEMORY_BYTES = 384_000_000
"""Covariances kept at a time; a larger network streams its calibration data once more."""


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution moves over its input; no sides at all for a fully connected layer.

    Attributes:
        kernel, strides, dilations: one a side.
        pads: zeros before each side, then behind each.
        auto_pad: ONNX's, `NOTSET` where `pads` say it.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str

    def padded(self, sides: Sequence[int]) -> list[tuple[int, int]]:
        """Zeros before and behind each side of an input of these sides."""
        n = len(self.kernel)
        if self.auto_pad in ("NOTSET", ""):
            return [(self.pads[i], self.pads[n + i]) for i in range(n)]
        if self.auto_pad == "VALID":
            return [(0, 0)] * n
        pads = []
        for side, k, s, d in zip(sides, self.kernel, self.strides, self.dilations, strict=True):
            total = max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0)
            small = total // 2
            pads.append((small, total - small) if self.auto_pad == "SAME_UPPER" else (total - small, small))
        return pads


def window(node: onnx.NodeProto, layer: Layer) -> Window:
    """The window of a layer's node, ONNX's defaults filled in."""
    kernel = layer.shape[2:] if layer.op == "Conv" else ()
    n = len(kernel)
    auto = attribute(node, "auto_pad", b"NOTSET")
    return Window(
        kernel,
        tuple(attribute(node, "strides", [1] * n)),
        tuple(attribute(node, "dilations", [1] * n)),
        tuple(attribute(node, "pads", [0] * 2 * n)),
        auto.decode() if isinstance(auto, bytes) else str(auto),
    )


def seen(values: NDArray[Any], view: Window, positions: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The inputs of drawn output positions.

    Args:
        values: a layer's input: [n, in, *sides] of a convolution, else [..., in].
        view: its window.
        positions: drawn from each sample; 0: all.
        rng: draws them.

    Returns:
        float32 [count, d], d ordered as a weight [out, in, *kernel] reshaped to [out, d].
    """
    if not view.kernel:
        rows = values.reshape(-1, values.shape[-1])
        most = positions * len(values)
        if positions and len(rows) > most:
            rows = rows[rng.choice(len(rows), most, replace=False)]
        return np.asarray(rows, np.float32)
    n = len(view.kernel)
    around = np.pad(values, [(0, 0), (0, 0), *view.padded(values.shape[2:])])
    reach = tuple((k - 1) * d + 1 for k, d in zip(view.kernel, view.dilations, strict=True))
    windows = sliding_window_view(around, reach, axis=tuple(range(2, 2 + n)))
    every = (slice(None), slice(None))
    steps = (*view.strides, *view.dilations)
    windows = windows[every + tuple(slice(None, None, step) for step in steps)]
    sides = windows.shape[2 : 2 + n]
    total = int(np.prod(sides))
    taken = []
    for sample in windows:
        count = total if not positions else min(positions, total)
        drawn = np.arange(total) if count == total else rng.choice(total, count, replace=False)
        chosen = sample[(slice(None), *np.unravel_index(drawn, sides))]  # [in, count, *kernel]
        taken.append(np.moveaxis(chosen, 1, 0).reshape(count, -1))
    return np.concatenate(taken).astype(np.float32, copy=False)


def input_statistics(
    proto: onnx.ModelProto, layers: Sequence[Layer], calibration: Calibration, positions: int, rng: np.random.Generator
) -> dict[str, Inputs]:
    """Mean and second moment of what each layer sees, by weight name; layers with too many inputs are left out.

    Memory is bounded (`MEMORY_BYTES`): nothing is kept of a feed but sums.

    Raises:
        DataError: see `activations.stream`.
        PassError: calibration data without a sample.
    """
    graph = Graph(proto)
    found: dict[str, Inputs] = {}
    for group in _groups([x for x in layers if _width(x) <= MOST_INPUTS]):
        sums = {x.weight: (np.zeros(_width(x)), np.zeros((_width(x), _width(x)))) for x in group}
        counts = dict.fromkeys(sums, 0)
        for tensors in stream(proto, [graph.nodes[x.index].input[0] for x in group], calibration):
            for layer in group:
                node = graph.nodes[layer.index]
                rows = seen(tensors[node.input[0]], window(node, layer), positions, rng)
                total, products = sums[layer.weight]
                total += rows.sum(0, dtype=np.float64)
                products += rows.T @ rows
                counts[layer.weight] += len(rows)
        for weight, (total, products) in sums.items():
            if not counts[weight]:
                raise PassError("calibration data holds no sample; give some, or leave it out")
            found[weight] = Inputs(total / counts[weight], products / counts[weight])
    return found


def extents(
    proto: onnx.ModelProto, layers: Sequence[Layer], calibration: Calibration | None
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Input and output shape of each layer's node, by weight name, for one sample.

    Free sides are looked up by running one feed; without calibration data, layers with free sides are left out.

    Raises:
        DataError: see `activations.stream`.
    """
    graph = Graph(proto, shapes=True)
    ends = {x.weight: (graph.nodes[x.index].input[0], graph.nodes[x.index].output[0]) for x in layers}
    shapes: dict[str, Shape] = {name: graph.shapes.get(name, ()) for pair in ends.values() for name in pair}
    free = [name for name, shape in shapes.items() if not shape or None in shape[1:]]
    if free and calibration is not None:
        values = next(stream(proto, free, calibration), {})
        shapes |= {name: array.shape for name, array in values.items()}
    known = {}
    for weight, (before, behind) in ends.items():
        pair = tuple((1, *shapes[name][1:]) for name in (before, behind))
        if all(shapes[name] and None not in shapes[name][1:] for name in (before, behind)):
            known[weight] = (tuple(int(s or 1) for s in pair[0]), tuple(int(s or 1) for s in pair[1]))
    return known


def _width(layer: Layer) -> int:
    return int(np.prod(layer.shape)) // layer.shape[layer.out_axis]


def _groups(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    group: list[Layer] = []
    used = 0
    for layer in layers:
        size = 8 * _width(layer) ** 2
        if group and used + size > MEMORY_BYTES:
            yield group
            group, used = [], 0
        group.append(layer)
        used += size
    if group:
        yield group
