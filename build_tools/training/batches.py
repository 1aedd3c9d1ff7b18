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
    """

    feeds: dict[str, Tensor]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return max((len(v) for v in self.feeds.values() if v.ndim), default=1)

    def singles(self) -> list[Batch]:
        """One batch for each sample."""
        count = len(self)
        return [
            Batch(
                {n: v[i : i + 1] if v.ndim and len(v) == count else v for n, v in self.feeds.items()},
                None if self.labels is None else self.labels[i : i + 1],
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
