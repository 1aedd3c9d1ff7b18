"""How well distances tell the same person from another: error rates over all thresholds.

At a threshold a pair nearer than or as near as it is taken for one person. False accepts (FAR) are pairs of different
persons taken for one, false rejects (FRR) pairs of one person taken for two; the equal error rate is where they meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Error rates by threshold, rising; the first threshold accepts no pair.

    Attributes:
        thresholds: float64 [n], minus infinity and every distance that occurs.
        far: float64 [n], share of pairs of different persons accepted, rising.
        frr: float64 [n], share of pairs of the same person refused, falling.
    """

    thresholds: F64
    far: F64
    frr: F64

    @property
    def eer(self) -> float:
        """The equal error rate: the mean of both rates where they differ least."""
        return float((self.far + self.frr)[self._meeting] / 2)

    @property
    def threshold(self) -> float:
        """The distance at which both rates differ least."""
        return float(self.thresholds[self._meeting])

    def frr_at(self, far_max: float) -> float:
        """The least share of false rejects at which at most `far_max` of the others are accepted."""
        return float(self.frr[np.searchsorted(self.far, far_max, side="right") - 1])

    @property
    def _meeting(self) -> int:
        return int(np.abs(self.far - self.frr).argmin())


def verification_curve(same: F32 | F64, other: F32 | F64) -> Curve:
    """The rates of pairs with known answers.

    Args:
        same: distances [n] of pairs of one person, at least one.
        other: distances [m] of pairs of two persons, at least one.
    """
    mine, theirs = np.sort(same.astype(np.float64)), np.sort(other.astype(np.float64))
    thresholds = np.concatenate([[-np.inf], np.unique(np.concatenate([mine, theirs]))])
    far = np.searchsorted(theirs, thresholds, side="right") / len(theirs)
    frr = 1 - np.searchsorted(mine, thresholds, side="right") / len(mine)
    return Curve(thresholds, far, frr)


def pair_distances(known: F32, persons: NDArray[np.int64], strangers: F32) -> tuple[F32, F32]:
    """(distances of all pairs of one person, distances of all pairs of two).

    Pairs of two: every two pictures of different known persons, and every picture of a known one with every stranger.

    Args:
        known: embeddings [n, d].
        persons: who each is, [n].
        strangers: embeddings [m, d], nobody known; they are not compared with each other.
    """
    first, second = np.triu_indices(len(known), 1)
    apart = np.linalg.norm(known[first] - known[second], axis=1)
    alike = persons[first] == persons[second]
    away = np.linalg.norm(known[:, None] - strangers[None], axis=2).ravel()
    return apart[alike], np.concatenate([apart[~alike], away])
