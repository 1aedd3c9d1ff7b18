"""The stream of training pictures: which sample, how changed, with which targets, from one seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from build_tools.data.augment import Bgr, Classes, Example, Strength, around, fitted, mosaic, near, photometric, view
from build_tools.data.coco import LABEL_ID, Sample
from build_tools.data.pictures import read_bgr
from build_tools.data.target_memory import TargetMemory

Targets = Callable[[Example, int], tuple[NDArray[Any], ...]]
"""What a network should answer to a picture, before its light was changed, given the number of classes."""


class Ticket(NamedTuple):
    """Which picture is wanted: the sample, how it is cut, and (by the epoch) its light."""

    epoch: int
    view: int
    sample: int
    width: int
    height: int


class TrainingPictures(Dataset[tuple[torch.Tensor, ...]]):
    """Picture and targets for a ticket; the same ticket gives the same picture in every run.

    Pictures are decoded once and kept, as processes forked later share the memory.

    Args:
        samples: what they are made of.
        classes: the recipe's.
        how: how hard they are changed.
        seed: of all chance.
        targets: what the network should answer.
        crops: windows around objects instead of whole pictures.
        background: share of windows around nothing.
        memory: where answers to views that come again are kept; None: each is worked out anew.
        glances: tells windows of a picture that attention would have cut; None: none.
        looks: share of windows that are those.
    """

    def __init__(
        self,
        samples: list[Sample],
        classes: Classes,
        how: Strength,
        seed: int,
        targets: Targets,
        crops: bool,
        background: float = 0.15,
        memory: TargetMemory | None = None,
        glances: Callable[[Bgr], NDArray[np.float32]] | None = None,
        looks: float = 0.0,
    ) -> None:
        self.samples, self.classes, self.how, self.seed = samples, classes, how, seed
        self.targets, self.crops, self.background, self._memory = targets, crops, background, memory
        decoded = {(s.path, s.turns): read_bgr(s) for s in {(s.path, s.turns): s for s in samples}.values()}
        self._pictures = [decoded[s.path, s.turns] for s in samples]
        self._looks, self._glances = looks, list[NDArray[np.float32]]()
        if glances is not None and looks:
            told = {key: glances(bgr) for key, bgr in decoded.items()}
            self._glances = [told[s.path, s.turns] for s in samples]
        self._unknown = [unknown_classes(s, classes) for s in samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, ticket: Ticket) -> tuple[torch.Tensor, ...]:
        index, w, h = ticket.sample, ticket.width, ticket.height
        rng = np.random.default_rng((self.seed, ticket.view, index))
        example = self.crop(rng, index, w) if self.crops else self._picture(rng, index, (w, h))
        targets = self._targets_of(example, ticket)
        light = np.random.default_rng((self.seed, ticket.epoch, ticket.view, index))
        bgr = photometric(light, example.bgr, self.how)
        chw = torch.from_numpy(np.ascontiguousarray(bgr.transpose(2, 0, 1)))
        return (chw, *(torch.from_numpy(a) for a in targets))

    def seen(self, index: int, matrix: NDArray[np.float32], size_wh: tuple[int, int], fill: int) -> Example:
        """The sample through an affine matrix; see `augment.view`."""
        return view(
            self._pictures[index],
            self.samples[index],
            self.classes,
            self._unknown[index],
            matrix,
            size_wh,
            fill,
        )

    def _targets_of(self, example: Example, ticket: Ticket) -> tuple[NDArray[Any], ...]:
        if self._memory is None:
            return self.targets(example, len(self.classes.names))
        known = self._memory.get(ticket.view, example.bgr)
        return known or self._memory.put(ticket.view, example.bgr, self.targets(example, len(self.classes.names)))

    def _picture(self, rng: np.random.Generator, index: int, size_wh: tuple[int, int]) -> Example:
        def one(i: int) -> Example:
            matrix = fitted(rng, self.samples[i].size_wh, size_wh, self.how)
            return self.seen(i, matrix, size_wh, int(rng.choice([0, 0, 114])))

        if rng.random() >= self.how.mosaic:
            return one(index)
        four = [index, *rng.integers(0, len(self.samples), 3).tolist()]
        cut = (rng.uniform(0.3, 0.7, 2) * size_wh).astype(int)
        return mosaic([one(i) for i in four], size_wh, (int(cut[0]), int(cut[1])))

    def crop(self, rng: np.random.Generator, index: int, side: int) -> Example:
        """A square of `side` pixels around an object of the sample, or now and then around nothing."""
        if self._glances and len(self._glances[index]) and rng.random() < self._looks:
            matrix = near(rng, rng.choice(self._glances[index]), self.samples[index].size_wh, side, self.how)
            return self.seen(index, matrix, (side, side), int(rng.choice([0, 0, 114])))
        if not self.how.montage or rng.random() >= self.how.montage:
            return self._window(rng, index, side, side, (0, 0))
        half = side // 2
        four = [index, *rng.integers(0, len(self.samples), 3).tolist()]
        corners = [(0, 0), (half, 0), (0, half), (half, half)]
        quarters = [self._window(rng, i, half, side, at) for i, at in zip(four, corners, strict=True)]
        return mosaic(quarters, (side, side), (half, half))

    def _window(self, rng: np.random.Generator, index: int, side: int, canvas: int, at_xy: tuple[int, int]) -> Example:
        """A square window of `side` pixels at a place of a canvas, which shows what is around it, too."""
        sample = self.samples[index]
        wanted = np.flatnonzero(self.classes.number(sample.labels) >= 0)
        if len(wanted) and rng.random() >= self.background:
            # Rare labels are looked at more often, or persons and faces would crowd the rest out.
            box = sample.boxes[rng.choice(wanted)]
        else:
            w, h = sample.size_wh
            centre, span = rng.uniform(0, (w, h)), rng.uniform(0.1, 0.6) * min(w, h)
            box = np.array([*(centre - span / 2), *(centre + span / 2)], np.float32)
        matrix = around(rng, box, sample.size_wh, side, self.how)
        matrix[:, 2] += at_xy
        return self.seen(index, matrix, (canvas, canvas), int(rng.choice([0, 0, 114])))


def unknown_classes(sample: Sample, classes: Classes) -> list[int]:
    """Numbers of the classes of which some label is unknown in the sample."""
    unknown = {LABEL_ID[name] for name in sample.unknown}
    return [k for k, member in enumerate(classes.members) if unknown & set(member)]


class Tickets:
    """Batches of tickets for one epoch: a seeded shuffle, one canvas size a batch.

    Args:
        count: how many samples there are.
        batch: tickets in a batch.
        sizes_wh: canvas sizes, drawn for each batch.
        seed: of the shuffle.
        weights: how often each sample is drawn, sums to 1; None: once.
        views: after so many epochs the same views come again, in other batches; 0: never.
        first: number of the first epoch, so that its views are not those of an earlier phase.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        sizes_wh: tuple[tuple[int, int], ...],
        seed: int,
        weights: NDArray[np.float64] | None,
        views: int = 0,
        first: int = 0,
    ) -> None:
        self.count, self.batch, self.sizes_wh, self.seed, self.weights = count, batch, sizes_wh, seed, weights
        self.views, self.first = views, first
        self.epoch = first

    def __len__(self) -> int:
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[Ticket]]:
        turn = self.first + (self.epoch - self.first) % self.views if self.views else self.epoch
        rng = np.random.default_rng((self.seed, turn))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, self.count, p=self.weights)
        batches = []
        for start in range(0, len(self) * self.batch, self.batch):
            w, h = self.sizes_wh[int(rng.integers(len(self.sizes_wh)))]
            # A sample drawn twice in an epoch must not look the same twice, so the ticket holds its place.
            places = range(start, start + self.batch)
            batches.append([Ticket(self.epoch, turn * 1_000_003 + i, int(order[i]), w, h) for i in places])
        return iter(self._mixed(batches) if self.views else batches)

    def _mixed(self, batches: list[list[Ticket]]) -> list[list[Ticket]]:
        """The same tickets in other batches of one size each."""
        rng = np.random.default_rng((self.seed, self.epoch, self.views))
        of_size: dict[tuple[int, int], list[Ticket]] = defaultdict(list)
        for batch in batches:
            of_size[batch[0].width, batch[0].height] += batch
        mixed = []
        for tickets in of_size.values():
            shuffled = [tickets[i] for i in rng.permutation(len(tickets))]
            mixed += [shuffled[i : i + self.batch] for i in range(0, len(shuffled), self.batch)]
        return [mixed[i] for i in rng.permutation(len(mixed))]


def balance(samples: list[Sample], classes: Classes) -> NDArray[np.float64]:
    """Drawing weight [n] of each sample: repeat factors by its rarest class (Gupta et al. 2019, LVIS, section 4.2)."""
    counts = np.zeros(len(classes.names))
    have = []
    for sample in samples:
        numbers = set(classes.number(sample.labels).tolist()) - {-1}
        have.append(numbers)
        for k in numbers:
            counts[k] += 1
    share = np.maximum(counts / max(len(samples), 1), 1e-6)
    factor = np.maximum(1.0, np.sqrt(0.25 / share))
    weights = np.array([max((factor[k] for k in numbers), default=1.0) for numbers in have])
    return np.asarray(weights / weights.sum(), np.float64)
