"""rANS with one static table a list: as close to Shannon's bound as the table, and decoded in a few steps a symbol.

Duda 2013, "Asymmetric numeral systems", section 2.3 (range variant); several states take turns so that a core works on
them at once (Giesen 2014, "Interleaved entropy coders"). States are 32-bit numbers of at least 2^16 and take in 16
bits at a time. Layout of a list: see `alphabet`; its table is `scale - 1` (4 bits) and all frequencies but the last,
which are parts of 2^scale; then the states as the decoder begins, and its 16-bit words, all little-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.alphabet import I16, ReadList, read_alphabet, read_tensor
from edge_runtime.bundle.bits import Bits
from edge_runtime.errors import FormatError, IntegrityError

LOW = 1 << 16
"""Least state; where the encoder begins and the decoder must end."""
MAX_SCALE = 16
LANES, LANES_FROM = 4, 4096
"""States that take turns in a list of so many symbols; a shorter one has a single state."""


def lanes_for(symbols: int) -> int:
    """How many states a list of so many symbols has."""
    return LANES if symbols >= LANES_FROM else 1


def decode_rans(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """The levels of a payload; see `alphabet` for its layout.

    Raises:
        FormatError: no sound table.
        IntegrityError: words beyond the end, or states that do not come out where the encoder began.
    """
    return read_tensor(payload, int(np.prod(shape, dtype=np.int64)), _list_reader(payload, _decode_fast))


def decode_rans_reference(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """The same, plainly."""
    return read_tensor(payload, int(np.prod(shape, dtype=np.int64)), _list_reader(payload, _decode_reference))


def next_order(frequency: int) -> int:
    """Order of the Exp-Golomb code of the frequency behind this one: neighbours are mostly alike."""
    return max(0, frequency.bit_length() - 2)


def read_frequencies(bits: Bits) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Alphabet, frequencies and scale; a symbol alone has no frequency and scale 0.

    Raises:
        FormatError: frequencies that are not parts of a whole.
    """
    symbols = read_alphabet(bits)
    if symbols.size == 1:
        return symbols, np.ones(1, np.int64), 0
    scale = bits.take(4) + 1
    left, before = 1 << scale, (1 << scale) // symbols.size
    frequencies = np.empty(symbols.size, np.int64)
    for index in range(symbols.size - 1):
        before = bits.number(next_order(before)) + 1
        left -= before
        if left < 1:
            raise FormatError("has frequencies that are not parts of a whole")
        frequencies[index] = before
    frequencies[-1] = left
    return symbols, frequencies, scale


def _list_reader(payload: memoryview, decode: Callable[..., tuple[I16, int]]) -> ReadList:
    def read_list(bits: Bits, count: int) -> I16:
        symbols, frequencies, scale = read_frequencies(bits)
        start = bits.next_byte()
        if not scale:
            return np.full(count, symbols[0], np.int16)
        lanes = lanes_for(count)
        words_at = start + 4 * lanes
        if words_at > len(payload):
            raise IntegrityError("ends within its states")
        states = np.frombuffer(payload, "<u4", lanes, start).astype(np.int64)
        if int(states.min()) < LOW:
            raise FormatError("has a state that no encoder ends with")
        words = np.frombuffer(payload, "<u2", (len(payload) - words_at) // 2, words_at).astype(np.uint16)
        out, used = decode(words, symbols, frequencies, scale, states, count)
        if used > words.size or not (states == LOW).all():
            raise IntegrityError("does not come out where it began")
        bits.at = 8 * (words_at + 2 * used)
        return out

    return read_list


def _decode_fast(
    words: NDArray[np.uint16], symbols: NDArray[np.int32], frequencies: NDArray[np.int64], scale: int,
    states: NDArray[np.int64], count: int,
) -> tuple[I16, int]:  # fmt: skip
    """Symbols, and how many words they took; `states` are left as they come out."""
    starts = np.cumsum(frequencies) - frequencies
    bias = np.arange(1 << scale) - np.repeat(starts, frequencies)
    # One look gives all of a slot: symbol (two's complement), frequency, and place within the symbol's slots.
    table = np.repeat(symbols.astype(np.int64) << 32 | frequencies << 16, frequencies) | bias
    out = np.empty(count, np.int16)
    used = int(_kernel()(words, table, scale, states, out))
    return out, used


def _decode_reference(
    words: NDArray[np.uint16], symbols: NDArray[np.int32], frequencies: NDArray[np.int64], scale: int,
    states: NDArray[np.int64], count: int,
) -> tuple[I16, int]:  # fmt: skip
    out, used = np.empty(count, np.int16), 0
    ends = np.cumsum(frequencies)
    for index in range(count):
        lane = index % states.size
        whole, slot = divmod(int(states[lane]), 1 << scale)
        which = int(np.searchsorted(ends, slot, "right"))
        frequency = int(frequencies[which])
        state = frequency * whole + slot - (int(ends[which]) - frequency)
        if state < LOW:
            if used == words.size:
                return out, used + 1
            state = state << 16 | int(words[used])
            used += 1
        states[lane], out[index] = state, symbols[which]
    return out, used


def _decode_words(words, table, scale, states, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fill `out`; how many words were taken, more than there are if they did not do."""
    mask = np.int64((1 << scale) - 1)
    at, index = 0, 0
    if states.size == 4:
        a, b, c, d = states[0], states[1], states[2], states[3]
        while index + 4 <= out.size and at + 4 <= words.size:
            entry_a, entry_b, entry_c, entry_d = table[a & mask], table[b & mask], table[c & mask], table[d & mask]
            a = ((entry_a >> 16) & 0xFFFF) * (a >> scale) + (entry_a & 0xFFFF)
            b = ((entry_b >> 16) & 0xFFFF) * (b >> scale) + (entry_b & 0xFFFF)
            c = ((entry_c >> 16) & 0xFFFF) * (c >> scale) + (entry_c & 0xFFFF)
            d = ((entry_d >> 16) & 0xFFFF) * (d >> scale) + (entry_d & 0xFFFF)
            out[index], out[index + 1] = entry_a >> 32, entry_b >> 32
            out[index + 2], out[index + 3] = entry_c >> 32, entry_d >> 32
            if a < 65536:
                a = a << 16 | words[at]
                at += 1
            if b < 65536:
                b = b << 16 | words[at]
                at += 1
            if c < 65536:
                c = c << 16 | words[at]
                at += 1
            if d < 65536:
                d = d << 16 | words[at]
                at += 1
            index += 4
        states[0], states[1], states[2], states[3] = a, b, c, d
    while index < out.size:
        lane = index % states.size
        entry = table[states[lane] & mask]
        state = ((entry >> 16) & 0xFFFF) * (states[lane] >> scale) + (entry & 0xFFFF)
        out[index] = entry >> 32
        if state < 65536:
            if at == words.size:
                return at + 1
            state = state << 16 | words[at]
            at += 1
        states[lane] = state
        index += 1
    return at


@cache
def _kernel() -> Any:
    """Compiled on first use and kept on disk."""
    from numba import njit

    return njit(cache=True, nogil=True)(_decode_words)
