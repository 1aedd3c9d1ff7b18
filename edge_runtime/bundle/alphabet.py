"""Which symbols a coded list is made of, and the two shapes of a payload: dense, or gaps and values of a sparse tensor.

    payload   = gap_bits (4 bits, 0: dense), then
    dense     = list of all levels
    sparse    = common level, number of entries, list of gaps, list of values
    list      = alphabet, the coder's table, padding to a whole byte, codes
    alphabet  = lowest symbol, number of symbols - 1, 1 if they leave nothing out, else runs of used and unused symbols

Numbers are in Exp-Golomb code (`bits`), of the orders below.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.bits import Bits
from edge_runtime.errors import FormatError, IntegrityError

I16 = NDArray[np.int16]
LOWEST, HIGHEST = -32768, 32767
"""Of a level."""
LEVEL_ORDER, SYMBOLS_ORDER, RUN_ORDER, ENTRIES_ORDER = 2, 3, 1, 8
GAP_BITS_WIDTH = 4
_PIECE = 1 << 20

ReadList = Callable[[Bits, int], I16]
"""Decodes a list of so many symbols that begins at this bit; leaves the place at its end, a whole byte."""


def read_alphabet(bits: Bits) -> NDArray[np.int32]:
    """The symbols, ascending.

    Raises:
        FormatError: symbols that are no levels.
    """
    symbol = bits.signed(LEVEL_ORDER)
    count = bits.number(SYMBOLS_ORDER) + 1
    contiguous = bits.take(1)
    if symbol < LOWEST or symbol + count - 1 > HIGHEST:
        raise FormatError(f"has {count:,} symbols from {symbol:,} on")
    if contiguous:
        return np.arange(symbol, symbol + count, dtype=np.int32)
    symbols = np.empty(count, np.int32)
    done = 0
    while True:
        run = bits.number(RUN_ORDER) + 1
        if run > count - done or symbol + run - 1 > HIGHEST:
            raise FormatError("has runs of symbols beyond its alphabet")
        symbols[done : done + run] = np.arange(symbol, symbol + run)
        done += run
        if done == count:
            return symbols
        symbol += run + bits.number(RUN_ORDER) + 1
        if symbol > HIGHEST:
            raise FormatError("has symbols that are no levels")


def read_tensor(payload: memoryview, count: int, read_list: ReadList) -> I16:
    """All levels of a payload of either shape.

    Args:
        payload: from its first byte to its last.
        count: of levels.
        read_list: of the coder.

    Raises:
        FormatError: a header that no encoder writes.
        IntegrityError: entries that do not fit the tensor, or bytes left over.
    """
    bits = Bits(payload)
    gap_bits = bits.take(GAP_BITS_WIDTH)
    if not gap_bits:
        levels = read_list(bits, count)
    else:
        common = bits.signed(LEVEL_ORDER)
        entries = bits.number(ENTRIES_ORDER)
        if not LOWEST <= common <= HIGHEST or entries > count:
            raise FormatError(f"has {entries:,} entries among {count:,} levels of {common:,}")
        levels = np.full(count, common, np.int16)
        if entries:
            _place(levels, read_list(bits, entries), read_list(bits, entries))
    if bits.next_byte() != len(payload):
        raise IntegrityError(f"has {len(payload) - bits.next_byte():,} bytes too many")
    return levels


def _place(levels: I16, gaps: I16, values: I16) -> None:
    """Put each value behind its gap; in pieces, so that no list of 64-bit places is as long as the tensor."""
    if int(gaps.min()) < 0:
        raise FormatError("has gaps below 0")
    start = 0
    for first in range(0, gaps.size, _PIECE):
        at = np.cumsum(gaps[first : first + _PIECE], dtype=np.int64)
        at += np.arange(start, start + at.size)
        start = int(at[-1]) + 1
        if start > levels.size:
            raise IntegrityError("has entries beyond its end")
        levels[at] = values[first : first + _PIECE]
