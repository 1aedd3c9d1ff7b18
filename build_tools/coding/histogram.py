"""How often each level stands in a tensor, and Shannon's bound on the bytes that coding levels one by one can reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Distinct symbols and how often each stands.

    Attributes:
        symbols: int64 [n], ascending.
        counts: int64 [n], none of them 0.
    """

    symbols: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def most_common(self) -> int:
        """The symbol that stands most often; of several the least."""
        return int(self.symbols[int(self.counts.argmax())])

    @property
    def entropy_bits(self) -> float:
        """Shannon's bound for all symbols together."""
        return entropy_bits(self.counts)

    def without(self, symbol: int) -> Histogram:
        """The same without one symbol."""
        rest = self.symbols != symbol
        return Histogram(self.symbols[rest], self.counts[rest])


def histogram(values: NDArray[Any]) -> Histogram:
    """The histogram of integers; in a constant few megabytes of memory where they have at most 16 bits."""
    flat = values.reshape(-1)
    if flat.dtype == np.bool_:
        flat = flat.view(np.uint8)
    if flat.dtype.itemsize > 2:
        symbols, counts = np.unique(flat, return_counts=True)
        return Histogram(symbols.astype(np.int64), counts.astype(np.int64))
    unsigned = flat.view(f"u{flat.dtype.itemsize}")
    most = 1 << 8 * flat.dtype.itemsize
    total = np.zeros(most, np.int64)
    for start in range(0, unsigned.size, _CHUNK):
        total += np.bincount(unsigned[start : start + _CHUNK], minlength=most)
    used = np.flatnonzero(total)
    symbols = used.astype(unsigned.dtype).view(flat.dtype).astype(np.int64)
    order = np.argsort(symbols)
    return Histogram(symbols[order], total[used][order])


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Shannon's bound: the sum of -log2(share) over all that was counted (Shannon 1948, theorem 9)."""
    counts = counts[counts > 0].astype(np.float64)
    return float(-(counts * np.log2(counts / counts.sum())).sum()) if counts.size > 1 else 0.0


def floor_bytes(levels: NDArray[Any]) -> float:
    """The fewest bytes on average of any code that takes each level by itself, tables not counted."""
    return histogram(levels).entropy_bits / 8


def sparse_floor_bytes(levels: NDArray[Any]) -> tuple[float, float]:
    """The same bound in two parts, which add up to it: where the common level is not, and what is there instead.

    Returns:
        bytes for the positions, bytes for the values.
    """
    whole = histogram(levels)
    others = whole.without(whole.most_common)
    kept = int(others.counts.sum())
    return entropy_bits(np.array([kept, levels.size - kept])) / 8, others.entropy_bits / 8
