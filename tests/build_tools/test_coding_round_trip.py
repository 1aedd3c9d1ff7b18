"""Every coder gives back what it was given, to the compiled decoders and to their plain references alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from build_tools.coding.code import ENCODERS, encode
from build_tools.errors import PassError
from edge_runtime.bundle.adaptive import decode_adaptive_fast, decode_adaptive_reference
from edge_runtime.bundle.entropy import decode
from edge_runtime.bundle.huffman import decode_huffman, decode_huffman_reference
from edge_runtime.bundle.rans import decode_rans, decode_rans_reference

CODERS = tuple(ENCODERS)
REFERENCES = {
    "huffman": (decode_huffman, decode_huffman_reference),
    "rans": (decode_rans, decode_rans_reference),
    "adaptive": (decode_adaptive_fast, decode_adaptive_reference),
}

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
few_levels = st.integers(-3, 3)
sparse_levels = st.one_of(st.just(0), st.just(0), st.just(0), st.just(0), st.integers(-20, 20))
any_levels = st.integers(-32768, 32767)
tensors = st.one_of(hnp.arrays(np.int32, shapes, elements=e) for e in (few_levels, sparse_levels, any_levels))


@pytest.mark.parametrize("coder", [*CODERS, "smallest"])
@settings(deadline=None, max_examples=60)
@given(levels=tensors)
def test_levels_come_back(coder: str, levels: NDArray[np.int32]) -> None:
    coded = encode(levels, coder)
    back = decode(coded.coder, coded.payload, levels.shape)
    assert back.dtype == np.int32
    assert back.shape == levels.shape
    assert np.array_equal(back, levels)


@pytest.mark.parametrize("coder", REFERENCES)
@settings(deadline=None, max_examples=40)
@given(levels=tensors.filter(lambda t: t.size > 0))
def test_the_compiled_decoder_equals_its_reference(coder: str, levels: NDArray[np.int32]) -> None:
    payload = memoryview(encode(levels, coder).payload)
    fast, reference = REFERENCES[coder]
    assert reference(payload, levels.shape).tolist() == levels.reshape(-1).tolist()
    assert fast(payload, levels.shape).tolist() == levels.reshape(-1).tolist()


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize(
    "levels",
    [
        np.zeros(5000, np.int8),
        np.full((3, 1, 5, 5), -7, np.int8),
        np.array([-32768, 32767], np.int16),
        np.array([255, 0, 255, 3], np.uint8),
        np.arange(-32768, 32768, dtype=np.int32),
        np.where(np.arange(70_000) % 9_001 == 9_000, 3, 0),  # runs far longer than any gap
        np.where(np.arange(20_000) == 19_999, -1, 0),
        np.where(np.arange(6000) % 7 == 0, np.arange(6000) % 31, 12),  # the common level is not 0
    ],
    ids=["zeros", "equal", "extremes", "bytes", "every level", "huge runs", "last of all", "common 12"],
)
def test_corner_cases_come_back(coder: str, levels: NDArray[np.generic]) -> None:
    payload = encode(levels, coder).payload
    assert np.array_equal(decode(coder, payload, levels.shape, dtype=levels.dtype), levels)


@pytest.mark.parametrize("coder", CODERS)
def test_many_levels_go_round_by_the_reference_too(coder: str) -> None:
    rng = np.random.default_rng(1)
    levels = np.rint(rng.standard_normal((40, 150)) * 3).astype(np.int32)  # enough for several rANS states
    payload = encode(levels, coder).payload
    assert np.array_equal(decode(coder, payload, levels.shape), levels)
    if coder in REFERENCES:
        assert np.array_equal(REFERENCES[coder][1](memoryview(payload), levels.shape).reshape(levels.shape), levels)


def test_the_smallest_is_no_larger_than_any() -> None:
    rng = np.random.default_rng(2)
    for scale in (0.3, 1.0, 40.0):
        levels = np.rint(rng.standard_normal((20, 30)) * scale).astype(np.int32)
        sizes = [len(encode(levels, coder).payload) for coder in CODERS]
        assert len(encode(levels, "smallest").payload) == min(sizes)


def test_a_tie_goes_to_the_faster_decoder() -> None:
    assert encode(np.zeros(1000, np.int8), "smallest").coder in ("raw", "adaptive")
    assert encode(np.array([1, 2, 3, 0] * 2), "raw").payload == encode(np.array([1, 2, 3, 0] * 2), "raw").payload


def test_the_same_levels_give_the_same_bytes_in_any_memory_layout() -> None:
    levels = np.rint(np.random.default_rng(3).standard_normal((30, 20)) * 2).astype(np.int32)
    for coder in CODERS:
        assert encode(levels, coder) == encode(np.asfortranarray(levels).astype(np.int8), coder)


@pytest.mark.parametrize(
    ("levels", "coder", "problem"),
    [
        (np.array([1, 2]), "zip", "no such coder; one of raw"),
        (np.array([0.5]), "raw", "round them to whole numbers"),
        (np.array([0, 40_000]), "rans", "quantise to at most 16 bits"),
    ],
)
def test_what_cannot_be_coded_is_refused(levels: NDArray[np.generic], coder: str, problem: str) -> None:
    with pytest.raises(PassError, match=problem):
        encode(levels, coder)
