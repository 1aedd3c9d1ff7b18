"""Keeps, while a model trains, what earlier passes made of it: zeros stay zero, values stay on their grids.

A codebook keeps each weight's index and trains the shared values, whose gradient is the sum of their members' (Han et
al. 2016, section 3.2). Levels of a uniform grid are rounded to with a straight-through gradient, at the scales they
have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from build_tools.model import Grid
from build_tools.training.straight_through import as_half, instead, rounded


@dataclass(frozen=True, slots=True, eq=False)
class _Codebook:
    """A weight whose places are fixed and whose values are shared."""

    bits: int
    index: Tensor  # int64, the weight's shape
    free: Tensor  # [levels], 0 at a value that has to stay zero
    half: bool  # the values are exact in 16 bits, and remain so


class Held:
    """What is held of a model's weights.

    Args:
        weights: parameters by name, as they start.
        grids: claims about them; those that do not hold are passed over.
        zeros: names of the weights whose zeros stay.

    Attributes:
        tables: shared values by weight name, to be trained in place of the weight.
        grids: the claims that are held, by weight name.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], grids: Mapping[str, Grid], zeros: Collection[str]) -> None:
        self.tables: dict[str, nn.Parameter] = {}
        self.grids: dict[str, Grid] = {}
        self._codebooks: dict[str, _Codebook] = {}
        self._alive: dict[str, Tensor] = {}
        self._lowest: dict[str, int] = {}
        for name, weight in weights.items():
            values = weight.detach().numpy()
            if name in zeros and (values == 0).any():
                self._alive[name] = weight.detach() != 0
            grid = grids.get(name)
            if grid is not None and lies_on(values, grid):
                self.grids[name] = grid
                if grid.kind == "codebook":
                    self._hold_codebook(name, values, grid, name in zeros)
                elif grid.kind == "uniform":
                    self._lowest[name] = int(np.rint(values / _spread(grid, values.ndim)).min())

    def effective(self, name: str, weight: Tensor) -> Tensor:
        """The weight to compute with; differentiable."""
        book = self._codebooks.get(name)
        if book is not None:
            return self._table(name, book)[book.index]
        grid = self.grids.get(name)
        if grid is not None and grid.kind == "uniform":
            weight = self._on_levels(name, weight, grid)
        elif grid is not None:
            weight = as_half(weight)
        return self.masked(name, weight)

    def masked(self, name: str, weight: Tensor) -> Tensor:
        """The weight with its zeros put back."""
        alive = self._alive.get(name)
        return weight if alive is None else torch.where(alive, weight, torch.zeros_like(weight))

    def settled(self, name: str, weight: Tensor) -> tuple[NDArray[np.float32], Grid | None]:
        """The final values and the grid they lie on."""
        with torch.no_grad():
            values = self.effective(name, weight).numpy().astype(np.float32)
            book = self._codebooks.get(name)
            if book is not None:
                return values, Grid("codebook", book.bits, self._table(name, book).numpy().astype(np.float32))
        return values, self.grids.get(name)

    def _hold_codebook(self, name: str, values: NDArray[np.float32], grid: Grid, zeros: bool) -> None:
        order = np.argsort(grid.table, kind="stable")
        index = order[np.searchsorted(grid.table[order], values.ravel())].reshape(values.shape)
        free = np.where((grid.table == 0) & zeros, 0.0, 1.0).astype(np.float32)
        half = bool((grid.table.astype(np.float16).astype(np.float32) == grid.table).all())
        self.tables[name] = nn.Parameter(torch.from_numpy(grid.table.astype(np.float32).copy()))
        self._codebooks[name] = _Codebook(grid.bits, torch.from_numpy(index), torch.from_numpy(free), half)

    def _table(self, name: str, book: _Codebook) -> Tensor:
        table = self.tables[name]
        # Through `where`, since a value times 0 may be -0, whose bits are not those of 0.
        held = torch.where(book.free > 0, table, torch.zeros_like(table))
        return as_half(held) if book.half else held

    def _on_levels(self, name: str, weight: Tensor, grid: Grid) -> Tensor:
        scale = torch.from_numpy(np.ascontiguousarray(_spread(grid, weight.ndim)))
        if grid.bits == 1:
            bounded = torch.minimum(torch.maximum(weight, -2 * scale), 2 * scale)
            return instead(torch.where(weight >= 0, scale, -scale).expand_as(weight), bounded)
        highest = 2 ** (grid.bits - 1) - 1
        lowest = min(-highest, self._lowest[name])  # symmetric levels stay so
        levels = rounded((weight / scale).clamp(lowest, highest))
        return (levels + 0.0) * scale  # -0 + 0 is 0


def lies_on(values: NDArray[np.float32], grid: Grid) -> bool:
    """Whether a claim about values holds, bit for bit."""
    if grid.kind == "half":
        return bool((values.astype(np.float16).astype(np.float32) == values).all())
    if grid.kind == "codebook":
        return bool(np.isin(values, grid.table).all())
    scale = _spread(grid, values.ndim)
    levels = np.rint(values / np.where(scale == 0, 1, scale)).astype(np.float32)
    low, high = (-1, 1) if grid.bits == 1 else (-(2 ** (grid.bits - 1)), 2 ** (grid.bits - 1) - 1)
    inside = (levels >= low) & (levels <= high) & ((levels != 0) | (grid.bits > 1))
    return bool(inside.all() and (levels * scale == values).all())


def _spread(grid: Grid, ndim: int) -> NDArray[np.float32]:
    """Scales shaped to broadcast along their axis."""
    if grid.axis is None:
        return grid.table.astype(np.float32).reshape([1] * ndim)
    return grid.table.astype(np.float32).reshape([-1 if i == grid.axis else 1 for i in range(ndim)])
