"""Reads a text from what an OCR network says: step by step with blanks between (CTC), or a slot for each character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
BLANK = ""
"""Stands in an alphabet for what is no character: CTC's blank, or the filling of slots that are left over."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text with the network's confidence in each of its characters.

    Attributes:
        text: A-Z, 0-9 or whatever the network's alphabet holds.
        sure: 0 to 1, as many as the text has characters.
    """

    text: str
    sure: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """Of the whole text, 0 to 1: that of its worst character, 0 without any."""
        return min(self.sure, default=0.0)


def read_steps(scores: F32, alphabet: Sequence[str]) -> Reading:
    """The most likely character at each step, repeats joined, blanks dropped (Graves et al. 2006, "Connectionist
    Temporal Classification", best path).

    Args:
        scores: float32 [steps, characters], probabilities or logits.
        alphabet: a character for each column; `BLANK` at the blank's.
    """
    likely = as_probabilities(scores)
    best = likely.argmax(1)
    text: list[str] = []
    sure: list[float] = []
    before = BLANK
    for step, column in enumerate(best):
        character, much = alphabet[int(column)], float(likely[step, column])
        if character != BLANK and character == before:
            sure[-1] = max(sure[-1], much)
        elif character != BLANK:
            text.append(character)
            sure.append(much)
        before = character
    return Reading("".join(text), tuple(sure))


def read_slots(scores: F32, alphabet: Sequence[str]) -> Reading:
    """The most likely character of each slot, empty slots dropped.

    Args:
        scores: float32 [slots, characters], probabilities or logits.
        alphabet: a character for each column; `BLANK` where a slot is empty.
    """
    likely = as_probabilities(scores)
    best = likely.argmax(1)
    full = [slot for slot, column in enumerate(best) if alphabet[int(column)] != BLANK]
    return Reading("".join(alphabet[int(best[s])] for s in full), tuple(float(likely[s, best[s]]) for s in full))


def as_probabilities(scores: F32) -> F32:
    """Rows that are probabilities as they are; others, which are logits, through a softmax."""
    total = scores.sum(1, dtype=np.float64)
    if (scores >= 0).all() and np.allclose(total, 1, atol=0.02):
        return scores
    raised = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)
