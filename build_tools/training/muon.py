"""Muon for the matrices of a convolutional network, AdamW for all else, behind one optimiser's interface."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from build_tools.recipe import PhaseEntry

SMALLEST_SIDE = 16
"""Matrices narrower than this (the heads' last layers) have few directions to even out: AdamW's."""


class Muon:
    """Steps along the orthogonal matrix nearest to a convolution's momentum, so that all its directions learn alike.

    A kernel (out, in, h, w) is a matrix of out rows. Source: Jordan et al., "Muon: An optimizer for hidden
    layers in neural networks" (2024); its rate is matched to AdamW's as in Liu et al., "Muon is Scalable for LLM
    Training" (2025), equation 4, so that a recipe's `rate` means the same for both.

    Args:
        groups: AdamW's parameter groups; kernels of more than one input channel are taken from them.
        rate: learning rate of all groups, as first set.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], rate: float) -> None:
        self._kernels: list[torch.nn.Parameter] = []
        rest: list[dict[str, Any]] = []
        decays: list[float] = []
        for group in groups:
            kernels = [p for p in group["params"] if _is_matrix(p)]
            self._kernels += kernels
            decays += [group["weight_decay"]] * len(kernels)
            rest.append(group | {"params": [p for p in group["params"] if not _is_matrix(p)]})
        # Views of the kernels: torch's Muon takes matrices only, and steps on these are steps on the kernels.
        self._matrices = [torch.nn.Parameter(_rows(p.data, p).view(p.shape[0], -1)) for p in self._kernels]
        matrices = [{"params": [m], "weight_decay": decay} for m, decay in zip(self._matrices, decays, strict=True)]
        self._muon = torch.optim.Muon(matrices, lr=rate, adjust_lr_fn="match_rms_adamw")
        self._adam = torch.optim.AdamW(rest, lr=rate, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """All groups; a change of their `lr` counts at the next step."""
        return [*self._muon.param_groups, *self._adam.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self._adam.zero_grad(set_to_none)
        for kernel in self._kernels:
            kernel.grad = None

    def step(self) -> None:
        """One step of both."""
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _rows(kernel.grad, kernel).reshape(matrix.shape)
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])


def optimiser_for(phase: PhaseEntry, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | Muon:
    """The optimiser that a recipe's phase asks for, fresh, of AdamW's parameter groups."""
    if phase.optimiser == "muon":
        return Muon(groups, phase.rate)
    return torch.optim.AdamW(groups, lr=phase.rate, fused=True)  # a tenth of the time


def _is_matrix(p: torch.nn.Parameter) -> bool:
    return p.ndim == 4 and p.shape[1] > 1 and min(p.shape[0], p[0].numel()) >= SMALLEST_SIDE


def _rows(values: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """`values`, shaped as `kernel`, in the order of axes in which the kernel lies in memory."""
    return values if kernel.is_contiguous() else values.permute(0, 2, 3, 1)
