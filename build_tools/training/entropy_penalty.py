"""The bits that coding a weight's levels will cost, differentiable, and how much they count in the loss.

Oktay et al. 2020, "Scalable model compression by entropy penalized reparameterization", with the levels' own
frequencies in place of a learned density: the coder adapts to just these.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from build_tools.training.constraints import EntropyDuring

UNSEEN = 0.3
"""Count that every level is given beforehand, so that one that is not used costs some bits and not infinitely many."""
FEW = 256
"""A tensor with fewer values has no histogram to speak of: its levels are taken to fall off geometrically."""
PRIOR = 4.0
"""Weights that a row, column or place is taken to have seen beforehand, alike to all of the tensor's."""
CHANCE_MIN = 2.0**-12
SLOPE_MIN = 0.25
"""Bits that a level costs more, at least, than the next one towards zero."""
WEIGHT_MIN = 1e-7
LOSS_MAX = 5.0
"""Loss that the bits aimed at may make up: beyond, they are all that is learned."""
GAIN = 0.02
"""Most that the weight of a bit may change in one step, as a share of itself."""


def level_costs(levels: Tensor, highest: int) -> Tensor:
    """Bits that each level costs, float32 [2 * highest + 1], from the frequencies of whole-numbered `levels`.

    A level further from zero always costs more: where many weights are at the highest level, their own frequency would
    hold them there.
    """
    if levels.numel() < FEW:
        scale = levels.abs().mean() + UNSEEN
        counts = (scale / (1 + scale)) ** torch.arange(-highest, highest + 1).abs()
    else:
        counts = torch.bincount((levels.flatten() + highest).long(), minlength=2 * highest + 1).float() + UNSEEN
        counts = (counts + counts.flip(0)) / 2  # signs are even to the coder, or nearly so
    costs = -torch.log2(counts / counts.sum())
    rise = SLOPE_MIN * torch.arange(highest + 1)
    outwards = (costs[highest:] - rise).cummax(0).values + rise
    return torch.cat([outwards.flip(0)[:-1], outwards])


def chances_of_some(levels: Tensor) -> Tensor:
    """The chance of each weight that its level is not zero, as a coder sees it that learns about rows and columns.

    The log-odds of the whole tensor's share, and of the differences to it that the weight's row, its column and its
    place in the kernel make, are added (the views of the bundle's adaptive coder). So a lone level in an empty row is
    dear, and rows and columns empty as a whole.

    Args:
        levels: [rows, columns, ...]; fewer sides have the tensor's share everywhere.
    """
    some = (levels != 0).float()
    share = (some.sum() + UNSEEN) / (some.numel() + 2 * UNSEEN)
    odds = torch.logit(share).expand(some.shape)
    for sides in _views(levels.dim()):
        total = some.sum(sides, keepdim=True)
        seen = some.numel() / total.numel()
        if 1 < seen < some.numel():
            odds = odds + torch.logit((total + PRIOR * share) / (seen + PRIOR)) - torch.logit(share)
    return torch.sigmoid(odds).clamp(CHANCE_MIN, 1 - CHANCE_MIN)


def _views(dims: int) -> list[tuple[int, ...]]:
    """Sides that are summed over: all but the rows, all but the columns, all but the places in a kernel."""
    if dims < 2:
        return []
    kernel = tuple(range(2, dims))
    return [(1, *kernel), (0, *kernel), *([(0, 1)] if kernel else [])]


def coded_bits(position: Tensor, highest: int) -> tuple[Tensor, float]:
    """Bits of one weight's levels: between two levels the cost runs in a straight line from one's to the other's.

    Args:
        position: float32, anywhere in -highest..highest.
        highest: level.

    Returns:
        The bits at these positions, differentiable, and those of the rounded levels, which will be paid. In a sparse
        layer the first are far more: all weights that lie a little off zero count in them.
    """
    with torch.no_grad():
        levels = torch.round(position)
        costs = level_costs(levels, highest)
        some = chances_of_some(levels)
        zero = -torch.log2(1 - some)
        # A level that is not zero: first that it is not, then which one.
        beyond_zero = costs + torch.log2((1 - 2.0 ** -costs[highest]).clamp(min=CHANCE_MIN))
        below = torch.floor(position).clamp(-highest, highest - 1)
        index = below.long() + highest

        def cost(at: Tensor) -> Tensor:
            return torch.where(at == highest, zero, beyond_zero[at] - torch.log2(some))

        lower, upper = cost(index), cost(index + 1)
        paid = float(torch.where(levels > below, upper, lower).sum())
    beyond = position - below
    return (lower * (1 - beyond) + upper * beyond).sum(), paid


class EntropyPenalty:
    """The coded bits as a term of the loss, with a weight that is given, or found so that a number of bytes is met.

    Args:
        settings: weight, bytes, begin and end.
        steps: of the whole training.
    """

    def __init__(self, settings: EntropyDuring, steps: int) -> None:
        self._settings, self._steps = settings, steps
        self._weight = (settings.weight or 1.0) * 1e-6
        self._first = 0.0

    @property
    def active(self) -> bool:
        """Whether bits count at all."""
        return self._settings.weight > 0 or self._settings.bytes > 0

    def penalty(self, positions: Iterable[tuple[Tensor, int]], step: int) -> Tensor:
        """The term of the loss at a step.

        Args:
            positions: of the quantised weights among their levels, each with its highest level.
            step: 0 ..
        """
        begin = self._settings.begin * self._steps
        if not self.active or step < begin:
            return torch.zeros(())
        found = [coded_bits(position, highest) for position, highest in positions]
        if self._settings.bytes:
            paid = sum(bits for _, bits in found)
            self._steer(paid, step - begin, max(self._settings.end * self._steps - begin, 1.0))
        return torch.stack([bits for bits, _ in found]).sum() * self._weight

    def state_dict(self) -> dict[str, float]:
        """What an interrupted training goes on from."""
        return {"weight": self._weight, "first": self._first}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self._weight, self._first = state["weight"], state["first"]

    def _steer(self, bits: float, done: float, whole: float) -> None:
        """Make a bit dearer while there are more than are due now, cheaper while there are fewer.

        What is due falls geometrically from what there was at first to the bytes that are aimed at.
        """
        aim = 8.0 * self._settings.bytes
        self._first = self._first or bits
        due = self._first * (aim / self._first) ** min(1.0, done / whole)
        over = max(-1.0, min(1.0, 5 * (bits - due) / due))
        self._weight = min(max(self._weight * (1 + GAIN * over), WEIGHT_MIN), LOSS_MAX / aim)
