"""MNIST's files with digits that a tiny network learns in seconds: a bright square whose place is the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HELD_OUT = 5_000
"""As many of the last training digits are held out."""


def write_digits(folder: Path, train: int = 600, test: int = 200, seed: int = 0) -> Path:
    """The four idx files; `train` digits besides those held out."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for stem, count in (("train", train + HELD_OUT), ("t10k", test)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 90, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            y, x = 2 + 14 * (label // 5), 1 + 5 * (label % 5)
            image[y : y + 10, x : x + 5] += 100
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def idx(values: np.ndarray) -> bytes:
    """Unsigned bytes in MNIST's file format."""
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">i4").tobytes()
    return header + values.astype(np.uint8).tobytes()
