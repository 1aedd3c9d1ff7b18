"""ONNX operators that hold weights or normalise, in torch: convolutions, products, norms, quantisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from build_tools.nets.operator_call import Call, Operator, whole

CONV = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def window_pads(
    call: Call, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial axis, from `pads` or `auto_pad`."""
    how = call.get("auto_pad", "NOTSET")
    if how == "VALID":
        return [0] * len(sides), [0] * len(sides)
    if how == "NOTSET":
        pads = [int(p) for p in call.get("pads") or [0] * (2 * len(sides))]
        return pads[: len(sides)], pads[len(sides) :]
    totals = [
        max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0)
        for side, k, s, d in zip(sides, kernel, strides, dilations, strict=True)
    ]
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (less, more) if how == "SAME_UPPER" else (more, less)


def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """`x` with its last axes padded; torch lists the innermost axis first."""
    if not any(before) and not any(after):
        return x
    return F.pad(x, [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair], value=value)


def _conv(call: Call, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    spatial = w.ndim - 2
    strides, dilations = call.get("strides") or [1] * spatial, call.get("dilations") or [1] * spatial
    before, after = window_pads(call, x.shape[2:], w.shape[2:], strides, dilations)
    if before != after:
        x, before = padded(x, before, after), [0] * spatial
    return CONV[spatial - 1](x, w, b, list(strides), before, list(dilations), call.get("group", 1))


def _conv_transpose(call: Call, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    spatial = w.ndim - 2
    strides, dilations = call.get("strides") or [1] * spatial, call.get("dilations") or [1] * spatial
    extra = list(call.get("output_padding") or [0] * spatial)
    pads = [int(p) for p in call.get("pads") or [0] * (2 * spatial)]
    before, after = pads[:spatial], pads[spatial:]
    target, how = call.get("output_shape"), call.get("auto_pad", "NOTSET")
    if target is None and how in ("SAME_UPPER", "SAME_LOWER"):
        target = [side * s for side, s in zip(x.shape[2:], strides, strict=True)]
    if target is not None:
        spans = zip(x.shape[2:], w.shape[2:], strides, dilations, extra, target[-spatial:], strict=True)
        totals = [(side - 1) * s + e + (k - 1) * d + 1 - out for side, k, s, d, e, out in spans]
        before = [t // 2 if how == "SAME_UPPER" else t - t // 2 for t in totals]
        after = [t - b for t, b in zip(totals, before, strict=True)]
    # torch wants output padding below the stride; the last rows can as well be padding less cut off.
    y: Tensor = TRANSPOSED[spatial - 1](x, w, b, list(strides), 0, 0, call.get("group", 1), list(dilations))
    after = [a - e for a, e in zip(after, extra, strict=True)]
    if b is not None and any(a < 0 for a in after):
        y = padded(y - b.reshape(-1, *[1] * spatial), [0] * spatial, [max(-a, 0) for a in after])
        y = y + b.reshape(-1, *[1] * spatial)
        after = [max(a, 0) for a in after]
    return padded(y, [-p for p in before], [-p for p in after])


def _gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if call.get("transA", 0) else a
    b = b.t() if call.get("transB", 0) else b
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    y = a @ b if alpha == 1 else alpha * (a @ b)
    return y if c is None else y + (c if beta == 1 else beta * c)


def _matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def _einsum(call: Call, *inputs: Tensor) -> Tensor:
    return torch.einsum(call.get("equation"), *inputs)


def _batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    # The statistics stay as they are: few batches of other data would only spoil them. Scale and bias learn.
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, call.get("epsilon", 1e-5))


def _instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=call.get("epsilon", 1e-5))


def _layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = call.get("axis", -1) % x.ndim
    y = F.layer_norm(x, x.shape[axis:], eps=call.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


def _group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = call.get("num_groups")
    if call.opset < 21 and scale.numel() != x.shape[1]:  # one value a group, until opset 21 put that right
        scale, bias = (t.repeat_interleave(x.shape[1] // groups) for t in (scale, bias))
    return F.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


def _lrn(call: Call, x: Tensor) -> Tensor:
    size = call.get("size")
    low = (size - 1) // 2
    squares = F.pad(x.square().flatten(2).transpose(1, 2), (low, size - 1 - low))
    sums = squares.unfold(2, size, 1).sum(-1).transpose(1, 2).reshape(x.shape)
    spread = call.get("bias", 1.0) + call.get("alpha", 1e-4) / size * sums
    y: Tensor = x / spread.pow(call.get("beta", 0.75))
    return y


def _lp_norm(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", -1)
    length = torch.linalg.vector_norm(x, call.get("p", 2), axis, keepdim=True)
    return torch.where(length == 0, torch.zeros_like(x), x / torch.where(length == 0, 1, length))


def _mean_variance(call: Call, x: Tensor) -> Tensor:
    axes = list(call.get("axes") or (0, 2, 3))
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


def _quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Levels as floats, so that gradients pass straight through to what was quantised and stop where it is clipped."""
    if call.get("block_size", 0):
        raise call.refuse("blocks are not supported")
    signed = zero is not None and zero.dtype in (torch.int8, torch.int16)
    wide = zero is not None and zero.dtype not in (torch.int8, torch.uint8)
    span = 2 ** (16 if wide else 8)
    low, high = (-span // 2, span // 2 - 1) if signed else (0, span - 1)
    offset = 0.0 if zero is None else _along(call, zero.to(x.dtype), x)
    exact = x / _along(call, scale, x)
    rounded = exact + (exact.round() - exact).detach()
    return torch.clamp(rounded + offset, low, high)


def _dequantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    if call.get("block_size", 0):
        raise call.refuse("blocks are not supported")
    offset = 0.0 if zero is None else _along(call, zero.to(scale.dtype), x)
    return (x.to(scale.dtype) - offset) * _along(call, scale, x)


def _along(call: Call, values: Tensor, x: Tensor) -> Tensor:
    """Per-channel values shaped to broadcast along the node's axis; one value as it is."""
    if values.numel() == 1:
        return values.reshape(())
    axis = call.get("axis", 1) % x.ndim
    return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def _one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    axis, count = call.get("axis", -1), int(math.prod(whole(depth)))
    hot = F.one_hot(indices.to(torch.int64) % count, count)
    return torch.where(hot.movedim(-1, axis).bool(), values[1], values[0])


LAYERS: dict[str, Operator] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul, "Einsum": _einsum,
    "BatchNormalization": _batch_norm, "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm, "LRN": _lrn, "LpNormalization": _lp_norm,
    "MeanVarianceNormalization": _mean_variance, "QuantizeLinear": _quantize, "DequantizeLinear": _dequantize,
    "OneHot": _one_hot,
}  # fmt: skip
"""By operator type."""
