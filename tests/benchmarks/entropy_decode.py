"""How fast the coders decode on one core, and what they take beside Shannon's bound.

    python -m tests.benchmarks.entropy_decode

Seconds are of this process's processor time, so that other work on the machine does not count; kernels are compiled
and warm. The bound is that of levels coded one by one: what looks at neighbours may go below it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.adaptive import encode_adaptive
from build_tools.coding.code import ENCODERS, MAX_ADAPTIVE, encode
from build_tools.coding.histogram import floor_bytes
from edge_runtime.bundle.adaptive import decode_adaptive_fast
from edge_runtime.bundle.entropy import decode

ROUNDS = 3


def tensors() -> Iterator[tuple[str, NDArray[np.int8]]]:
    """What is coded, with its name."""
    rng = np.random.default_rng(1)
    yield "fc6-like, 4 % of 25088 x 1024 kept, 5 bits", vgg_like(rng, (1024, 25088), 0.04, 15)
    yield "the same as 0/1 mask", (vgg_like(rng, (1024, 25088), 0.04, 15) != 0).astype(np.int8)
    yield "dense Gaussian, 4 bits, 2048 x 2048", gaussian(rng, (2048, 2048), 2.2, 7)
    yield "dense Gaussian, 8 bits, 1024 x 1024", gaussian(rng, (1024, 1024), 30, 127)
    yield "dense Gaussian, 4 bits, 512 x 512", gaussian(rng, (512, 512), 2.2, 7)
    for rows, columns in ((8, 25), (16, 60), (50, 60), (100, 300)):
        yield f"LeNet-like, {rows} x {columns}", lenet_like(rng, rows, columns)


def vgg_like(rng: np.random.Generator, shape: tuple[int, int], kept: float, most: int) -> NDArray[np.int8]:
    """Tails of a Gaussian on evenly spaced levels, most of them next to the threshold."""
    sizes = np.minimum(1 + rng.exponential(1.8, shape).astype(np.int8), most)
    return np.where(rng.random(shape) < kept, np.where(rng.random(shape) < 0.5, sizes, -sizes), 0).astype(np.int8)


def gaussian(rng: np.random.Generator, shape: tuple[int, int], deviation: float, most: int) -> NDArray[np.int8]:
    """Gaussian weights on uniform levels."""
    return np.clip(np.rint(rng.standard_normal(shape) * deviation), -most, most).astype(np.int8)


def lenet_like(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.int8]:
    """Levels of a pruned layer: some neurons and inputs nearly dead, few of the kept weights far from zero."""
    chance = np.outer(rng.beta(0.8, 1.6, rows), rng.beta(0.8, 1.6, columns))
    sizes = rng.geometric(0.5, (rows, columns))
    levels = sizes * rng.choice([-1, 1], (rows, columns))
    return np.where(rng.random((rows, columns)) < chance, levels, 0).astype(np.int8)


def decode_seconds(coder: str, payload: bytes, shape: tuple[int, ...]) -> float:
    """Least processor time of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS + 1):
        started = time.process_time()
        if coder == "adaptive":  # compiled, also for tensors that are small enough for the plain decoder
            decode_adaptive_fast(memoryview(payload), shape)
        else:
            decode(coder, payload, shape, dtype=np.int8)
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Print a line for each tensor and coder."""
    encode_adaptive(np.zeros((3, 3), np.int16))
    print(f"{'':<44}{'coder':<10}{'bytes':>12}{'of floor':>10}{'encode':>10}{'decode':>10}  Msymbols/s")
    for name, levels in tensors():
        floor = floor_bytes(levels)
        for coder in ENCODERS:
            if coder == "adaptive" and levels.size > MAX_ADAPTIVE:
                continue
            encode(levels[:2, :50], coder)
            started = time.process_time()
            payload = encode(levels, coder).payload
            encoding = time.process_time() - started
            decoding = max(decode_seconds(coder, payload, levels.shape), 1e-6)
            paid, millions = len(payload), levels.size / 1e6
            speeds = f"{millions / max(encoding, 1e-6):>10.1f}{millions / decoding:>10.1f}"
            print(f"{name:<44}{coder:<10}{paid:>12,}{paid / floor:>10.4f}{speeds}")
            name = ""


if __name__ == "__main__":
    main()
