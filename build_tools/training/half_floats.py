"""A training step in bfloat16, a third faster on processors that multiply in it (AMX, AVX512-BF16).

Weights, their steps and the average stay float32; what lies between the layers is rounded to bfloat16 (Kalamkar et
al. 2019, "A Study of BFLOAT16 for Deep Learning Training"), which halves the memory that norms and ReLUs wait for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Pair = tuple[int, ...]


class _HalvingDepthwise(torch.autograd.Function):
    """A strided depthwise convolution in bfloat16 whose gradient for the input is worked out in float32.

    oneDNN has no fast kernel for that gradient in bfloat16: it takes twenty times as long as in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, (1, 1), False, (0, 0), groups
        out: Tensor = torch.ops.aten.convolution(x, weight, None, *ctx.how)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, weight = ctx.saved_tensors
        back = torch.ops.aten.convolution_backward
        to_x = back(gradient.float(), x.float(), weight.float(), None, *ctx.how, (True, False, False))[0]
        to_weight = back(gradient, x, weight, None, *ctx.how, (False, True, False))[1]
        return to_x.to(gradient.dtype), to_weight, None, None, None


class _HalvingConv(nn.Conv2d):
    """The layer of `_HalvingDepthwise`; as any other where nothing is rounded."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        half = x.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        out: Tensor = _HalvingDepthwise.apply(*half, self.stride, self.padding, self.groups)  # type: ignore[no-untyped-call]
        return out


def prepare(net: nn.Module) -> None:
    """Let the network's strided depthwise convolutions learn in bfloat16 without the detour; names stay as they are."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.stride != (1, 1) and layer.bias is None:
            layer.__class__ = _HalvingConv
