"""Makes one text of several readings of one plate: each character is voted on, by confidence and size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.plates.reading import Reading

WIDTH_GOOD_PX = 110.0
"""A plate that is wider in the frame has no more to show to a reader that sees 128 pixels of it."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A reading and how large its plate was.

    Attributes:
        reading: with one character or more.
        width_px: of the plate, in pixels of the frame.
    """

    reading: Reading
    width_px: float

    @property
    def size(self) -> float:
        """What its size is worth, up to 1."""
        return min(1.0, self.width_px / WIDTH_GOOD_PX)

    @property
    def weight(self) -> float:
        """What the whole reading is worth, up to 1.

        It is as good as its worst character, which may be one too many; squared, as one reading that is sure of itself
        tells more than two that are half sure.
        """
        return self.size * self.reading.confidence**2


def fused(votes: Sequence[Vote]) -> tuple[Reading, int] | None:
    """The text that the votes make together, and how many of them have its length; None without any.

    Readings of the length that weighs most vote on each character. A character's confidence is the weighted mean of the
    winner's where it was read and 0 where another was, times the share of all weight that its length has.
    """
    if not votes:
        return None
    by_length: dict[int, float] = defaultdict(float)
    for vote in votes:
        by_length[len(vote.reading.text)] += vote.weight
    total = sum(by_length.values())
    length = max(by_length, key=lambda n: (by_length[n], n))
    agree = [v for v in votes if len(v.reading.text) == length]
    weight, share = by_length[length], by_length[length] / total if total else 0.0
    text, sure = "", []
    for i in range(length):
        worth: dict[str, float] = defaultdict(float)
        for vote in agree:
            worth[vote.reading.text[i]] += vote.weight * vote.reading.sure[i]
        best = max(worth, key=lambda c: (worth[c], c))
        text += best
        sure.append(min(1.0, share * worth[best] / weight) if weight else 0.0)
    return Reading(text, tuple(sure)), len(agree)
