"""ONNX operators that work value by value or reduce along axes, in torch and differentiable where that can be."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from build_tools.nets.operator_call import Call, Operator


def _plain(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""

    def run(call: Call, *inputs: Tensor) -> Tensor:
        return function(*inputs)

    return run


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator that takes any number of inputs."""

    def run(call: Call, *inputs: Tensor) -> Tensor:
        return functools.reduce(function, inputs)

    return run


def _divide(call: Call, a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")  # integers divide as in C


def _modulo(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


def _mean(call: Call, *inputs: Tensor) -> Tensor:
    return functools.reduce(torch.add, inputs) / len(inputs)


def _power(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, b).to(a.dtype)


def _clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    bottom = call.get("min") if low is None else low
    top = call.get("max") if high is None else high
    if bottom is None and top is None:
        return x
    return torch.clamp(x, bottom, top)


def _prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, slope * x)


def _hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    y: Tensor = call.get("alpha", 0.2) * x + call.get("beta", 0.5)
    return y.clamp(0, 1)


def _hard_swish(call: Call, x: Tensor) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


def _leaky_relu(call: Call, x: Tensor) -> Tensor:
    return F.leaky_relu(x, call.get("alpha", 0.01))


def _elu(call: Call, x: Tensor) -> Tensor:
    return F.elu(x, call.get("alpha", 1.0))


def _celu(call: Call, x: Tensor) -> Tensor:
    return F.celu(x, call.get("alpha", 1.0))


def _selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    y: Tensor = gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))
    return y


def _thresholded_relu(call: Call, x: Tensor) -> Tensor:
    return torch.where(x > call.get("alpha", 1.0), x, torch.zeros_like(x))


def _gelu(call: Call, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=call.get("approximate", "none"))


def _swish(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


def _softmax(call: Call, x: Tensor) -> Tensor:
    return _along_scores(call, x, torch.softmax)


def _log_softmax(call: Call, x: Tensor) -> Tensor:
    return _along_scores(call, x, torch.log_softmax)


def _along_scores(call: Call, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    if call.opset >= 13:
        return function(x, call.get("axis", -1))
    # Before opset 13 everything from `axis` on is one list of scores.
    axis = call.get("axis", 1) % max(x.ndim, 1)
    return function(x.reshape(math.prod(x.shape[:axis]), -1), 1).reshape(x.shape)


def _cast(call: Call, x: Tensor) -> Tensor:
    kind = DTYPES.get(call.get("to"))
    if kind is None:
        raise call.refuse(f"casts to ONNX type {call.get('to')}, which is not supported")
    if x.is_floating_point() and not kind.is_floating_point and kind is not torch.bool:
        x = x.trunc()
    return x.to(kind)


def _cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def _where(call: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


def _cumulate(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    if call.get("exclusive", 0) or call.get("reverse", 0):
        raise call.refuse("exclusive or reverse sums are not supported")
    return torch.cumsum(x, int(axis))


def _arg(function: Callable[..., Tensor]) -> Operator:
    def run(call: Call, x: Tensor) -> Tensor:
        if call.get("select_last_index", 0):
            raise call.refuse("select_last_index is not supported")
        return function(x, dim=call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))

    return run


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """A reduction over axes that are an attribute or an input; none of them: all."""

    def run(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = call.axes(given)
        if not axes:
            if call.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        return function(x, axes, bool(call.get("keepdims", 1)))

    return run


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    y: Tensor = torch.linalg.vector_norm(x, 2, axes, keepdim=keep)
    return y


DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""torch's types by `onnx.TensorProto.DataType`."""

_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs, "Neg": torch.neg, "Sign": torch.sign, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt,
    "Erf": torch.erf, "Reciprocal": torch.reciprocal, "Floor": torch.floor, "Ceil": torch.ceil,
    "Round": torch.round, "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Sinh": torch.sinh,
    "Cosh": torch.cosh, "Tanh": torch.tanh, "Atan": torch.atan, "Asin": torch.asin, "Acos": torch.acos,
    "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish,
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Equal": torch.eq, "Greater": torch.gt,
    "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le, "And": torch.logical_and,
    "Or": torch.logical_or, "Xor": torch.logical_xor, "Not": torch.logical_not, "IsNaN": torch.isnan,
    "IsInf": torch.isinf,
}  # fmt: skip

MATH: dict[str, Operator] = {
    **{name: _plain(function) for name, function in _PLAIN.items()},
    "Max": _folded(torch.maximum), "Min": _folded(torch.minimum), "Sum": _folded(torch.add), "Mean": _mean,
    "Div": _divide, "Mod": _modulo, "Pow": _power, "Clip": _clip, "PRelu": _prelu, "LeakyRelu": _leaky_relu,
    "HardSigmoid": _hard_sigmoid, "HardSwish": _hard_swish, "Elu": _elu, "Celu": _celu, "Selu": _selu,
    "ThresholdedRelu": _thresholded_relu, "Gelu": _gelu, "Swish": _swish, "Softmax": _softmax,
    "LogSoftmax": _log_softmax, "Cast": _cast, "CastLike": _cast_like, "Where": _where, "CumSum": _cumulate,
    "ArgMax": _arg(torch.argmax), "ArgMin": _arg(torch.argmin),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduction(_l2),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
}  # fmt: skip
"""By operator type."""
