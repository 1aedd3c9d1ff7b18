"""rANS: the best table for a list of symbols, and the states and words that the runtime decodes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.alphabet import write_alphabet, write_tensor
from build_tools.coding.bits import BitWriter
from build_tools.coding.histogram import Histogram
from edge_runtime.bundle.rans import LOW, MAX_SCALE, lanes_for, next_order

LONGEST_GAP_BITS = 10
"""Of the gaps to try: longer ones need a larger table, and so many common levels in a row cost next to nothing."""
USUAL_SCALE, SCALE_ABOVE = 12, 5
"""Of the largest table: 32 KiB, which stay in a core's first cache; more for alphabets of more than 128 symbols."""


def encode_rans(levels: NDArray[np.int16]) -> bytes:
    """All levels by one table, or gaps and values by one each."""
    return write_tensor(levels, _write_list, paid_bits, LONGEST_GAP_BITS)


def frequencies(counts: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """Parts of 2^scale, each at least 1, for which the counted symbols take close to least.

    Args:
        counts: int64 [n], each at least 1, n at most 2^scale.
        scale: 1..16.
    """
    whole, total = 1 << scale, int(counts.sum())

    def shared(unit: float) -> NDArray[np.int64]:
        return np.maximum(1, (counts * unit + 0.5).astype(np.int64))

    low, high = 0.0, 2.0 * whole / total
    for _ in range(48):
        middle = (low + high) / 2
        low, high = (middle, high) if int(shared(middle).sum()) <= whole else (low, middle)
    parts = shared(low)
    left = whole - int(parts.sum())
    while left > 0:
        gains = counts * np.log2((parts + 1) / parts)
        chosen = np.argsort(-gains, kind="stable")[:left]
        parts[chosen] += 1
        left -= chosen.size
    return parts


def paid_bits(histogram: Histogram) -> float:
    """What a list of these symbols takes, its table included."""
    return 0.0 if histogram.counts.size == 1 else _best_table(histogram)[2]


def _best_table(histogram: Histogram) -> tuple[NDArray[np.int64], int, float]:
    """Frequencies, scale and bits of the scale for which table and symbols take least together."""
    used = int(histogram.counts.size)
    enough = (used - 1).bit_length()
    best: tuple[NDArray[np.int64], int, float] | None = None
    for scale in range(max(1, enough), max(USUAL_SCALE, min(MAX_SCALE, enough + SCALE_ABOVE)) + 1):
        parts = frequencies(histogram.counts, scale)
        table = BitWriter()
        _write_table(table, histogram.symbols, parts, scale)
        bits = table.length + float((histogram.counts * (scale - np.log2(parts))).sum())
        if best is None or bits < best[2]:
            best = parts, scale, bits
    assert best is not None
    return best


def _write_table(bits: BitWriter, symbols: NDArray[np.int64], parts: NDArray[np.int64], scale: int) -> None:
    write_alphabet(bits, symbols)
    bits.put(scale - 1, 4)
    before = (1 << scale) // symbols.size
    for part in parts[:-1].tolist():
        bits.number(part - 1, next_order(before))
        before = part


def _write_list(bits: BitWriter, symbols: NDArray[Any], histogram: Histogram) -> bytes:
    if histogram.counts.size == 1:
        write_alphabet(bits, histogram.symbols)
        return bits.to_bytes()
    parts, scale, paid = _best_table(histogram)
    _write_table(bits, histogram.symbols, parts, scale)
    first = int(histogram.symbols[0])
    table = np.zeros((int(histogram.symbols[-1]) - first + 1, 2), np.int64)
    table[histogram.symbols - first] = np.stack([parts, np.cumsum(parts) - parts], 1)
    narrow = np.ascontiguousarray(symbols, np.int16)
    states = np.full(lanes_for(narrow.size), LOW, np.int64)
    # What rounding of the states costs is far below 2 %; no symbol takes more than a word.
    words = np.empty(min(narrow.size, int(paid / 16 * 1.02) + 64), np.uint16)
    first_word = int(_kernel()(narrow, first, table, scale, states, words))
    if first_word < 0:
        states[:] = LOW
        words = np.empty(narrow.size, np.uint16)
        first_word = int(_kernel()(narrow, first, table, scale, states, words))
    return bits.to_bytes() + states.astype("<u4").tobytes() + words[first_word:].astype("<u2", copy=False).tobytes()


def _pack(symbols, first, table, scale, states, words):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fill `words` from its end, last symbol first; the index of the first word, -1 if there is no room."""
    at = words.size
    for index in range(symbols.size - 1, -1, -1):
        lane = index % states.size
        frequency, start = table[np.int64(symbols[index]) - first, 0], table[np.int64(symbols[index]) - first, 1]
        state = states[lane]
        if state >= frequency << (32 - scale):
            at -= 1
            if at < 0:
                return -1
            words[at] = state & 0xFFFF
            state >>= 16
        states[lane] = (state // frequency << scale) + state % frequency + start
    return at


@cache
def _kernel() -> Any:
    from numba import njit

    return njit(cache=True, nogil=True)(_pack)
