"""Pulls weights towards low rank while they train: by the nuclear norm, and by cutting off small singular values."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def matrix(weight: Tensor) -> Tensor:
    """A weight as [outputs, all else]: the matrix that a factorised layer would split."""
    return weight.flatten(1)


def nuclear_norm(weights: Iterable[Tensor]) -> Tensor:
    """Sum of the singular values of each weight, which is the convex stand-in for its rank (Fazel 2002)."""
    return torch.stack([torch.linalg.svdvals(matrix(w)).sum() for w in weights]).sum()


def truncate(weight: nn.Parameter, energy: float) -> int:
    """Cut a weight, in place, to the smallest rank that keeps a share of its squared singular values.

    Returns:
        The rank.
    """
    with torch.no_grad():
        left, values, right = torch.linalg.svd(matrix(weight), full_matrices=False)
        kept = values.pow(2).cumsum(0) / values.pow(2).sum().clamp(min=1e-30)
        rank: int = min(int((kept < energy).sum()) + 1, values.numel())
        weight.copy_(((left[:, :rank] * values[:rank]) @ right[:rank]).view_as(weight))
    return rank
