"""Encodes by the runtime's own adaptive model: tries the orders and first chances that a header can name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.bits import BitWriter
from build_tools.coding.histogram import histogram
from build_tools.errors import PassError
from edge_runtime.bundle.adaptive import (
    MAGNITUDE_CHANCES,
    MAX_LEVELS,
    WINDOW_BYTES,
    ZERO_CHANCES,
    Header,
    Order,
    begin,
    shortest_end,
)  # fmt: skip

TRY_ALL_BELOW = 20_000
"""Levels up to which every setting is tried; beyond, a wrong first chance is soon unlearned."""
LARGEST_SIDE = 32


def encode_adaptive(levels: NDArray[np.int16]) -> bytes:
    """The smallest payload found: order, common level and first chances are tried one after the other.

    Raises:
        PassError: more levels than the coder takes.
    """
    if levels.size > MAX_LEVELS:
        raise PassError(f"{levels.size:,} levels are too many for the adaptive coder; use rans or huffman")
    small = levels.size < TRY_ALL_BELOW
    common = histogram(levels).most_common
    best = _encode(levels, Header(Order(), common, _zero_chance(levels, common), 1))

    def try_all(settings: Iterable[dict[str, Any]]) -> None:
        nonlocal best
        best = min([best, *(_encode(levels, replace(best[1], **one)) for one in settings)], key=lambda one: len(one[0]))

    try_all({"order": order} for order in _orders(levels.shape, small))
    others = {0, int(np.median(levels))} - {common}
    try_all({"common": other, "zero": _zero_chance(levels, other)} for other in sorted(others))
    try_all({"magnitude": index} for index in range(len(MAGNITUDE_CHANCES)))
    if small:
        zero = best[1].zero
        try_all({"zero": index} for index in range(len(ZERO_CHANCES)) if 1 <= abs(index - zero) <= 3)
    return best[0]


def _zero_chance(levels: NDArray[np.int16], common: int) -> int:
    share = np.count_nonzero(levels == common) / levels.size
    return int(np.argmin(np.abs(np.array(ZERO_CHANCES) / 65536 - share)))


def _orders(shape: tuple[int, ...], small: bool) -> Iterator[Order]:
    if len(shape) > 1:
        yield Order(transposed=True)
    if len(shape) == 2 and small:
        for transposed in (False, True):
            columns = shape[0] if transposed else shape[1]
            for side in range(2, min(LARGEST_SIDE, math.isqrt(columns)) + 1):
                if columns % side**2 == 0:
                    yield Order(side, transposed)


def _encode(levels: NDArray[np.int16], header: Header) -> tuple[bytes, Header]:
    from edge_runtime.bundle.adaptive_kernel import walk

    bits = BitWriter()
    bits.number(header.order.number)
    bits.signed(header.common)
    bits.put(header.zero, 4)
    bits.put(header.magnitude, 2)
    start = bits.to_bytes()
    walked = levels.swapaxes(0, 1) if header.order.transposed else levels
    flat = walked.reshape(-1).astype(np.int64)
    shape = header.order.walked_shape(levels.shape)
    room = 64 + 4 * flat.size
    while True:
        stream = np.zeros(room, np.uint8)
        state = begin(memoryview(start), bits.length)
        state[3] = first = bits.length // 8
        if walk(flat, *shape, *header.model, stream, state, False):
            break
        room *= 4
    end = shortest_end(int(state[0]), int(state[1])).to_bytes(WINDOW_BYTES, "big")
    payload = start[:first] + stream[first : int(state[3])].tobytes() + end
    return payload.rstrip(b"\0"), header
