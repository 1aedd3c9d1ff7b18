"""Faces to train an embedder on: the teacher is shown a clear picture, the student a poorer one of the same face."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from build_tools.data.upright_faces import poorer
from build_tools.errors import DataError, PassError
from build_tools.passes.contract import Context
from build_tools.passes.train import Train
from build_tools.training.batches import Batch
from edge_runtime.imaging.blob import blob

HELD_OUT_BATCH = 16


class FaceViews:
    """The faces of the recipe's packs, each seen anew in every epoch: moved, mirrored, mixed with another.

    Args:
        settings: held_out, limit, batch.
        name: of the model's input.
        context: seed, and the faces.

    Raises:
        PassError: the recipe gives no faces.
        DataError: fewer than a batch.
    """

    def __init__(self, settings: Train, name: str, context: Context) -> None:
        if context.faces is None:
            raise PassError('train: data = "faces" needs [[data]], [[teachers]] and embedding.adapter in the recipe')
        self._adapter, self._name, self._seed = context.faces.adapter, name, context.seed
        cache = context.work / "teachers"

        def progress(done: int, total: int) -> None:
            context.progress("turning faces upright", done, total)

        self._faces, held = (
            context.faces.faces(settings.held_out, cache, progress, held_back=back) for back in (False, True)
        )
        self._count = min(settings.limit or len(self._faces), len(self._faces))
        self._batch = settings.batch
        if self._count < settings.batch:
            raise DataError(f"train: {self._count} faces to learn from are fewer than train.batch = {settings.batch}")
        plain = held.plain()
        self._held = poorer(np.random.default_rng(self._seed), plain, held.side), plain

    def __len__(self) -> int:
        return self._count // self._batch

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._faces))[: self._count]
        for number in range(start, len(self)):
            chosen = order[number * self._batch : (number + 1) * self._batch].tolist()
            clear = np.stack([self._faces.view(np.random.default_rng((self._seed, epoch, i)), i) for i in chosen])
            poor = poorer(np.random.default_rng((self._seed, epoch, number)), clear, self._faces.side)
            yield self._ready(poor, clear)

    def held_out(self) -> Iterator[Batch]:
        """Faces that are never learned from, in poor pictures that are always the same."""
        poor, clear = self._held
        for start in range(0, len(poor), HELD_OUT_BATCH):
            end = start + HELD_OUT_BATCH
            yield self._ready(poor[start:end], clear[start:end])

    def _ready(self, poor: NDArray[np.uint8], clear: NDArray[np.uint8]) -> Batch:
        mine, its = (
            torch.from_numpy(np.concatenate([blob(face, self._adapter) for face in faces])) for faces in (poor, clear)
        )
        return Batch({self._name: mine}, clear={self._name: its})
