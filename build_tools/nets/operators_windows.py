"""ONNX operators that look through windows or change the resolution, in torch: pools and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from build_tools.nets.operator_call import Call, Operator, whole
from build_tools.nets.operators_layers import padded, window_pads
from build_tools.nets.operators_shapes import take

F64 = NDArray[np.float64]
MAX_POOL = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE_POOL = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def _pads(call: Call, x: Tensor) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations, padding before and after, and what rounding up adds behind that."""
    kernel = [int(k) for k in call.get("kernel_shape")]
    strides = list(call.get("strides") or [1] * len(kernel))
    dilations = list(call.get("dilations") or [1] * len(kernel))
    before, after = window_pads(call, x.shape[2:], kernel, strides, dilations)
    more = [0] * len(kernel)
    if call.get("ceil_mode", 0):
        for i, side in enumerate(x.shape[2:]):
            free = side + before[i] + after[i] - dilations[i] * (kernel[i] - 1) - 1
            steps = -(-free // strides[i])
            if steps * strides[i] >= side + before[i]:
                steps -= 1  # a window that would begin in the padding behind is none
            more[i] = max(steps * strides[i] - free, 0)
    return kernel, strides, dilations, before, after, more


def _max_pool(call: Call, x: Tensor) -> Tensor:
    if call.outputs > 1:
        raise call.refuse("the places of the largest values are not supported")
    kernel, strides, dilations, before, after, more = _pads(call, x)
    behind = [a + m for a, m in zip(after, more, strict=True)]
    inside = [0] * len(kernel)
    if before == behind and all(2 * b <= k for b, k in zip(before, kernel, strict=True)):
        inside = before  # torch pads by itself, at no cost
    else:
        x = padded(x, before, behind, float("-inf"))
    return MAX_POOL[len(kernel) - 1](x, kernel, strides, inside, dilations)


def _average_pool(call: Call, x: Tensor) -> Tensor:
    kernel, strides, dilations, before, after, more = _pads(call, x)
    if any(d != 1 for d in dilations):
        raise call.refuse("dilations are not supported")
    pool = AVERAGE_POOL[len(kernel) - 1]
    behind = [a + m for a, m in zip(after, more, strict=True)]
    if not any(before) and not any(behind):
        return pool(x, kernel, strides)
    counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if call.get("count_include_pad", 0):  # the padding counts, what rounding up added does not
        counted = padded(padded(counted, before, after, 1.0), [0] * len(kernel), more)
    else:
        counted = padded(counted, before, behind)
    share = pool(counted, kernel, strides)
    return pool(padded(x, before, behind), kernel, strides) / share


def _global_average(call: Call, x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


def _global_max(call: Call, x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.ndim)), keepdim=True)


def _upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    factors = call.get("scales") if scales is None else scales.tolist()
    return _resized(call, x, [float(f) for f in factors], None, "asymmetric", "floor")


def _resize(
    call: Call,
    x: Tensor,
    first: Tensor | None = None,
    second: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    if call.opset < 11:
        assert first is not None
        return _resized(call, x, first.tolist(), None, "asymmetric", "floor")
    if call.get("antialias", 0) or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refuse("antialias and keep_aspect_ratio_policy are not supported")
    coordinates = call.get("coordinate_transformation_mode", "half_pixel")
    nearest = call.get("nearest_mode", "round_prefer_floor")
    axes = [a % x.ndim for a in call.get("axes") or range(x.ndim)]
    factors, wanted = [1.0] * x.ndim, list(x.shape)
    if sizes is not None and sizes.numel():
        for axis, side in zip(axes, whole(sizes), strict=True):
            wanted[axis] = side
        return _resized(call, x, None, wanted, coordinates, nearest)
    if second is None or not second.numel():
        raise call.refuse("neither scales nor sizes are given")
    for axis, factor in zip(axes, second.tolist(), strict=True):
        factors[axis] = factor
    return _resized(call, x, factors, None, coordinates, nearest)


def _resized(
    call: Call, x: Tensor, factors: Sequence[float] | None, sizes: list[int] | None, coordinates: str, nearest: str
) -> Tensor:
    if sizes is None:
        assert factors is not None
        sizes = [int(np.floor(side * f + 1e-9)) for side, f in zip(x.shape, factors, strict=True)]
    if factors is None:
        factors = [wanted / side for wanted, side in zip(sizes, x.shape, strict=True)]
    mode = call.get("mode", "nearest")
    changed = [a for a in range(x.ndim) if sizes[a] != x.shape[a] or factors[a] != 1]
    if mode == "nearest" and changed and x.ndim == 4 and all(a >= 2 for a in changed):
        found = [_taps(call, x.shape[a], sizes[a], factors[a], coordinates, nearest)[0][:, 0] for a in (2, 3)]
        if all(np.array_equal(found[a - 2], np.arange(sizes[a]) * x.shape[a] // sizes[a]) for a in (2, 3)):
            return F.interpolate(x, size=sizes[2:], mode="nearest")  # the common case, at a fraction of the time
    for axis in changed:
        places, shares = _taps(call, x.shape[axis], sizes[axis], factors[axis], coordinates, nearest)
        along = [-1 if i == axis else 1 for i in range(x.ndim)]
        taken = [take(x, torch.from_numpy(places[:, k].copy()), axis) for k in range(places.shape[1])]
        weights = torch.from_numpy(shares).to(x.device, x.dtype)
        x = taken[0] if len(taken) == 1 else sum(t * weights[:, k].reshape(along) for k, t in enumerate(taken))  # type: ignore[assignment]
    return x


def _taps(
    call: Call, side: int, wanted: int, factor: float, coordinates: str, nearest: str
) -> tuple[NDArray[np.int64], F64]:
    """Which places [wanted, taps] along an axis each new value is made of, and their shares [wanted, taps]."""
    out = np.arange(wanted, dtype=np.float64)
    if coordinates == "asymmetric":
        at = out / factor
    elif coordinates == "align_corners":
        at = out * (side - 1) / max(wanted - 1, 1)
    elif coordinates == "pytorch_half_pixel":
        at = (out + 0.5) / factor - 0.5 if wanted > 1 else np.zeros_like(out)
    elif coordinates == "tf_half_pixel_for_nn":
        at = (out + 0.5) / factor
    elif coordinates == "half_pixel_symmetric":
        at = side / 2 * (1 - wanted / (side * factor)) + (out + 0.5) / factor - 0.5
    elif coordinates == "half_pixel":
        at = (out + 0.5) / factor - 0.5
    else:
        raise call.refuse(f"coordinates {coordinates} are not supported")
    mode = call.get("mode", "nearest")
    at = at.astype(np.float32).astype(np.float64)  # ONNX Runtime's coordinates are float32: ties fall as there
    if mode == "nearest":
        return np.clip(_nearest(at, nearest), 0, side - 1).astype(np.int64)[:, None], np.ones((wanted, 1))
    base = np.floor(at)
    offset = at - base
    if mode == "linear":
        base, offset = np.floor(at.clip(0, side - 1)), at.clip(0, side - 1) % 1
        places, shares = base[:, None] + (0, 1), np.stack([1 - offset, offset], 1)
    elif mode == "cubic":
        places, shares = base[:, None] + (-1, 0, 1, 2), _cubic(offset, call.get("cubic_coeff_a", -0.75))
        if call.get("exclude_outside", 0):
            shares = shares * ((places >= 0) & (places < side))
            shares = shares / shares.sum(1, keepdims=True)
    else:
        raise call.refuse(f"mode {mode} is not supported")
    return np.clip(places, 0, side - 1).astype(np.int64), shares


def _nearest(at: F64, how: str) -> F64:
    rounded: dict[str, Any] = {
        "round_prefer_floor": lambda: np.ceil(at - 0.5),
        "round_prefer_ceil": lambda: np.floor(at + 0.5),
        "floor": lambda: np.floor(at),
        "ceil": lambda: np.ceil(at),
    }
    found: F64 = rounded[how]()
    return found


def _cubic(t: F64, a: float) -> F64:
    """Shares of the four neighbours (Keys 1981, equation 4)."""
    distances = np.stack([t + 1, t, 1 - t, 2 - t], 1)
    near = (a + 2) * distances**3 - (a + 3) * distances**2 + 1
    far = a * distances**3 - 5 * a * distances**2 + 8 * a * distances - 4 * a
    return np.where(distances <= 1, near, far)


WINDOWS: dict[str, Operator] = {
    "MaxPool": _max_pool, "AveragePool": _average_pool, "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max, "Resize": _resize, "Upsample": _upsample,
}  # fmt: skip
"""By operator type."""
