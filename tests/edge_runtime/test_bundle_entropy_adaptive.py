"""The adaptive coder: alike on every processor, smaller than any table on small tensors, strict about its end."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from build_tools.coding.code import encode
from build_tools.coding.histogram import floor_bytes
from edge_runtime.bundle.adaptive import MAX_LEVELS, Order, read_header, shortest_end, stretch_tables
from edge_runtime.bundle.entropy import decode
from edge_runtime.errors import FormatError, IntegrityError


def lenet_like(rows: int, columns: int, seed: int) -> NDArray[np.int32]:
    """Levels of a pruned layer: some neurons and inputs nearly dead, few of the kept weights far from zero."""
    rng = np.random.default_rng(seed)
    chance = np.outer(rng.beta(0.8, 1.6, rows), rng.beta(0.8, 1.6, columns))
    sizes = 1 + rng.geometric(0.5, (rows, columns)) - 1
    return np.where(rng.random((rows, columns)) < chance, sizes * rng.choice([-1, 1], (rows, columns)), 0)


def test_the_tables_round_alike_with_any_exp_and_log() -> None:
    """A half step lies at least 1e-6 away from every value, libraries differ by 1e-15 at most."""
    for d in range(-2048, 2048):
        assert abs(65536 / (1 + math.exp(-d / 256)) % 1 - 0.5) > 1e-6
    for c in range(4096):
        assert abs(256 * math.log((c + 0.5) / (4095.5 - c)) % 1 - 0.5) > 1e-6
    squashed, stretched = stretch_tables()
    tables = np.concatenate([squashed, stretched]).astype("<i4").tobytes()
    assert hashlib.sha256(tables).hexdigest()[:16] == "19a116cbaeff049c"


def test_bytes_stay_the_same_from_version_to_version() -> None:
    payload = encode(lenet_like(20, 30, 1), "adaptive").payload
    assert hashlib.sha256(payload).hexdigest()[:16] == "a6439888a7a59f86"


@pytest.mark.parametrize(("rows", "columns"), [(10, 20), (20, 50), (50, 60)])
def test_small_sparse_layers_take_five_percent_less_than_the_best_static_code(rows: int, columns: int) -> None:
    paid, static = 0, 0
    for seed in range(5):
        levels = lenet_like(rows, columns, seed)
        paid += len(encode(levels, "adaptive").payload)
        static += min(len(encode(levels, coder).payload) for coder in ("huffman", "rans"))
    assert paid < 0.95 * static


def test_structure_takes_it_below_the_floor_of_single_levels() -> None:
    levels = lenet_like(60, 60, 9)
    assert len(encode(levels, "adaptive").payload) < floor_bytes(levels)


def test_a_tensor_of_zeros_takes_a_byte_or_two() -> None:
    assert len(encode(np.zeros((50, 20, 5, 5), np.int8), "adaptive").payload) <= 10
    assert len(encode(np.zeros(10, np.int8), "adaptive").payload) <= 2


def test_the_end_is_the_shortest_number_in_the_interval() -> None:
    top = (1 << 56) - 1
    assert shortest_end(0, top) == 0
    assert shortest_end(1, top) == 1 << 48
    assert shortest_end((5 << 48) + 1, (7 << 48) - 1) == 6 << 48
    assert shortest_end((5 << 48) + 1, (6 << 48) - 1) == (5 << 48) + (1 << 40)
    assert shortest_end(123, 123) == 123


def test_bytes_behind_the_shortest_end_are_noticed() -> None:
    levels = lenet_like(30, 30, 3)
    payload = encode(levels, "adaptive").payload
    for other in (payload + b"\0", payload + b"\1", payload + bytes(20)):
        with pytest.raises(IntegrityError):
            decode("adaptive", other, levels.shape)


def test_rows_cut_into_kernels_are_walked_kernel_by_kernel() -> None:
    assert Order(4).walked_shape((10, 48)) == (10, 3, 16, 4)
    assert Order(transposed=True).walked_shape((10, 48, 3, 5)) == (48, 10, 15, 5)
    for order, shape in ((Order(4), (10, 40)), (Order(2), (1, 2, 2, 2)), (Order(transposed=True), (9,))):
        with pytest.raises(FormatError):
            order.walked_shape(shape)


def test_the_encoder_finds_the_kernels_in_a_flattened_layer() -> None:
    """Behind 4 x 4 maps of which only the diagonal counts."""
    rng = np.random.default_rng(4)
    maps = rng.integers(-3, 4, (6, 40, 4, 4)) * np.eye(4, dtype=np.int64)
    header, _ = read_header(memoryview(encode(maps.reshape(6, 640), "adaptive").payload))
    assert header.order.side == 4


def test_more_levels_than_the_coder_takes_are_refused_before_memory_is_asked_for() -> None:
    with pytest.raises(FormatError, match="more than"):
        decode("adaptive", b"\x80", (MAX_LEVELS + 1,))
