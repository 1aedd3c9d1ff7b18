"""Straight-through estimators (Bengio et al. 2013): one value goes forward, the gradient belongs to another."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class _Instead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shown: Tensor, meant: Tensor) -> Tensor:
        return shown.view_as(shown)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def instead(shown: Tensor, meant: Tensor) -> Tensor:
    """`shown` bit for bit, whose gradient goes to `meant` (of the same shape).

    The usual `meant + (shown - meant).detach()` is off by a rounding now and then, and then no grid holds.
    """
    return cast(Tensor, _Instead.apply(shown.detach(), meant))  # type: ignore[no-untyped-call]


def rounded(values: Tensor) -> Tensor:
    """Whole numbers, half to even."""
    return instead(torch.round(values), values)


def as_half(values: Tensor) -> Tensor:
    """The values as 16 bits hold them, in float32."""
    return instead(values.detach().half().float(), values)
