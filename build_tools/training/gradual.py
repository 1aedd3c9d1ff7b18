"""Pruning while training: the smallest weights or channels are held at zero, more of them with every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from build_tools.training.constraints import PruneDuring

Slices = Sequence[tuple[str, int]]
"""Weights whose slices along an axis, (weight name, axis), make up one set of channels: a layer's filters, its bias,
and those of every layer that is added to it."""
UPDATES = 200
"""Times that the masks are drawn anew between begin and end; the schedule's steps are then below half a percent."""


class GradualPruning:
    """Masks over weights that follow a cubic schedule (Zhu and Gupta 2017, equation 1).

    A masked weight keeps the value it had, and no gradient reaches it: it comes back where others have become smaller
    before the schedule ends. (With gradients, as in Guo et al. 2016, an optimiser that scales its steps like Adam lets
    masked weights wander further than those that matter: of LeNet-300-100 at 94 % the error became 1.6 %, not 0.74 %.)

    Args:
        weights: float32, by name; those with one side are left alone but as part of a group of channels.
        settings: target, structure, begin and end.
        steps: of the whole training.
        groups: sets of channels, where the structure is `channels`.

    Attributes:
        masks: by weight name; 0 and 1, in a shape that broadcasts to the weight's.
    """

    def __init__(
        self, weights: Mapping[str, nn.Parameter], settings: PruneDuring, steps: int, groups: Sequence[Slices] = ()
    ) -> None:
        self._weights, self._settings, self._groups = weights, settings, groups
        self._begin, self._end = settings.begin * steps, max(settings.end, settings.begin) * steps
        self._every = max(1, int((self._end - self._begin) / UPDATES))
        self._final = False
        self.masks: dict[str, Tensor] = {}

    @property
    def active(self) -> bool:
        """Whether anything is to be pruned."""
        return self._settings.target > 0 or any(self._settings.layers.values())

    def share(self, step: int) -> float:
        """Share of the target that is due at a step."""
        if step < self._begin:
            return 0.0
        done = 1.0 if step >= self._end else (step - self._begin) / (self._end - self._begin)
        return 1 - (1 - done) ** 3

    def update(self, step: int) -> None:
        """Draw the masks of a step; they stay as they are once the schedule has ended."""
        due = step >= self._begin and (step >= self._end or int(step - self._begin) % self._every == 0)
        if not self.active or self._final or not due:
            return
        self._final = step >= self._end
        with torch.no_grad():
            if self._settings.structure == "channels":
                for group in self._groups:
                    self._mask_channels(group, self.share(step))
            else:
                for name, weight in self._weights.items():
                    target = self._target(name)
                    if weight.dim() > 1 and target > 0:
                        self.masks[name] = _largest(weight.abs().flatten(), target * self.share(step)).view_as(weight)

    def masked(self, name: str, weight: Tensor) -> Tensor:
        """The weight with what is pruned at zero; differentiable."""
        mask = self.masks.get(name)
        if mask is None:
            return weight
        # A product with 0 may be -0, whose bits differ from those of the level 0.
        return torch.where(mask > 0, weight, torch.zeros_like(weight))

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted training goes on from."""
        return {"masks": dict(self.masks), "final": self._final}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.masks, self._final = dict(state["masks"]), bool(state["final"])

    def _target(self, *names: str) -> float:
        own = [self._settings.layers[name] for name in names if name in self._settings.layers]
        return max(own) if own else self._settings.target

    def _mask_channels(self, group: Slices, share: float) -> None:
        members = [(self._weights[name], axis, name) for name, axis in group]
        count = members[0][0].shape[members[0][1]]
        target = self._target(*(name for _, _, name in members))
        if target <= 0:
            return
        align = self._settings.align
        kept = min(count, max(align, -(-round(count * (1 - target * share)) // align) * align))
        norms = torch.zeros(count)
        for weight, axis, _ in members:
            if weight.dim() > 1:
                norms += weight.transpose(0, axis).flatten(1).pow(2).sum(1)
        mask = torch.zeros(count)
        mask[norms.argsort(descending=True, stable=True)[:kept]] = 1
        for weight, axis, name in members:
            self.masks[name] = mask.view([-1 if side == axis else 1 for side in range(weight.dim())])


def _largest(scores: Tensor, zeros: float) -> Tensor:
    """1 where a score is among the largest, 0 for a share `zeros` of them."""
    mask = torch.ones_like(scores)
    mask[scores.argsort(stable=True)[: round(zeros * scores.numel())]] = 0
    return mask
