"""MNIST's digits with their labels, drawn a little differently every time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from build_tools.data import mnist
from build_tools.data.calibration import model_inputs
from build_tools.data.digits import distort
from build_tools.errors import DataError
from build_tools.passes.contract import Context
from build_tools.passes.train import Train
from build_tools.training.batches import Batch

JUDGED_AT_ONCE = 500


class Digits:
    """The training digits; the last 5,000 are held out.

    Args:
        settings: path, limit, batch, distort.
        proto: the model, whose input has 784 values a sample.
        context: folder that `path` is relative to, seed, mean and deviation of the input.

    Raises:
        DataError: files are missing, or the model does not take digits.
    """

    def __init__(self, settings: Train, proto: onnx.ModelProto, context: Context) -> None:
        most = slice(settings.limit or None)
        train, held = (mnist.read(context.folder / settings.path, split) for split in ("train", "validation"))
        self._train, self._held = (train[0][most], train[1][most]), (held[0][most], held[1][most])
        self._settings, self._seed, self._entry = settings, context.seed, context.input
        self._batch = min(settings.batch, len(self._train[0]))
        self._input, (shape, _) = next(iter(model_inputs(proto).items()))
        self._sides = tuple(1 if s is None else s for s in shape[1:])
        if int(np.prod(self._sides)) != self._train[0][0].size:
            raise DataError(f"input {self._input} has sides {self._sides}; train.data = mnist gives it 28x28 digits")

    def __len__(self) -> int:
        return len(self._train[0]) // self._batch

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._train[0]))
        for number in range(start, len(self)):
            chosen = order[number * self._batch : (number + 1) * self._batch]
            drawn = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch * len(self) + number)
            yield self._ready(self._train[0][chosen], self._train[1][chosen], drawn)

    def held_out(self) -> Iterator[Batch]:
        """The validation digits, as they are."""
        for start in range(0, len(self._held[0]), JUDGED_AT_ONCE):
            part = slice(start, start + JUDGED_AT_ONCE)
            yield self._ready(self._held[0][part], self._held[1][part], None)

    def _ready(self, digits: NDArray[np.uint8], labels: NDArray[np.int64], drawn: torch.Generator | None) -> Batch:
        pixels = torch.from_numpy(digits.astype(np.float32))[:, None]
        if drawn is not None and self._settings.distort.any:
            pixels = distort(pixels, self._settings.distort, drawn)
        blob = ((pixels - self._entry.mean[0]) / self._entry.std[0]).reshape(len(digits), *self._sides)
        return Batch({self._input: blob}, torch.from_numpy(labels))
