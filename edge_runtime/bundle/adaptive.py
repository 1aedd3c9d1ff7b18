"""The adaptive coder: for small tensors, where every table would cost more than it brings.

Each level is a few yes-or-no decisions: is it the common level, which side of it, and is it further away than 1, 2, ...
(the binarisation of DeepCABAC, Wiedemann et al. 2020). The chance of a decision is mixed from six views that learn as
they go: all decisions of its kind, its row, its column, how busy row and column have been so far, its place in the
kernel, its neighbours (logistic mixing: Mattern 2012; Mahoney's lpaq). An arithmetic coder turns chances and decisions
into bytes (Rissanen and Langdon 1979, carry-free with a 56-bit window). All is done in whole numbers, so every
processor reads the same levels. Nothing is stored but a header of a byte or two, which begins the payload:

    order      0: as the tensor lies; else 2 * side + transposed + 1: rows are cut into kernels of side x side,
               axes 0 and 1 change places
    common     the common level
    zero       4 bits: the common level's chance at first; `magnitude`: 2 bits: the chance that a level goes on

The coder's bytes follow without a gap, and zeros at the end are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.adaptive_reference import Decoder
from edge_runtime.bundle.adaptive_weights import KINDS, TRUSTS, VIEWS, WEIGHT_UNIT, WEIGHTS
from edge_runtime.bundle.alphabet import HIGHEST, I16, LOWEST
from edge_runtime.bundle.bits import Bits
from edge_runtime.errors import FormatError, IntegrityError

I64 = NDArray[np.int64]
MAX_LEVELS = 1 << 20
"""Of a tensor; a larger one would take a small computer seconds, and static tables cost it nothing."""
FEW = 256
"""Levels that plain Python has decoded before the compiled walk is loaded."""
WINDOW_BYTES = 7
"""Of the arithmetic coder's interval."""
DECISIONS = 16
"""Whether common; which side; whether beyond 1, 2, ... 14. What is beyond 14 goes on in Exp-Golomb code."""


@dataclass(frozen=True, slots=True)
class Order:
    """How a tensor's levels are walked through.

    Attributes:
        side: 2 and more: rows of a matrix are cut into kernels of side x side; else 0.
        transposed: axes 0 and 1 change places.
    """

    side: int = 0
    transposed: bool = False

    @property
    def number(self) -> int:
        """As in the header."""
        return 0 if not self.side and not self.transposed else 2 * self.side + self.transposed + 1

    def walked_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Rows, columns, places of a kernel, and width of a kernel, of a tensor of this shape.

        Raises:
            FormatError: the tensor cannot be walked through like that.
        """
        if (self.side or self.transposed) and len(shape) < 2:
            raise FormatError("has an order that a list cannot have")
        if self.transposed:
            shape = (shape[1], shape[0], *shape[2:])
        if self.side:
            places = self.side**2
            if len(shape) != 2 or self.side < 2 or shape[1] % places:
                raise FormatError(f"has kernels of {self.side} x {self.side} that do not fit its shape")
            return shape[0], shape[1] // places, places, self.side
        if len(shape) < 2:
            return 1, math.prod(shape), 1, 1
        return shape[0], shape[1], math.prod(shape[2:]), shape[-1] if len(shape) > 2 else 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a payload begins with; see the top of this file."""

    order: Order
    common: int
    zero: int
    magnitude: int

    @property
    def model(self) -> tuple[int, I64, I64, I64, I64]:
        """What the model begins with: common level, chances [16] of the decisions, weights, squash, stretch."""
        chances = np.full(DECISIONS, MAGNITUDE_CHANCES[self.magnitude])
        chances[:2] = ZERO_CHANCES[self.zero], 1 << 15
        weights = np.array(WEIGHTS).reshape(KINDS, VIEWS, TRUSTS) * (65536 // WEIGHT_UNIT)
        return (self.common, chances, weights, *stretch_tables())


def squash(stretched: float) -> int:
    """The chance, in parts of 65536, of ln(chance / (1 - chance)) = stretched; never so small that it costs 12 bits."""
    return min(65536 - 32, max(32, round(65536 / (1 + math.exp(-stretched)))))


@cache
def stretch_tables() -> tuple[I64, I64]:
    """Squash of -8 .. 8 in steps of 1/256, and its inverse for chances in steps of 1/4096, in 1/256.

    No entry lies so near to half a step that another `exp` or `log` could round it otherwise (tested).
    """
    squashed = [squash(d / 256) for d in range(-2048, 2048)]
    stretched = [round(256 * math.log((c + 0.5) / (4095.5 - c))) for c in range(4096)]
    return np.array(squashed), np.clip(np.array(stretched), -2047, 2047)


ZERO_CHANCES = tuple(squash(index / 2 - 2.5) for index in range(16))
MAGNITUDE_CHANCES = tuple(squash(value) for value in (-2.0, -1.2, -0.5, 0.2))


def read_header(payload: memoryview) -> tuple[Header, int]:
    """The header, and the bit behind it.

    Raises:
        FormatError: values out of range.
    """
    bits = Bits(memoryview(bytes(payload[:16]) + bytes(16)))
    number = bits.number()
    order = Order((number - 1) // 2, (number - 1) % 2 == 1) if number else Order()
    common, zero, magnitude = bits.signed(), bits.take(4), bits.take(2)
    if not LOWEST <= common <= HIGHEST:
        raise FormatError(f"has {common} as its common level")
    return Header(order, common, zero, magnitude), bits.at


def shortest_end(low: int, high: int) -> int:
    """Of the numbers in low..high the one that needs fewest bytes, zeros at the end left out: how an encoder ends."""
    for kept in range(WINDOW_BYTES):
        unit = 1 << 8 * (WINDOW_BYTES - kept)
        number = -(-low // unit) * unit
        if number <= high:
            return number
    return low


def begin(payload: memoryview, header_bits: int) -> I64:
    """The decoder's state behind the header: low, high, window, and the next byte to take in.

    The header's last bits are the first of the coder's number, so the interval begins as a part of the whole.
    """
    at, bits = divmod(header_bits, 8)
    window = int.from_bytes(bytes(payload[at : at + WINDOW_BYTES]).ljust(WINDOW_BYTES, b"\0"), "big")
    part = 1 << (8 * WINDOW_BYTES - bits)
    low = window // part * part
    return np.array([low, low + part - 1, window, at + WINDOW_BYTES])


def check_end(payload: memoryview, state: I64) -> None:
    """Raise IntegrityError unless an encoder would have ended like this."""
    low, high, window, taken = map(int, state)
    if window != shortest_end(low, high) or len(payload) > taken or not payload or not payload[-1]:
        raise IntegrityError("does not end as an encoder ends")


def decode_adaptive(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """The levels of a payload.

    Raises:
        FormatError: more levels than the coder takes, or a header that no encoder writes.
        IntegrityError: decisions that lead out of the levels' range, or bytes that no encoder ends with.
    """
    return (
        decode_adaptive_reference(payload, shape) if math.prod(shape) <= FEW else decode_adaptive_fast(payload, shape)
    )


def decode_adaptive_fast(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """By the compiled walk."""
    from edge_runtime.bundle.adaptive_kernel import walk

    header, state, walked = _prepare(payload, shape)
    levels = np.empty(math.prod(shape), np.int64)
    stream = np.frombuffer(bytearray(payload), np.uint8)
    if not walk(levels, *walked, *header.model, stream, state, True):
        raise IntegrityError("leads to levels out of range")
    check_end(payload, state)
    return _unwalk(levels, header.order, shape)


def decode_adaptive_reference(payload: memoryview, shape: tuple[int, ...]) -> I16:
    """By the plain decoder."""
    header, state, walked = _prepare(payload, shape)
    levels = Decoder(payload, state, header.model).levels(*walked)
    check_end(payload, state)
    return _unwalk(levels, header.order, shape)


def _prepare(payload: memoryview, shape: tuple[int, ...]) -> tuple[Header, I64, tuple[int, int, int, int]]:
    if math.prod(shape) > MAX_LEVELS:
        raise FormatError(f"has {math.prod(shape):,} levels, more than {MAX_LEVELS:,}")
    header, header_bits = read_header(payload)
    return header, begin(payload, header_bits), header.order.walked_shape(shape)


def _unwalk(levels: I64, order: Order, shape: tuple[int, ...]) -> I16:
    """From the order they were walked through to the tensor's own, flat."""
    narrow = levels.astype(np.int16)
    if not order.transposed:
        return narrow
    return narrow.reshape(shape[1], shape[0], *shape[2:]).swapaxes(0, 1).reshape(-1)
