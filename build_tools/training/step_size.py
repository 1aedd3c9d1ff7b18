"""Quantisation-aware training: weights are rounded to whole multiples of a step size that is learned with them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from build_tools.training.straight_through import as_half, instead, rounded

SMALLEST_STEP = 2.0**-14
"""Smallest normal number of 16 bits: a step size is stored in 16 bits, and below it would lose digits."""


class StepSize(nn.Module):
    """The step size of one weight: learned (Esser et al. 2020, "Learned step size quantization") or the largest value.

    Levels are symmetric, -(2**(bits - 1) - 1) .. 2**(bits - 1) - 1, so that two bits are ternary weights. The
    logarithm of the step is what is learned: it stays positive, and its rate means the same for every layer.

    Args:
        weight: float32, the first value of what will be quantised.
        bits: 2..16.
        rule: `lsq` learns; `max` follows the largest absolute weight.
        axis: the axis along which steps differ, or None for one step.
    """

    def __init__(self, weight: Tensor, bits: int, rule: Literal["lsq", "max"], axis: int | None) -> None:
        super().__init__()
        self.bits, self.rule, self.axis = bits, rule, axis
        self.highest = 2 ** (bits - 1) - 1
        channels = 1 if axis is None else weight.shape[axis]
        self.log_step = nn.Parameter(torch.zeros(channels), requires_grad=rule == "lsq")
        self.start(weight)

    def start(self, weight: Tensor) -> None:
        """Take the first step sizes from a weight: twice the mean over the root of the highest level (section 2.1)."""
        with torch.no_grad():
            values = rows(weight, self.axis)
            if self.rule == "max" or weight.dim() == 1:  # of a few biases no mean can be had; the largest must fit
                step = values.abs().amax(1) / self.highest
            else:
                step = 2 * values.abs().mean(1) / self.highest**0.5
            self.log_step.copy_(step.clamp(min=SMALLEST_STEP).log2())

    def step(self, weight: Tensor) -> Tensor:
        """Step sizes, float32 [channels] or [1], exact in 16 bits."""
        if self.rule == "max":
            step = rows(weight, self.axis).detach().abs().amax(1) / self.highest
        else:
            step = self.log_step.exp2()
        return as_half(step.clamp(min=SMALLEST_STEP))

    def position(self, weight: Tensor, step: Tensor) -> Tensor:
        """Where weights lie among the levels, in the weight's shape, not rounded yet; within the highest and lowest."""
        return (weight / along(step, self.axis, weight.dim())).clamp(-self.highest, self.highest)

    def keep_in_range(self, weight: nn.Parameter) -> None:
        """Bring back, in place, what lies beyond the highest level."""
        with torch.no_grad():
            most = along(self.step(weight), self.axis, weight.dim()) * self.highest
            weight.copy_(weight.minimum(most).maximum(-most))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The quantised weight, and the position of each weight among the levels."""
        step = self.step(weight)
        position = self.position(weight, step)
        return rounded(position) * along(step, self.axis, weight.dim()), position


class BinaryScale(nn.Module):
    """One bit a weight: its sign times the mean absolute weight (Rastegari et al. 2016, equation 6).

    Args:
        axis: the axis along which scales differ, or None for one scale.
    """

    def __init__(self, axis: int | None) -> None:
        super().__init__()
        self.axis = axis

    def scale(self, weight: Tensor) -> Tensor:
        """Scales, float32 [channels] or [1], exact in 16 bits."""
        return as_half(rows(weight, self.axis).abs().mean(1).clamp(min=SMALLEST_STEP))

    def forward(self, weight: Tensor) -> Tensor:
        """-scale or +scale; no gradient reaches a weight beyond two scales, which would be slow to turn back."""
        scale = self.scale(weight)
        wide = along(scale, self.axis, weight.dim())
        sign = torch.where(weight >= 0, 1.0, -1.0)
        return instead(sign, (weight / wide.detach()).clamp(-2, 2)) * wide


def rows(weight: Tensor, axis: int | None) -> Tensor:
    """A weight as a matrix with a row for each place on an axis, or one row."""
    return weight.reshape(1, -1) if axis is None else weight.transpose(0, axis).flatten(1)


def along(values: Tensor, axis: int | None, dims: int) -> Tensor:
    """Values of one axis (or a single one) in a shape that broadcasts over `dims` of them."""
    if axis is None:
        return values.view([1] * dims)
    return values.view([-1 if side == axis else 1 for side in range(dims)])


class ActivationStep(nn.Module):
    """Fake quantisation of what flows between layers: the range is learned (LSQ), from zero where nothing is negative.

    Args:
        bits: 2..8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.signed = False
        self.log_step = nn.Parameter(torch.zeros(1))
        self.started = False

    def span(self) -> tuple[int, int]:
        """Lowest and highest level."""
        return (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if self.signed else (0, 2**self.bits - 1)

    def forward(self, values: Tensor) -> Tensor:
        """The values on the grid; the first batch decides on the sign and the first step size."""
        if not self.started:
            with torch.no_grad():
                self.signed = bool((values < 0).any())
                step = 2 * values.abs().mean() / self.span()[1] ** 0.5
                self.log_step.copy_(step.clamp(min=SMALLEST_STEP).log2().view(1))
            self.started = True
        low, high = self.span()
        step = as_half(self.log_step.exp2().clamp(min=SMALLEST_STEP))
        return rounded((values / step).clamp(low, high)) * step
