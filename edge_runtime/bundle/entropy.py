"""From the bytes of a coded tensor back to its levels: the one door to the four coders, safe on hostile input.

A payload holds all it needs but the shape: tables and positions are in it. What a payload claims is checked before
memory is asked for, and memory is bounded by the shape and by the payload's own length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_runtime.bundle.adaptive import decode_adaptive
from edge_runtime.bundle.alphabet import HIGHEST, I16, LOWEST
from edge_runtime.bundle.bits import Bits
from edge_runtime.bundle.huffman import decode_huffman
from edge_runtime.bundle.rans import decode_rans
from edge_runtime.errors import FormatError, IntegrityError

Payload = bytes | memoryview
_CHUNK = 1 << 16
"""Levels unpacked at a time; a multiple of 8, so that every chunk begins at a whole byte."""


def decode(
    coder: str, payload: Payload, shape: tuple[int, ...], dtype: DTypeLike = np.int32, origin: str = "weights.bin"
) -> NDArray[Any]:
    """The levels that were coded.

    Args:
        coder: raw | huffman | rans | adaptive.
        payload: as `build_tools.coding.code.encode` made it.
        shape: of the tensor that was coded; the adaptive coder looks at neighbours in it.
        dtype: an integer type to give the levels in.
        origin: what the payload came from, for messages.

    Returns:
        `dtype` [*shape].

    Raises:
        FormatError: no such coder, or a header that no encoder writes.
        IntegrityError: a payload that does not decode to this shape and type.
    """
    count = math.prod(shape)
    if coder not in _DECODERS:
        raise FormatError(f"{origin}: coded by {coder[:40]!r}, not by {', '.join(_DECODERS)}; update edge-runtime")
    wanted = np.dtype(dtype)
    try:
        if count == 0:
            if len(payload):
                raise IntegrityError("has bytes for no levels")
            return np.zeros(shape, wanted)
        levels = _DECODERS[coder](memoryview(payload).cast("B"), shape)
    except (FormatError, IntegrityError) as error:
        raise type(error)(f"{origin}: a tensor coded by {coder} {error}; copy the file again") from None
    limits = np.iinfo(wanted)
    if (limits.min > LOWEST and int(levels.min()) < limits.min) or (
        limits.max < HIGHEST and int(levels.max()) > limits.max
    ):
        raise IntegrityError(f"{origin}: a tensor coded by {coder} has levels beyond {wanted}; copy the file again")
    return levels.astype(wanted, copy=False).reshape(shape)


def _decode_raw(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """Levels of `width` bits each, lowest bit first, above the lowest level."""
    count = math.prod(shape)
    bits = Bits(payload)
    width = bits.take(5)
    if width > 16:
        raise FormatError(f"has levels of {width} bits")
    lowest = bits.signed(8)
    start = bits.next_byte()
    if len(payload) - start != (count * width + 7) // 8:
        raise IntegrityError(f"has {len(payload) - start:,} bytes for {count:,} levels of {width} bits")
    if not LOWEST <= lowest <= HIGHEST + 1 - (1 << width):
        raise FormatError(f"has levels of {width} bits from {lowest}")
    packed = np.frombuffer(payload, np.uint8, offset=start)
    levels = np.empty(count, np.int16)
    if width in (8, 16):
        np.add(packed.view("<u1" if width == 8 else "<u2"), lowest, out=levels, casting="unsafe", dtype=np.int32)
        return levels
    levels[:] = lowest
    for first in range(0, count if width else 0, _CHUNK):
        chunk = levels[first : first + _CHUNK]
        byte = first * width // 8
        ones = np.unpackbits(packed[byte : byte + (len(chunk) * width + 7) // 8], bitorder="little")
        for bit, column in enumerate(ones[: len(chunk) * width].reshape(-1, width).T):
            chunk += column.astype(np.int16) << bit
        if ones[len(chunk) * width :].any():
            raise IntegrityError("has ones behind its end")
    return levels


_DECODERS: dict[str, Callable[[memoryview, tuple[int, ...]], I16]] = {
    "raw": _decode_raw,
    "huffman": decode_huffman,
    "rans": decode_rans,
    "adaptive": decode_adaptive,
}
