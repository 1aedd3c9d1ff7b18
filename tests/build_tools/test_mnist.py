"""The idx files of MNIST, and digits that are distorted."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from build_tools.data import mnist
from build_tools.data.digits import distort
from build_tools.data.distortion import Distortion
from build_tools.errors import DataError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "mnist"


def write_set(folder: Path, stem: str, count: int, pack: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A set of `count` noisy digits as two idx files."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    labels = rng.integers(0, 10, count, np.uint8)
    for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
        content = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
        path = folder / (f"{name}.gz" if pack else name)
        path.write_bytes(gzip.compress(content) if pack else content)
    return images, labels


def test_the_last_5000_training_digits_are_held_out(tmp_path: Path) -> None:
    images, labels = write_set(tmp_path, "train", 5007)
    train, train_labels = mnist.read(tmp_path, "train")
    held, held_labels = mnist.read(tmp_path, "validation")
    assert len(train) == 7
    assert np.array_equal(np.concatenate([train, held]), images)
    assert np.array_equal(np.concatenate([train_labels, held_labels]), labels)


def test_unpacked_files_are_read_too(tmp_path: Path) -> None:
    images, labels = write_set(tmp_path, "t10k", 5001, pack=False)
    digits, said = mnist.read(tmp_path, "test")
    assert np.array_equal(digits, images)
    assert np.array_equal(said, labels)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: no such file"):
        mnist.read(tmp_path, "test")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda packed: packed[: len(packed) // 2], "cannot be read"),
        (lambda packed: gzip.compress(gzip.decompress(packed)[:-1]), "holds"),
        (lambda packed: gzip.compress(b"\0\0\x0d\3" + gzip.decompress(packed)[4:]), "not an idx file"),
        (lambda packed: packed[:10] + bytes(64) + packed[74:], "cannot be read|not an idx|holds"),
    ],
)
def test_a_torn_file_is_refused_by_name(tmp_path: Path, spoil: object, message: str) -> None:
    write_set(tmp_path, "t10k", 5001)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"t10k-images-idx3-ubyte\.gz: .*({message})"):
        mnist.read(tmp_path, "test")


@pytest.mark.skipif(not SHARED.is_dir(), reason="MNIST is not here")
def test_the_published_set_is_read_whole() -> None:
    train, labels = mnist.read(SHARED, "train")
    held, held_labels = mnist.read(SHARED, "validation")
    counts = np.bincount(np.concatenate([labels, held_labels]))
    assert (len(train), len(held)) == (55_000, 5_000)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def digits(count: int) -> torch.Tensor:
    """Filled squares in the middle of nothing."""
    images = torch.zeros(count, 1, 28, 28)
    images[:, :, 9:19, 9:19] = 1
    return images


def test_a_distortion_of_nothing_changes_nothing() -> None:
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    same = distort(images, Distortion(), torch.Generator().manual_seed(2))
    assert torch.allclose(same, images, atol=1e-5)


def test_shifts_move_digits_by_at_most_what_is_asked() -> None:
    moved = distort(digits(200), Distortion(shift_px=3), torch.Generator().manual_seed(1))
    columns = torch.arange(28.0)
    centre = (moved.sum((1, 2)) * columns).sum(1) / moved.sum((1, 2, 3))
    assert 2.5 < float((centre - 13.5).abs().max()) <= 3.01


def test_the_same_seed_distorts_alike_and_digits_differ_among_themselves() -> None:
    strength = Distortion(rotate_degrees=15, scale=0.1, shear=0.1, shift_px=2, bend=0.05)
    first = distort(digits(4), strength, torch.Generator().manual_seed(3))
    assert torch.equal(first, distort(digits(4), strength, torch.Generator().manual_seed(3)))
    assert float((first[0] - first[1]).abs().max()) > 0.5
