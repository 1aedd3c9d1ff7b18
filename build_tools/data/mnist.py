"""Handwritten digits: the four idx files of MNIST, and the split that nothing chosen here ever looks behind."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import DataError

Split = Literal["train", "validation", "test"]
HELD_OUT = 5_000
"""Last training digits, by which everything is chosen: the test digits only say how good the choice was."""
FILES = {"train": "train", "validation": "train", "test": "t10k"}
SIDE = 28


def read(folder: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Digits and what they are.

    Args:
        folder: of the idx files, packed (`.gz`) or not.
        split: `train` (the first 55,000 training digits), `validation` (the last 5,000) or `test` (10,000).

    Returns:
        uint8 [n, 28, 28], 0 is background; int64 [n], 0..9.

    Raises:
        DataError: a file is missing, torn or not what its name says.
    """
    stem = FILES[split]
    images = _idx(folder, f"{stem}-images-idx3-ubyte", 3)
    labels = _idx(folder, f"{stem}-labels-idx1-ubyte", 1)
    if images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels) or len(images) <= HELD_OUT:
        raise DataError(
            f"{folder}: {stem} holds images {images.shape} and {len(labels)} labels; MNIST has as many 28x28 as labels"
        )
    if labels.max() > 9:
        raise DataError(f"{folder}: {stem}-labels-idx1-ubyte has the label {labels.max()}; digits are 0 to 9")
    part = {"train": slice(0, -HELD_OUT), "validation": slice(-HELD_OUT, None), "test": slice(None)}[split]
    return images[part], labels[part].astype(np.int64)


def _idx(folder: Path, name: str, sides: int) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes: 0, 0, 8, number of sides, the sides as big-endian int32, the bytes."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise DataError(f"{folder / name}.gz: no such file; give the folder of MNIST's four idx files")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); get the file again") from error
    start = 4 + 4 * sides
    if len(content) < start or content[:4] != bytes((0, 0, 8, sides)):
        raise DataError(f"{path}: not an idx file of bytes with {sides} sides; get the file again")
    shape = tuple(int(s) for s in np.frombuffer(content, ">i4", sides, 4))
    if min(shape) < 0 or len(content) != start + int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path}: says {shape} and holds {len(content) - start} bytes; get the file again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
