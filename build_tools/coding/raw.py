"""Levels in as many bits as their range needs: the baseline that every other coder must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.bits import BitWriter

_CHUNK = 1 << 16


def encode_raw(levels: NDArray[np.int16]) -> bytes:
    """A header of 2 bytes or more with width and lowest level, then `width` bits a level, lowest bit first."""
    lowest = int(levels.min())
    width = (int(levels.max()) - lowest).bit_length()
    lowest = min(lowest, 32768 - (1 << width))
    header = BitWriter()
    header.put(width, 5)
    header.signed(lowest, 8)
    above = (levels.reshape(-1).astype(np.int32) - lowest).astype("<u2")
    if width in (8, 16):
        return header.to_bytes() + above.astype("<u1" if width == 8 else "<u2").tobytes()
    packed = []
    for first in range(0, above.size if width else 0, _CHUNK):
        chunk = above[first : first + _CHUNK].view(np.uint8).reshape(-1, 2)
        packed.append(np.packbits(np.unpackbits(chunk, axis=1, count=width, bitorder="little"), bitorder="little"))
    return header.to_bytes() + b"".join(p.tobytes() for p in packed)
