"""From levels to bytes: the one door to the coders, and the choice of the smallest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.adaptive import encode_adaptive
from build_tools.coding.huffman import encode_huffman
from build_tools.coding.rans import encode_rans
from build_tools.coding.raw import encode_raw
from build_tools.errors import PassError
from edge_runtime.bundle.alphabet import HIGHEST, LOWEST

MAX_ADAPTIVE = 1_000_000
"""Levels up to which the adaptive coder is tried: beyond, its tables cost static coders nothing, and it is slow."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A tensor's levels in bytes.

    Attributes:
        coder: raw | huffman | rans | adaptive.
        payload: with every table and position in it; `edge_runtime.bundle.entropy.decode` reads it.
    """

    coder: str
    payload: bytes


ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "raw": encode_raw,
    "huffman": encode_huffman,
    "rans": encode_rans,
    "adaptive": encode_adaptive,
}
"""From the fastest to decode to the slowest, so that ties go to the faster one."""


def encode(levels: NDArray[Any], coder: str) -> Coded:
    """Code levels without loss.

    Args:
        levels: integers of -32768..32767, of any shape; the adaptive coder looks at neighbours in it.
        coder: raw | huffman | rans | adaptive | smallest.

    Raises:
        PassError: no such coder, or levels beyond the range.
    """
    if coder not in (*ENCODERS, "smallest"):
        raise PassError(f"coder = {coder!r}: no such coder; one of {', '.join(ENCODERS)}, smallest")
    if not np.issubdtype(levels.dtype, np.integer):
        raise PassError(f"levels of type {levels.dtype} cannot be coded; round them to whole numbers")
    if levels.size == 0:
        return Coded("raw" if coder == "smallest" else coder, b"")
    if int(levels.min()) < LOWEST or int(levels.max()) > HIGHEST:
        raise PassError(f"levels of {levels.min()}..{levels.max()} cannot be coded; quantise to at most 16 bits")
    levels = np.ascontiguousarray(levels, np.int16)
    if coder != "smallest":
        return Coded(coder, ENCODERS[coder](levels))
    tried = [name for name in ENCODERS if name != "adaptive" or levels.size <= MAX_ADAPTIVE]
    return min((Coded(name, ENCODERS[name](levels)) for name in tried), key=lambda coded: len(coded.payload))
