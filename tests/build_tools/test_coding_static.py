"""Histograms, canonical Huffman codes and rANS tables against plain references and Shannon's bound."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.coding.code import encode
from build_tools.coding.histogram import entropy_bits, floor_bytes, histogram, sparse_floor_bytes
from build_tools.coding.huffman import code_lengths
from build_tools.coding.positions import Entries, find_entries
from build_tools.coding.rans import frequencies
from edge_runtime.bundle.huffman import canonical_codes

counts_lists = st.lists(st.integers(1, 10_000), min_size=2, max_size=60)


def huffman_bits_reference(counts: list[int]) -> int:
    """Bits of Huffman's own construction: join the two rarest until one is left; every join costs its count."""
    heap = list(counts)
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits


def fc_levels(size: int, density: float, seed: int = 1) -> NDArray[np.int32]:
    """Pruned Gaussian weights on 31 levels."""
    rng = np.random.default_rng(seed)
    kept = rng.random(size) < density
    sizes = np.minimum(1 + rng.exponential(3.0, size).astype(np.int32), 15)
    return np.where(kept, sizes * rng.choice([-1, 1], size), 0).astype(np.int32)


@given(counts_lists)
def test_code_lengths_are_those_of_huffmans_construction(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts), limit=64)
    assert int((lengths * counts).sum()) == huffman_bits_reference(counts)


@given(counts_lists)
def test_huffman_pays_less_than_a_bit_a_symbol_above_the_floor(counts: list[int]) -> None:
    paid = int((code_lengths(np.array(counts)) * counts).sum())
    floor = entropy_bits(np.array(counts))
    assert floor - 1e-6 <= paid <= floor + sum(counts)


@given(st.lists(st.integers(1, 2**40), min_size=2, max_size=256), st.integers(8, 16))
def test_limited_codes_are_complete_and_never_too_long(counts: list[int], limit: int) -> None:
    lengths = code_lengths(np.array(counts), limit)
    assert lengths.max() <= limit
    assert sum(2.0 ** -int(length) for length in lengths) == 1.0
    by_count = sorted(zip(counts, lengths.tolist(), strict=True))
    assert all(a[1] >= b[1] for a, b in itertools.pairwise(by_count) if a[0] < b[0])


def test_a_limit_costs_as_little_as_the_best_code_within_it() -> None:
    # Fibonacci counts make the longest codes of all: here of 6 bits.
    counts = np.array([1, 1, 2, 3, 5, 8, 13])
    candidates = [
        sorted(lengths, reverse=True)
        for lengths in np.ndindex(4, 4, 4, 4, 4, 4, 4)
        if sum(2.0 ** -(n + 1) for n in lengths) == 1
    ]
    best = min(sum((n + 1) * c for n, c in zip(lengths, counts, strict=True)) for lengths in candidates)
    assert int((code_lengths(counts, 4) * counts).sum()) == best


@given(counts_lists)
def test_no_canonical_code_begins_another(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts))
    codes = [f"{c:0{n}b}" for c, n in zip(canonical_codes(lengths).tolist(), lengths.tolist(), strict=True)]
    assert not any(a != b and b.startswith(a) for a in codes for b in codes)
    assert len(set(codes)) == len(codes)


@given(counts_lists, st.integers(6, 16))
def test_frequencies_are_parts_of_a_whole_and_none_is_zero(counts: list[int], scale: int) -> None:
    parts = frequencies(np.array(counts), scale)
    assert int(parts.sum()) == 1 << scale
    assert int(parts.min()) >= 1


def test_frequencies_cost_as_little_as_any_parts() -> None:
    counts = np.array([1, 2, 40, 57])
    costs = {
        (a, b, c): -float((counts * np.log2(np.array([a, b, c, 16 - a - b - c]) / 16)).sum())
        for a in range(1, 14) for b in range(1, 15 - a) for c in range(1, 16 - a - b)
    }  # fmt: skip
    assert tuple(frequencies(counts, 4)[:3].tolist()) == min(costs, key=lambda parts: costs[parts])


def test_rans_is_within_one_percent_of_the_floor_on_large_tensors() -> None:
    for density in (0.04, 0.3, 1.0):
        levels = fc_levels(300_000, density)
        assert floor_bytes(levels) <= len(encode(levels, "rans").payload) <= 1.01 * floor_bytes(levels)


def test_huffman_is_within_three_percent_of_the_floor_on_sparse_tensors() -> None:
    levels = fc_levels(300_000, 0.04)
    assert len(encode(levels, "huffman").payload) <= 1.03 * floor_bytes(levels)


def test_rans_goes_below_the_bit_a_symbol_that_huffman_cannot() -> None:
    mask = (fc_levels(100_000, 0.3) != 0).astype(np.int32)
    assert len(encode(mask, "rans").payload) < 0.9 * 100_000 / 8


def test_the_floor_of_positions_and_values_is_the_floor_of_levels() -> None:
    levels = fc_levels(10_000, 0.1)
    assert sum(sparse_floor_bytes(levels)) == pytest.approx(floor_bytes(levels))


@given(st.lists(st.integers(-32768, 32767), max_size=200), st.sampled_from(["int8", "uint8", "int16", "int32"]))
def test_a_histogram_counts_every_symbol(values: list[int], dtype: str) -> None:
    array = np.array(values, np.int64).astype(dtype)
    found = histogram(array)
    symbols, counts = np.unique(array, return_counts=True)
    assert found.symbols.tolist() == symbols.tolist()
    assert found.counts.tolist() == counts.tolist()


@settings(deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=300), st.integers(1, 4))
def test_entries_with_fillers_give_the_tensor_back(values: list[int], gap_bits: int) -> None:
    levels = np.array(values, np.int16)
    entries = find_entries(levels, 0).capped(gap_bits)
    assert entries.gaps.size == 0 or int(entries.gaps.max()) < 1 << gap_bits
    assert expand_reference(entries, levels.size) == values


def test_a_long_gap_is_bridged_by_fillers() -> None:
    levels = np.zeros(20, np.int16)
    levels[[3, 19]] = 5, -4
    entries = find_entries(levels, 0).capped(3)
    assert entries.gaps.tolist() == [3, 7, 7]
    assert entries.values.tolist() == [5, 0, -4]


def expand_reference(entries: Entries, size: int) -> list[int]:
    """The tensor as one writes it down by hand: so many common levels, then a value."""
    levels: list[int] = []
    for gap, value in zip(entries.gaps.tolist(), entries.values.tolist(), strict=True):
        levels += [entries.common] * gap + [value]
    return levels + [entries.common] * (size - len(levels))
