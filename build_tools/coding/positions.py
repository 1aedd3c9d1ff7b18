"""Sparse tensors as Deep Compression stores them: of each level that is not the common one its gap and its value.

Han et al. 2016, figure 2: the gap counts the common levels skipped since the entry before, in `gap_bits` bits. Where
more must be skipped than that holds, a filler stands in between: an entry of the longest gap whose value is the common
level itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.histogram import Histogram, histogram

GAP_BITS = range(1, 16)
"""Gaps of 1 to 15 bits; the encoder takes what comes out smallest."""


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Gaps and values of a tensor's uncommon levels.

    Attributes:
        gaps: int64 [n], common levels skipped before each.
        values: int16 [n].
        common: the level that is left out.
    """

    gaps: NDArray[np.int64]
    values: NDArray[np.int16]
    common: int

    def capped(self, gap_bits: int) -> Entries:
        """The same with fillers, so that every gap fits."""
        fillers = self.gaps >> gap_bits
        longest = (1 << gap_bits) - 1
        last = np.cumsum(fillers + 1) - 1
        gaps = np.full(int(last[-1]) + 1 if last.size else 0, longest, np.int64)
        values = np.full(gaps.size, self.common, np.int16)
        gaps[last], values[last] = self.gaps & longest, self.values
        return Entries(gaps, values, self.common)


def find_entries(levels: NDArray[np.int16], common: int) -> Entries:
    """Entries of unlimited gap."""
    flat = levels.reshape(-1)
    at = np.flatnonzero(flat != common)
    return Entries(np.diff(at, prepend=-1) - 1, flat[at], common)


def best_gap_bits(entries: Entries, longest: int, paid_bits: Callable[[Histogram], float]) -> int:
    """Bits of a gap for which gaps and values, fillers among them, take least.

    Args:
        entries: of unlimited gap.
        longest: of the gap bits to try.
        paid_bits: what coding symbols of a histogram takes, table and all.
    """
    gaps, values = histogram(entries.gaps), histogram(entries.values)
    costs = {
        bits: paid_bits(capped_gaps) + paid_bits(capped_values)
        for bits, capped_gaps, capped_values in _capped_histograms(gaps, values, entries.common, longest)
    }
    return min(costs, key=lambda bits: costs[bits])


def _capped_histograms(
    gaps: Histogram, values: Histogram, common: int, longest: int
) -> Iterator[tuple[int, Histogram, Histogram]]:
    for bits in GAP_BITS:
        if bits > longest:
            return
        last = (1 << bits) - 1
        fillers = int(((gaps.symbols >> bits) * gaps.counts).sum())
        folded = np.bincount(gaps.symbols & last, gaps.counts, minlength=last + 1).astype(np.int64)
        folded[last] += fillers
        used = np.flatnonzero(folded)
        with_fillers = _added(values, common, fillers) if fillers else values
        yield bits, Histogram(used, folded[used]), with_fillers
        if not fillers:
            return


def _added(values: Histogram, symbol: int, count: int) -> Histogram:
    at = int(np.searchsorted(values.symbols, symbol))
    return Histogram(np.insert(values.symbols, at, symbol), np.insert(values.counts, at, count))


def sparse_enough(levels: NDArray[Any], whole: Histogram) -> bool:
    """Whether leaving the common level out can pay: it is more than half of all."""
    return 2 * int(whole.counts.max()) > levels.size
