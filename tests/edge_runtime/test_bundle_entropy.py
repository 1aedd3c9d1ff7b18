"""Hostile payloads are refused in one line or give levels of the right shape: no crash, no hang, bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.coding.bits import BitWriter
from build_tools.coding.code import ENCODERS, encode
from edge_runtime.bundle.bits import Bits
from edge_runtime.bundle.entropy import decode
from edge_runtime.errors import FormatError, IntegrityError

CODERS = tuple(ENCODERS)
REFUSED = (FormatError, IntegrityError)
SHAPES = ((1,), (7,), (300,), (12, 25), (6, 4, 5, 5), (5000,), (2, 3, 4, 5, 6))


def sample(shape: tuple[int, ...], kind: int) -> NDArray[np.int32]:
    rng = np.random.default_rng(kind)
    return np.rint(rng.standard_normal(shape) * (0.4, 2.0, 90.0)[kind]).astype(np.int32)


PAYLOADS = [
    (coder, shape, encode(sample(shape, k), coder).payload) for coder in CODERS for shape in SHAPES for k in range(3)
]


def decodes_or_refuses(coder: str, payload: bytes, shape: tuple[int, ...]) -> bool:
    """Whether it was refused, by an error that says where."""
    try:
        levels = decode(coder, payload, shape, origin="porch.edge: weights.bin")
    except REFUSED as error:
        assert str(error).startswith("porch.edge: weights.bin: ")
        assert "\n" not in str(error)
        return True
    assert levels.shape == shape
    return False


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(CODERS), st.binary(max_size=200), st.sampled_from(SHAPES))
def test_random_bytes_do_no_harm(coder: str, payload: bytes, shape: tuple[int, ...]) -> None:
    decodes_or_refuses(coder, payload, shape)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PAYLOADS), st.data())
def test_flipped_bits_do_no_harm(coded: tuple[str, tuple[int, ...], bytes], data: st.DataObject) -> None:
    coder, shape, payload = coded
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        bit = data.draw(st.integers(0, 8 * len(payload) - 1))
        damaged[bit // 8] ^= 128 >> bit % 8
    decodes_or_refuses(coder, bytes(damaged), shape)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PAYLOADS), st.data())
def test_cut_payloads_do_no_harm(coded: tuple[str, tuple[int, ...], bytes], data: st.DataObject) -> None:
    coder, shape, payload = coded
    decodes_or_refuses(coder, payload[: data.draw(st.integers(0, len(payload) - 1))], shape)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PAYLOADS), st.sampled_from(SHAPES))
def test_another_shape_does_no_harm(coded: tuple[str, tuple[int, ...], bytes], shape: tuple[int, ...]) -> None:
    decodes_or_refuses(coded[0], coded[2], shape)


@pytest.mark.parametrize("coder", ["raw", "huffman", "rans"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_every_cut_of_a_static_code_is_noticed(coder: str, kind: int) -> None:
    payload = encode(sample((300,), kind), coder).payload
    for end in range(len(payload)):
        with pytest.raises(REFUSED):
            decode(coder, payload[:end], (300,))


@pytest.mark.parametrize("coder", CODERS)
def test_bytes_behind_the_end_are_noticed(coder: str) -> None:
    payload = encode(sample((300,), 1), coder).payload
    with pytest.raises(REFUSED):
        decode(coder, payload + b"\x01", (300,))


@pytest.mark.parametrize("coder", CODERS)
def test_memory_is_bounded_by_the_shape(coder: str) -> None:
    payload = encode(sample((300,), 1), coder).payload
    decode(coder, payload, (300,))  # compiled and imported
    rng = np.random.default_rng(5)
    tracemalloc.start()
    try:
        for length in (0, 1, 5, 40, 400):
            for _ in range(20):
                decodes_or_refuses(coder, rng.bytes(length), (1000,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_levels_beyond_the_wanted_type_are_refused() -> None:
    for coder in CODERS:
        payload = encode(np.array([0, 200, -1]), coder).payload
        assert decode(coder, payload, (3,), dtype=np.int16).tolist() == [0, 200, -1]
        for dtype in (np.int8, np.uint8):
            with pytest.raises(IntegrityError, match="beyond"):
                decode(coder, payload, (3,), dtype=dtype)


def test_an_unknown_coder_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match="coded by 'lzma', not by raw, huffman"):
        decode("lzma", b"", (1,))


def test_no_levels_need_no_bytes() -> None:
    assert decode("rans", b"", (0, 3), dtype=np.int8).shape == (0, 3)
    with pytest.raises(IntegrityError):
        decode("rans", b"\x00", (0,))


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 8)), max_size=30))
def test_numbers_of_a_header_come_back(numbers: list[tuple[int, int]]) -> None:
    writer = BitWriter()
    for number, order in numbers:
        writer.number(number, order)
        writer.signed(number - 50_000, order)
    bits = Bits(memoryview(writer.to_bytes()))
    for number, order in numbers:
        assert bits.number(order) == number
        assert bits.signed(order) == number - 50_000
    assert bits.next_byte() == len(writer.to_bytes())
