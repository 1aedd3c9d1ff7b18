"""New texts out of photographed plates: characters take the places of others of their kind on the same plate.

A hundred photos are soon known by heart, text and all. Shuffled they keep their camera, light and letters, and the text
tells nothing (Gonçalves et al. 2018, "Real-Time Automatic License Plate Recognition through Deep Multi-Task Networks",
permute characters to that end). Nobody has marked where the characters are; a network that reads the plate shows it,
since it no longer reads a character that is hidden (Zeiler and Fergus 2014, "Visualizing and Understanding
Convolutional Networks", occlude parts of a picture likewise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.plate_drawing import DIGITS
from build_tools.data.plate_glyphs import ALPHABET
from build_tools.data.plate_text import INPUT_WH, PlateCrop
from edge_runtime.plates.reader import stretched

Bgr = NDArray[np.uint8]
F32 = NDArray[np.float32]
Read = Callable[[Bgr], F32]
"""Plates as readers see them, uint8 [n, 48, 128, 3], to probabilities [n, steps, characters + 1], the last of none."""

HIDDEN_PX, STRIDE_PX, HAZE_PX = 10, 2, 14
"""Columns that are hidden, how far they move each time, and how hazy the plate is there."""
NEAR_PX = 22
"""From its step, within so many columns a character is looked for: steps see beside themselves."""
PITCH = (0.07, 0.17)
"""From one character to the next, as shares of the plate's width; others are none."""
OFF_SHARE = 0.2
"""Of the pitch: all characters but one stand so near their places in an even row."""
RISE_SHARE = 0.03
"""Of the height, for each place between them: how far two characters are apart where a plate hangs askew."""
KEPT_MOST = 0.6
"""Up to this share of a plate's characters is left where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where a plate's characters are, as shares of its width.

    Attributes:
        centres: float32 [n].
        pitch: from one to the next.
    """

    centres: F32
    pitch: float


class Deck:
    """Photos that are to be shuffled; they are as they were until the network has shown where their characters are.

    It is asked after a quarter and after a half of the epochs: once it reads most, and once it reads nearly all.

    Args:
        chances: plates, and how often each is to be shuffled.
        epochs: of the training.
    """

    def __init__(self, chances: Sequence[tuple[PlateCrop, float]], epochs: int) -> None:
        self._chances = {id(plate): (plate, chance) for plate, chance in chances if chance}
        self._ask_after = {epochs // 4, epochs // 2}
        self._places: dict[int, Places] = {}
        self._epoch = 0

    def epoch_over(self, read: Read) -> None:
        """Another epoch is over.

        Args:
            read: the network as it is then.
        """
        self._epoch += 1
        if self._chances and self._epoch in self._ask_after:
            found = {key: places(read, plate.bgr, plate.text) for key, (plate, _) in self._chances.items()}
            self._places |= {key: where for key, where in found.items() if where is not None}
            print(f"{len(self._places)} of {len(self._chances)} photos are shuffled", flush=True)

    def dealt(self, rng: np.random.Generator, plate: PlateCrop) -> PlateCrop:
        """The plate, or a shuffled one.

        Args:
            rng: of everything random.
            plate: one of the deck's, or any other, which stays as it is.
        """
        where = self._places.get(id(plate))
        if where is None or rng.random() >= self._chances[id(plate)][1]:
            return plate
        return PlateCrop(*shuffled(rng, plate.bgr, plate.text, where), plate.source)


def places(read: Read, bgr: Bgr, text: str) -> Places | None:
    """Where the characters of a photo are; None where the network does not read them, or not in an even row.

    Args:
        read: the network.
        bgr: uint8 [h, w, 3].
        text: what is written on it, of A-Z and 0-9.
    """
    seen = stretched(bgr, INPUT_WH)
    likely = read(seen[None])[0]
    steps = _steps(likely, text)
    if steps is None:
        return None
    width = INPUT_WH[0]
    haze = cv2.GaussianBlur(seen, (0, 0), HAZE_PX)
    at = np.arange(0, width, STRIDE_PX, dtype=np.float32)
    share = np.clip(HIDDEN_PX / 2 + 1 - np.abs(np.arange(width) - at[:, None]), 0, 1)[:, None, :, None]
    hidden = read((seen * (1 - share) + haze * share).astype(np.uint8))
    centres = np.full(len(text), np.nan)
    for i, (step, character) in enumerate(zip(steps, text, strict=True)):
        column, around = ALPHABET.index(character), slice(max(step - 3, 0), step + 4)
        lost = np.log(likely[around, column].max() + 1e-6) - np.log(hidden[:, around, column].max(1) + 1e-3)
        step_px = (step + 0.5) * width / len(likely)
        weight = np.where(np.abs(at - step_px) < NEAR_PX, np.maximum(lost, 0), 0) ** 2
        if weight.sum() > 0.05:
            centres[i] = np.average(at, weights=weight) / width
    return _evenly(centres, text)


def shuffled(rng: np.random.Generator, bgr: Bgr, text: str, where: Places) -> tuple[Bgr, str]:
    """A plate with other characters in its places, and its new text.

    A letter takes a letter's place and a digit a digit's, as the plate's country has it; one may come twice.

    Args:
        rng: of everything random.
        bgr: uint8 [h, w, 3], the photo.
        text: what is written on it.
        where: its characters.
    """
    h, w = bgr.shape[:2]
    half = where.pitch * w / 2
    width = int(2 * half)
    soft = np.clip((half - np.abs(np.arange(width) - (width - 1) / 2)) / max(0.2 * half, 1), 0, 1)
    share: F32 = soft.astype(np.float32)[None, :, None]
    digits = np.array([c in DIGITS for c in text])
    strokes = np.abs(np.diff(bgr.astype(np.float32).mean(2), axis=1, prepend=0))
    out, written = bgr.copy(), list(text)
    keep = rng.random() * KEPT_MOST
    for i in range(len(text)):
        j = int(rng.choice(np.flatnonzero(digits == digits[i])))
        to, start = (round(float(where.centres[k]) * w - half) for k in (i, j))
        if i == j or rng.random() < keep or min(to, start) < 0 or max(to, start) + width > w:
            continue
        here, there = (strokes[:, x : x + width].mean(1) for x in (to, start))
        sink = np.array([[1, 0, 0], [0, 1, _rise(here, there, round(RISE_SHARE * h * abs(i - j) + 1))]], np.float32)
        glyph = cv2.warpAffine(bgr[:, start : start + width], sink, (width, h), borderMode=cv2.BORDER_REPLICATE)
        out[:, to : to + width] = (glyph * share + out[:, to : to + width] * (1 - share)).astype(np.uint8)
        written[i] = text[j]
    return out, "".join(written)


def _steps(likely: F32, text: str) -> list[int] | None:
    """The step at which each character is surest; None where another text is read."""
    best = likely.argmax(1)
    runs = [list(run) for column, run in groupby(range(len(best)), best.__getitem__) if column < len(ALPHABET)]
    if "".join(ALPHABET[best[run[0]]] for run in runs) != text:
        return None
    return [max(run, key=lambda t: float(likely[t, best[t]])) for run in runs]


def _evenly(centres: NDArray[np.float64], text: str) -> Places | None:
    """The even row, with one width of gap between letters and digits, that most of the centres stand in.

    Fitted by least squares whose weights fall with the distance (Cauchy), as some characters are not found.
    """
    digits = np.array([c in DIGITS for c in text])
    gaps = np.concatenate([[0], np.cumsum(digits[1:] != digits[:-1])])
    terms = np.stack([np.ones(len(text)), np.arange(len(text)), gaps], 1)
    known = np.isfinite(centres)
    wanted, weight, row, pitch = np.nan_to_num(centres), known.astype(float), centres, 0.1
    for _ in range(30):
        root = np.sqrt(weight)[:, None]
        fitted = np.linalg.lstsq(terms * root, wanted * root[:, 0], rcond=None)[0]
        row, pitch = terms @ fitted, float(fitted[1])
        weight = known / (1 + ((row - wanted) / (0.08 * abs(pitch) + 1e-6)) ** 2)
    near = known & (np.abs(row - wanted) < OFF_SHARE * pitch)
    if near.sum() < max(len(text) - 1, 2) or not PITCH[0] < pitch < PITCH[1]:
        return None
    return Places(row.astype(np.float32), pitch)


def _rise(here: F32, there: F32, reach: int) -> int:
    """How many rows what is `there` must sink to stand as high as what is `here`."""
    here, there = here - here.mean(), there - there.mean()
    return max(range(-reach, reach + 1), key=lambda d: float((here * np.roll(there, d)).sum()))
