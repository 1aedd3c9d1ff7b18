"""Weights that share a few values, whose places stay and whose values are trained (Han et al. 2016, section 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from build_tools.training.straight_through import as_half

ROUNDS = 30
"""Rounds of k-means at most; after some ten nothing moves."""


class SharedValues(nn.Module):
    """A codebook of 2**bits values; with pruned weights one of them is zero and stays zero.

    Args:
        shape: of the weight.
        bits: of an index.
    """

    index: Tensor
    """int64, the weight's shape: which value each weight has."""

    def __init__(self, shape: tuple[int, ...], bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.values = nn.Parameter(torch.zeros(2**bits))
        self.register_buffer("index", torch.zeros(shape, dtype=torch.int64))
        self.zero = False
        self.started = False

    def start(self, weight: Tensor) -> None:
        """Make the clusters of a weight: k-means from evenly spread values, which keep the few large weights apart."""
        flat = weight.detach().double().flatten().numpy()
        self.zero = bool((flat == 0).any())
        alive = flat[flat != 0]
        centres = clusters(alive, 2**self.bits - self.zero)
        nearest = np.abs(alive[:, None] - centres[None]).argmin(1) if alive.size else np.zeros(0, np.int64)
        table = np.concatenate([[0.0], centres]) if self.zero else centres
        index = np.zeros(flat.size, np.int64)
        index[flat != 0] = nearest + self.zero
        with torch.no_grad():
            self.values.zero_()
            self.values[: table.size] = torch.from_numpy(table).float()
            self.index.copy_(torch.from_numpy(index).view_as(self.index))
        self.started = True

    def table(self) -> Tensor:
        """The values, float32 [2**bits], exact in 16 bits."""
        free = torch.ones_like(self.values)
        if self.zero:
            free[0] = 0
        return as_half(self.values) * free

    def forward(self) -> Tensor:
        """The weight."""
        return self.table()[self.index]


def clusters(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Lloyd's k-means in one dimension, from values spread evenly between the smallest and the largest.

    Args:
        values: float64 [n].
        count: centres wanted; fewer are given when there are fewer different values.

    Returns:
        float64 [count or fewer], rising.
    """
    distinct = np.unique(values)
    if distinct.size <= count:
        return distinct
    ordered = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.linspace(ordered[0], ordered[-1], count)
    for _ in range(ROUNDS):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [ordered.size]])
        sizes = ends - starts
        moved = np.where(sizes > 0, (sums[ends] - sums[starts]) / np.maximum(sizes, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return centres
