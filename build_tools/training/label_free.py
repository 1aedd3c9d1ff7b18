"""Unlabelled inputs to train on: pictures, changed at random, or whatever a recipe's calibration data is.

Student and teacher are shown the same changed picture, so that it does not matter what is on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from build_tools.data.augment import Bgr, Classes, Strength, fitted, photometric, view
from build_tools.data.calibration import model_inputs
from build_tools.data.coco import Sample, is_held_out, read_pack
from build_tools.data.pictures import Preparation, drawn, find_pictures, read_picture
from build_tools.errors import DataError
from build_tools.passes.contract import Calibration, Context, Feed
from build_tools.passes.train import Train
from build_tools.training.batches import Batch
from build_tools.training.face_views import FaceViews

NOTHING = Classes((), ())


class Pictures:
    """Pictures of a folder or a pack, in a new order and a new form each epoch.

    Args:
        settings: path, images, limit, held_out, batch, augment.
        proto: the model.
        context: folder that paths are relative to, seed, form of the input.

    Raises:
        DataError: none found, or fewer than a batch.
    """

    def __init__(self, settings: Train, proto: onnx.ModelProto, context: Context) -> None:
        folder, seed = context.folder, context.seed
        path = folder / settings.path
        every = find_pictures(path) if path.is_dir() else [s.path for s in read_pack(path, folder / settings.images)]
        paths = drawn(every, settings.limit or len(every), seed)
        self._held = [p for p in paths if is_held_out(p, settings.held_out)]
        self._paths = [p for p in paths if not is_held_out(p, settings.held_out)]
        self._prepare, self._seed, self._augment = Preparation(context.input, proto), seed, settings.augment
        self._batch = min(settings.batch, len(self._paths))
        if not self._paths:
            raise DataError(f"{path}: no pictures to train on")

    def __len__(self) -> int:
        return len(self._paths) // self._batch

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._paths))
        for number in range(start, len(self)):
            chosen = order[number * self._batch : (number + 1) * self._batch]
            rngs = [np.random.default_rng((self._seed, epoch, int(i))) for i in chosen]
            many = [self._changed(read_picture(self._paths[i]), rng) for i, rng in zip(chosen, rngs, strict=True)]
            yield self._ready(many)

    def held_out(self) -> Iterator[Batch]:
        """Pictures that are never trained on, as they are."""
        for path in self._held:
            yield self._ready([read_picture(path)])

    def _changed(self, bgr: Bgr, rng: np.random.Generator) -> Bgr:
        strength = self._augment
        if strength <= 0:
            return bgr
        how = Strength(
            0.0, 0.6**strength, 1.6**strength, 0.5 * strength, 0.1 * strength, 0.15 * strength,
            0.15 * strength, 0.15 * strength, 0.15 * strength,
        )  # fmt: skip
        into_wh, size_wh = self._prepare.fit_wh, (bgr.shape[1], bgr.shape[0])
        seen = view(bgr, _bare(size_wh), NOTHING, [], fitted(rng, size_wh, into_wh, how), into_wh, 0).bgr
        return photometric(rng, seen, how) if rng.random() < strength else seen

    def _ready(self, many: list[Bgr]) -> Batch:
        blob = np.concatenate([self._prepare(bgr).blob for bgr in many])
        return Batch({self._prepare.name: torch.from_numpy(blob)})


class Stream:
    """Calibration data as a training reads it: in its own order, batches of the recipe's size.

    Args:
        calibration: feeds of any size.
        settings: limit, held_out, batch.

    Raises:
        DataError: too few samples.
    """

    def __init__(self, calibration: Calibration, settings: Train) -> None:
        self._calibration = calibration
        self._every = round(1 / settings.held_out) if settings.held_out > 0 else 0
        self._limit = settings.limit
        trained = sum(1 for _ in self._samples(held=False))
        self._batch = min(settings.batch, trained)
        if not trained:
            raise DataError("calibration: no samples to train on; raise calibration.count")
        self._count = trained // self._batch

    def __len__(self) -> int:
        return self._count

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The epoch's batches from number `start` on; every epoch has the same."""
        waiting: list[dict[str, Tensor]] = []
        number = 0
        for sample in self._samples(held=False):
            waiting.append(sample)
            if len(waiting) == self._batch:
                if number >= start:
                    yield Batch({name: torch.cat([s[name] for s in waiting]) for name in waiting[0]})
                waiting, number = [], number + 1

    def held_out(self) -> Iterator[Batch]:
        """Samples that are never trained on."""
        for sample in self._samples(held=True):
            yield Batch(sample)

    def _samples(self, held: bool) -> Iterator[dict[str, Tensor]]:
        number = 0
        for feed in self._calibration:
            for sample in _singles(feed):
                if self._limit and number >= self._limit:
                    return
                number += 1
                if bool(self._every and number % self._every == 0) == held:
                    yield sample


def open_unlabelled(settings: Train, proto: onnx.ModelProto, context: Context) -> Pictures | Stream | FaceViews:
    """What the settings name: the recipe's faces, pictures at `path`, or the recipe's calibration data."""
    if settings.data == "faces":
        (name,) = model_inputs(proto)
        return FaceViews(settings, name, context)
    if settings.path:
        return Pictures(settings, proto, context)
    if context.calibration is None:
        raise DataError("no data to train on: give train.path, or the recipe a [calibration] table")
    return Stream(context.calibration, settings)


def _singles(feed: Feed) -> Iterator[dict[str, Tensor]]:
    count = min((len(v) for v in feed.values() if v.ndim), default=1)
    for i in range(count):
        yield {
            name: torch.from_numpy(np.array(v[i : i + 1] if v.ndim and len(v) == count else v))
            for name, v in feed.items()
        }


def _bare(size_wh: tuple[int, int]) -> Sample:
    """A sample of which nothing is known."""
    none, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    return Sample(Path(), size_wh, "", none, labels, none, labels, frozenset(), False, none)
