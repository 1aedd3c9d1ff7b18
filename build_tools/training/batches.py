"""What a training reads: batches of inputs, some with labels, and samples that are held out to judge it by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples for one step.

    Attributes:
        feeds: inputs by name, samples along the first side.
        labels: int64 [n], or None where nothing is known.
        clear: what the teacher is shown in place of `feeds`, or None: the same.
    """

    feeds: dict[str, Tensor]
    labels: Tensor | None = None
    clear: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        return max((len(v) for v in self.feeds.values() if v.ndim), default=1)

    def singles(self) -> list[Batch]:
        """One batch for each sample."""
        count = len(self)

        def one(feeds: dict[str, Tensor], i: int) -> dict[str, Tensor]:
            return {n: v[i : i + 1] if v.ndim and len(v) == count else v for n, v in feeds.items()}

        return [
            Batch(
                one(self.feeds, i),
                None if self.labels is None else self.labels[i : i + 1],
                None if self.clear is None else one(self.clear, i),
            )
            for i in range(count)
        ]


class Source(Protocol):
    """Training data; the same seed gives the same batches."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""

    def held_out(self) -> Iterator[Batch]:
        """What the training is judged by and never learns from."""
