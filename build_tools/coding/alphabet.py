"""Writes what `edge_runtime.bundle.alphabet` reads: alphabets, and tensors dense or as gaps and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.bits import BitWriter
from build_tools.coding.histogram import Histogram, histogram
from build_tools.coding.positions import best_gap_bits, find_entries, sparse_enough
from edge_runtime.bundle.alphabet import ENTRIES_ORDER, GAP_BITS_WIDTH, LEVEL_ORDER, RUN_ORDER, SYMBOLS_ORDER

WriteList = Callable[[BitWriter, NDArray[Any], Histogram], bytes]
"""Adds a list's tables to the bits before it, and gives all of it."""


def write_alphabet(bits: BitWriter, symbols: NDArray[np.int64]) -> None:
    """The symbols, ascending."""
    bits.signed(int(symbols[0]), LEVEL_ORDER)
    bits.number(symbols.size - 1, SYMBOLS_ORDER)
    breaks = np.flatnonzero(np.diff(symbols) != 1) + 1
    bits.put(int(not breaks.size), 1)
    if not breaks.size:
        return
    starts, ends = np.concatenate([[0], breaks]), np.concatenate([breaks, [symbols.size]])
    for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if index:
            bits.number(int(symbols[start] - symbols[start - 1]) - 2, RUN_ORDER)
        bits.number(end - start - 1, RUN_ORDER)


def write_tensor(
    levels: NDArray[np.int16], write_list: WriteList, paid_bits: Callable[[Histogram], float], longest_gap_bits: int
) -> bytes:
    """A payload of the shape that is smaller.

    Args:
        levels: int16, of any shape, at least one.
        write_list: of the coder.
        paid_bits: what the coder takes for symbols of a histogram, table and all.
        longest_gap_bits: of the gaps to try.
    """
    whole = histogram(levels)
    if not sparse_enough(levels, whole):
        return _dense(levels, whole, write_list)
    entries = find_entries(levels, whole.most_common)
    if not entries.gaps.size:
        return _dense(levels, whole, write_list)
    gap_bits = best_gap_bits(entries, longest_gap_bits, paid_bits)
    capped = entries.capped(gap_bits)
    bits = BitWriter()
    bits.put(gap_bits, GAP_BITS_WIDTH)
    bits.signed(capped.common, LEVEL_ORDER)
    bits.number(capped.gaps.size, ENTRIES_ORDER)
    sparse = write_list(bits, capped.gaps, histogram(capped.gaps))
    sparse += write_list(BitWriter(), capped.values, histogram(capped.values))
    if 8 * len(sparse) < paid_bits(whole):
        return sparse
    # On a tie the sparse form: it decodes faster.
    return min(sparse, _dense(levels, whole, write_list), key=len)


def _dense(levels: NDArray[np.int16], whole: Histogram, write_list: WriteList) -> bytes:
    bits = BitWriter()
    bits.put(0, GAP_BITS_WIDTH)
    return write_list(bits, levels.reshape(-1), whole)
