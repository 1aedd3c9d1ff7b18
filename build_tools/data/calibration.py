"""Calibration data: unlabelled inputs as the model will see them, read again for every pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from build_tools.data import mnist
from build_tools.data.aligned_faces import open_adapter, open_landmarks, pack_faces
from build_tools.data.coco import read_pack
from build_tools.data.pictures import InputEntry, Preparation, drawn, find_pictures, read_picture
from build_tools.errors import DataError
from build_tools.passes.contract import Calibration, Feed
from build_tools.recipe import CalibrationEntry, EmbeddingEntry
from edge_runtime.imaging.blob import blob

Sides = tuple[int | None, ...]


class Stream:
    """Feeds made one batch at a time.

    Args:
        samples: makes the i-th sample: arrays without the batch side.
        count: how many there are.
        batch: how many are stacked a feed; 0: a sample has all its sides, and is a feed as it is.
    """

    def __init__(self, sample: Callable[[int], Feed], count: int, batch: int) -> None:
        self._sample, self._count, self._batch = sample, count, batch

    def __len__(self) -> int:
        return -(-self._count // max(self._batch, 1))

    def __iter__(self) -> Iterator[Feed]:
        if not self._batch:
            yield from (self._sample(i) for i in range(self._count))
            return
        for start in range(0, self._count, self._batch):
            many = [self._sample(i) for i in range(start, min(start + self._batch, self._count))]
            yield {name: np.stack([one[name] for one in many]) for name in many[0]}


def open_calibration(
    entry: CalibrationEntry, picture: InputEntry, proto: onnx.ModelProto, folder: Path, seed: int,
    embedding: EmbeddingEntry | None = None,
) -> Calibration | None:  # fmt: skip
    """The recipe's calibration data for a model, or None.

    Args:
        entry: the recipe's table.
        picture: how a picture becomes an input.
        proto: the model.
        folder: what paths are relative to.
        seed: which samples are drawn.
        embedding: kind = faces: how they are aligned.

    Raises:
        DataError: missing, unreadable, or of a shape the model does not take: file, input and remedy.
    """
    if entry.kind == "none":
        return None
    inputs = model_inputs(proto)
    batch = entry.batch if all(shape[:1] == (None,) for shape, _ in inputs.values()) else 1
    if entry.kind == "random":
        batched = all(shape[:1] in ((None,), (1,)) for shape, _ in inputs.values())
        return Stream(lambda i: _noise(inputs, picture, seed + i, batched), entry.count, batch if batched else 0)
    path = folder / entry.path
    if entry.kind == "npz":
        return _from_npz(path, inputs, entry.count, batch)
    if entry.kind == "mnist":
        digits, _ = mnist.read(path, "train")
        chosen = np.sort(np.random.default_rng(seed).choice(len(digits), min(entry.count, len(digits)), replace=False))
        name, (shape, _) = next(iter(inputs.items()))
        return Stream(lambda i: {name: digit_input(digits[chosen[i]], shape, picture)}, len(chosen), batch)
    if entry.kind == "faces":
        how = embedding or EmbeddingEntry()
        adapter, head = open_adapter(folder / how.adapter), open_landmarks(folder / how.landmarks)
        faces = pack_faces(path, folder / entry.images, head, adapter, entry.count, seed)
        (name,) = inputs
        return Stream(lambda i: {name: blob(faces[i], adapter)[0]}, len(faces), batch)
    every = find_pictures(path) if entry.kind == "images" else [s.path for s in read_pack(path, folder / entry.images)]
    paths = drawn(every, entry.count, seed)
    prepare = Preparation(picture, proto)
    return Stream(lambda i: {prepare.name: prepare(read_picture(paths[i])).blob[0]}, len(paths), batch)


def model_inputs(proto: onnx.ModelProto) -> dict[str, tuple[Sides, np.dtype[Any]]]:
    """Shape (None for free sides) and type of every input that is not a weight."""
    weights = {t.name for t in proto.graph.initializer}
    found = {}
    for value in proto.graph.input:
        if value.name not in weights:
            kind = value.type.tensor_type
            sides = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
            found[value.name] = (sides, helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return found


def digit_input(digit: NDArray[np.uint8], shape: Sides, entry: InputEntry) -> NDArray[np.float32]:
    """A digit uint8 [28, 28] in the shape of the model's input without its batch side, in the entry's range."""
    ready = (digit.astype(np.float32) - np.float32(entry.mean[0])) / np.float32(entry.std[0])
    sides = tuple(1 if s is None else s for s in shape[1:])
    if int(np.prod(sides)) != digit.size:
        raise DataError(f"the model's input {shape} does not take MNIST's 28x28 digits; choose another kind of data")
    return ready.reshape(sides).astype(np.float32)


def _noise(inputs: dict[str, tuple[Sides, np.dtype[Any]]], picture: InputEntry, seed: int, batched: bool) -> Feed:
    """Noise in the range the model expects: 0..255 taken through mean and standard deviation.

    `batched`: each input's first side is the batch, and is left out.
    """
    rng = np.random.default_rng(seed)
    feed: Feed = {}
    for name, (shape, kind) in inputs.items():
        w, h = (s + -s % picture.multiple for s in picture.size_wh)
        free = {1: 3, 2: h, 3: w} if len(shape) == 4 else {}
        sides = tuple(s or free.get(i, 1) for i, s in enumerate(shape))[1 if batched else 0 :]
        if np.issubdtype(kind, np.floating):
            values = (rng.uniform(0, 255, sides) - picture.mean[0]) / picture.std[0]
        else:
            values = np.zeros(sides)
        feed[name] = values.astype(kind)
    return feed


def _from_npz(path: Path, inputs: dict[str, tuple[Sides, np.dtype[Any]]], count: int, batch: int) -> Stream:
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as npz ({error}); write it with numpy.savez") from None
    for name, (shape, kind) in inputs.items():
        if name not in arrays:
            raise DataError(
                f"{path}: holds {', '.join(arrays)} but not the model's input {name}; name arrays as inputs"
            )
        have = arrays[name].shape
        fits = len(have) == len(shape) and all(s is None or s == h for s, h in zip(shape[1:], have[1:], strict=True))
        if not fits or not have[0]:
            wanted = [s or "any" for s in ("samples", *shape[1:])]
            raise DataError(f"{path}: {name} has shape {list(have)}, the model takes {wanted}; prepare the samples so")
        arrays[name] = arrays[name].astype(kind)
    total = min(count, *(len(arrays[name]) for name in inputs))
    return Stream(lambda i: {name: arrays[name][i] for name in inputs}, total, batch)
