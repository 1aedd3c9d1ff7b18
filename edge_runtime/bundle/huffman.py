"""Canonical Huffman codes: only the lengths are stored, and a table tells symbol and length from the next few bits.

Huffman 1952; canonical form after Schwartz and Kallick 1964: codes of one length are consecutive numbers in the order
of their symbols, and shorter codes come first.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.alphabet import I16, read_alphabet, read_tensor
from edge_runtime.bundle.bits import Bits
from edge_runtime.errors import FormatError, IntegrityError

U32 = NDArray[np.uint32]
MAX_LENGTH = 16
"""Bits of the longest code: enough for 65,536 symbols, and the table stays within a core's second cache."""


def decode_huffman(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """The levels of a payload; see `alphabet` for its layout.

    Raises:
        FormatError: no complete code.
        IntegrityError: codes beyond the end, or too many bytes.
    """
    count = int(np.prod(shape, dtype=np.int64))

    def read_list(bits: Bits, symbols: int) -> I16:
        table, width = _decoding_table(*read_lengths(bits))
        start = bits.next_byte()
        if width == 0:
            return np.full(symbols, table[0] >> 5, np.int16)
        packed = np.frombuffer(payload, np.uint8, offset=start)
        if symbols > 8 * packed.size:
            raise IntegrityError(f"has {packed.size:,} bytes for {symbols:,} codes")
        out = np.empty(symbols, np.int16)
        words = np.zeros(packed.size // 4 + 2, np.uint32)
        words.view(np.uint8)[: packed.size] = packed
        end = int(_kernel()(words.byteswap() if _LITTLE else words, table, width, out))
        if end > 8 * packed.size:
            raise IntegrityError("has codes that go on behind its end")
        bits.at = 8 * start + end
        bits.next_byte()
        return out

    return read_tensor(payload, count, read_list)


_LITTLE = np.dtype(np.uint32).newbyteorder("<") == np.dtype(np.uint32)


def read_lengths(bits: Bits) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The alphabet and the length of each symbol's code in bits; a symbol alone has a code of no bits.

    Raises:
        FormatError: lengths that do not make a complete code.
    """
    symbols = read_alphabet(bits)
    if symbols.size == 1:
        return symbols, np.zeros(1, np.int64)
    length = (int(symbols.size) - 1).bit_length()
    lengths = np.empty(symbols.size, np.int64)
    for index in range(symbols.size):
        length += bits.signed()
        if not 1 <= length <= MAX_LENGTH:
            raise FormatError(f"has a code of {length} bits")
        lengths[index] = length
    if int((1 << (MAX_LENGTH - lengths)).sum()) != 1 << MAX_LENGTH:  # Kraft 1949
        raise FormatError("has lengths that make no complete code")
    return symbols, lengths


def _decoding_table(symbols: NDArray[np.int32], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """For each value of the next `width` bits: symbol << 5 | length."""
    width = int(lengths.max())
    order = np.argsort(lengths, kind="stable")
    entries = symbols[order] << 5 | lengths[order].astype(np.int32)
    return np.repeat(entries, 1 << (width - lengths[order])), width


def canonical_codes(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The code of each symbol, as a number of its length in bits."""
    order = np.argsort(lengths, kind="stable")
    width = int(lengths.max())
    steps = 1 << (width - lengths[order])
    codes = np.empty(lengths.size, np.int64)
    codes[order] = (np.cumsum(steps) - steps) >> (width - lengths[order])
    return codes


def decode_huffman_reference(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """The same, one bit after the other."""

    def read_list(bits: Bits, symbols: int) -> I16:
        alphabet, lengths = read_lengths(bits)
        bits.next_byte()
        codes = zip(lengths.tolist(), canonical_codes(lengths).tolist(), strict=True)
        meaning = dict(zip(codes, alphabet.tolist(), strict=True))
        out = np.empty(symbols, np.int16)
        for index in range(symbols):
            length, code = 0, 0
            while (length, code) not in meaning:
                length, code = length + 1, code << 1 | bits.take(1)
            out[index] = meaning[length, code]
        bits.next_byte()
        return out

    return read_tensor(payload, int(np.prod(shape, dtype=np.int64)), read_list)


def _decode_words(words, table, width, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fill `out` from codes in big-endian words; the bit behind the last code, or one far behind the end."""
    held, have, at = np.uint64(0), 0, 0
    mask = (1 << width) - 1
    for index in range(out.size):
        if have < width:
            if at >= words.size:
                return np.int64(1) << 62
            held = held << np.uint64(32) | np.uint64(words[at])
            at += 1
            have += 32
        entry = table[np.int64(held >> np.uint64(have - width)) & mask]
        have -= entry & 31
        out[index] = entry >> 5
    return np.int64(32) * at - have


@cache
def _kernel() -> Any:
    """Compiled on first use and kept on disk."""
    from numba import njit

    return njit(cache=True, nogil=True)(_decode_words)
