"""Canonical Huffman codes of at most 16 bits: optimal lengths, compact tables, codes packed by a compiled loop."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.alphabet import write_alphabet, write_tensor
from build_tools.coding.bits import BitWriter
from build_tools.coding.histogram import Histogram
from edge_runtime.bundle.huffman import MAX_LENGTH, canonical_codes

LONGEST_GAP_BITS = 15


def encode_huffman(levels: NDArray[np.int16]) -> bytes:
    """Deep Compression's third stage (Han et al. 2016): gaps and values by a code each, or all levels by one."""
    return write_tensor(levels, _write_list, paid_bits, LONGEST_GAP_BITS)


def code_lengths(counts: NDArray[np.int64], limit: int = MAX_LENGTH) -> NDArray[np.int64]:
    """Lengths of the prefix code that takes least, no code longer than `limit`: package-merge.

    Larmore and Hirschberg 1990. Every symbol costs a coin of each size 2^-1 .. 2^-limit; pairs of coins of one size
    make a package of the next; the n - 1 cheapest packages at the end say how many coins each symbol gave.

    Args:
        counts: int64 [n], each at least 1, n at most 2^limit.
        limit: bits of the longest code.

    Returns:
        int64 [n]; 0 for a symbol that is alone.
    """
    if counts.size < 2:
        return np.zeros(counts.size, np.int64)
    order = np.argsort(counts, kind="stable")
    coins = counts[order]
    rounds: list[NDArray[np.bool_]] = []
    merged = coins
    packaged = np.zeros(coins.size, np.bool_)
    for _ in range(limit - 1):
        rounds.append(packaged)
        packages = merged[0 : merged.size - 1 : 2] + merged[1::2]
        both = np.concatenate([coins, packages])
        place = np.argsort(both, kind="stable")
        merged, packaged = both[place], place >= coins.size
    rounds.append(packaged)
    lengths = np.zeros(coins.size, np.int64)
    taken = 2 * coins.size - 2
    for packaged in reversed(rounds):
        packages_taken = int(np.count_nonzero(packaged[:taken]))
        lengths[: taken - packages_taken] += 1
        taken = 2 * packages_taken
    out = np.empty_like(lengths)
    out[order] = lengths
    return out


def paid_bits(histogram: Histogram) -> float:
    """What a list of these symbols takes, its table included."""
    lengths = code_lengths(histogram.counts)
    table = BitWriter()
    _write_lengths(table, histogram.symbols, lengths)
    return table.length + float((lengths * histogram.counts).sum())


def _write_lengths(bits: BitWriter, symbols: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    write_alphabet(bits, symbols)
    if symbols.size == 1:
        return
    before = int(symbols.size - 1).bit_length()
    for length in lengths.tolist():
        bits.signed(length - before)
        before = length


def _write_list(bits: BitWriter, symbols: NDArray[Any], histogram: Histogram) -> bytes:
    lengths = code_lengths(histogram.counts)
    _write_lengths(bits, histogram.symbols, lengths)
    if lengths.size == 1:
        return bits.to_bytes()
    first = int(histogram.symbols[0])
    table = np.zeros(int(histogram.symbols[-1]) - first + 1, np.uint32)
    table[histogram.symbols - first] = canonical_codes(lengths) << 5 | lengths
    out = np.zeros(int((lengths * histogram.counts).sum() + 7) // 8, np.uint8)
    _kernel()(np.ascontiguousarray(symbols, np.int16), first, table, out)
    return bits.to_bytes() + out.tobytes()


def _pack(symbols, first, table, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    held, have, at = np.uint64(0), np.int64(0), 0
    for index in range(symbols.size):
        entry = table[np.int64(symbols[index]) - first]
        length = np.int64(entry & np.uint32(31))
        held = held << np.uint64(length) | np.uint64(entry >> np.uint32(5))
        have += length
        while have >= 8:
            have -= 8
            out[at] = np.uint8(held >> np.uint64(have))
            at += 1
    if have:
        out[at] = np.uint8(held << np.uint64(8 - have))


@cache
def _kernel() -> Any:
    from numba import njit

    return njit(cache=True, nogil=True)(_pack)
