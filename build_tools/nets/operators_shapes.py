"""ONNX operators that move values about without changing them, in torch; the opsets' attributes and inputs alike."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from build_tools.nets.operator_call import Call, Operator, whole


def take(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Values at `indices` (any shape, negative ones from the end) along an axis: numpy's `take`."""
    axis %= x.ndim
    flat = indices.reshape(-1).to(x.device, torch.int64)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    found = x.index_select(axis, flat)
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _reshape(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
    shape = whole(given) if given is not None else [int(v) for v in call.get("shape")]
    if not call.get("allowzero", 0):
        shape = [x.shape[i] if side == 0 else side for i, side in enumerate(shape)]
    return x.reshape(shape)


def _flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.get("perm") or tuple(reversed(range(x.ndim))))


def _squeeze(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = call.axes(given)
    drop = [i for i, side in enumerate(x.shape) if side == 1] if axes is None else [a % x.ndim for a in axes]
    if any(x.shape[a] != 1 for a in drop):
        raise call.refuse(f"squeezes axes {drop} of a tensor of shape {tuple(x.shape)}")
    return x.reshape([side for i, side in enumerate(x.shape) if i not in drop])


def _unsqueeze(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = call.axes(given) or []
    ndim = x.ndim + len(axes)
    for axis in sorted(a % ndim for a in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(call: Call, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, call.get("axis", 1))


def _split(call: Call, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = call.get("axis", 0)
    sizes = whole(given) if given is not None else call.get("split")
    if sizes is None:
        count = call.get("num_outputs", call.outputs)
        share = -(-x.shape[axis] // count)  # the last one is smaller where it does not divide
        sizes = [share] * (count - 1) + [x.shape[axis] - share * (count - 1)]
    return tuple(torch.split(x, list(sizes), axis))


def _slice(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first = whole(starts) if starts is not None else list(call.get("starts"))
    last = whole(ends) if ends is not None else list(call.get("ends"))
    along = call.axes(axes) or list(range(len(first)))
    stride = whole(steps) if steps is not None else [1] * len(first)
    for begin, end, axis, step in zip(first, last, along, stride, strict=True):
        places = range(x.shape[axis])[begin:end:step]
        if step > 0:
            x = x.narrow(axis, places.start, len(range(places.start, places.stop)))
            if step > 1:
                x = x[(slice(None),) * (axis % x.ndim) + (slice(None, None, step),)]
        else:
            x = take(x, torch.tensor(list(places), dtype=torch.int64), axis)
    return x


def _gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    return take(x, indices, call.get("axis", 0))


def _gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    axis = call.get("axis", 0)
    indices = indices.to(x.device, torch.int64)
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def _gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    if call.get("batch_dims", 0):
        raise call.refuse("batch_dims is not supported")
    return x[tuple(indices.to(x.device, torch.int64).unbind(-1))]


def _shape(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


def _size(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


def _constant_of_shape(call: Call, shape: Tensor) -> Tensor:
    value = call.get("value")
    filling = torch.zeros(1) if value is None else torch.from_numpy(value.copy())
    return filling.reshape(()).expand(whole(shape)).clone()


def _expand(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, tuple(whole(shape))))


def _range(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(whole(repeats))


def _identity(call: Call, x: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, ...]:
    return x if call.outputs == 1 else (x, torch.ones_like(x, dtype=torch.bool))


def _pad(
    call: Call,
    x: Tensor,
    given: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    pads = whole(given) if given is not None else [int(v) for v in call.get("pads")]
    along = [a % x.ndim for a in whole(axes)] if axes is not None else list(range(x.ndim))
    before, after = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(along):
        before[axis], after[axis] = pads[place], pads[place + len(along)]
    mode = call.get("mode", "constant")
    if mode == "constant":
        filling = float(value) if value is not None else float(call.get("value", 0.0))
        inner_first = itertools.chain.from_iterable(zip(reversed(before), reversed(after), strict=True))
        return F.pad(x, list(inner_first), value=filling)
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        if low or high:
            places = torch.arange(-low, x.shape[axis] + high)
            x = take(x, _mirrored(call, places, x.shape[axis], mode), axis)
    return x


def _mirrored(call: Call, places: Tensor, length: int, mode: str) -> Tensor:
    """Places outside 0..length-1 brought inside: the border again, mirrored about it, or from the other side."""
    if mode == "edge":
        return places.clamp(0, length - 1)
    if mode == "wrap":
        return places % length
    if mode == "reflect":
        folded = places.abs() % max(2 * (length - 1), 1)
        return torch.minimum(folded, 2 * (length - 1) - folded)
    raise call.refuse(f"mode {mode} is not supported")


def _depth_to_space(call: Call, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    b = call.get("blocksize")
    if call.get("mode", "DCR") == "CRD":
        return x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(call: Call, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    b = call.get("blocksize")
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


SHAPES: dict[str, Operator] = {
    "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather, "GatherElements": _gather_elements,
    "GatherND": _gather_nd, "Shape": _shape, "Size": _size, "ConstantOfShape": _constant_of_shape,
    "Expand": _expand, "Range": _range, "Tile": _tile, "Identity": _identity, "Dropout": _identity, "Pad": _pad,
    "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth,
}  # fmt: skip
"""By operator type."""
