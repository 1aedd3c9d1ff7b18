"""Light and weather for batches of patches: sun, shadow, fog, night, lamps, noise, things in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.imaging.colour import GREY

F32 = NDArray[np.float32]
Effect = Callable[[np.random.Generator, F32], F32]


def relit(
    rng: np.random.Generator, patches: NDArray[np.uint8], effects: Sequence[tuple[Effect, float]] | None = None
) -> NDArray[np.uint8]:
    """Each patch of [n, h, w, 3] in another light; one in six stays as it is.

    Args:
        rng: of everything random.
        patches: uint8.
        effects: what may happen, in this order, and how often; None: `EFFECTS`.
    """
    x = patches.astype(np.float32)
    for effect, chance in EFFECTS if effects is None else effects:
        at = np.flatnonzero(rng.random(len(x)) < chance)
        if len(at):
            x[at] = effect(rng, x[at])
    as_it_is = rng.random(len(x)) < 1 / 6
    return np.where(as_it_is[:, None, None, None], patches, np.clip(x, 0, 255).astype(np.uint8))


def _drawn(rng: np.random.Generator, n: int, low: float, high: float) -> F32:
    """One number a patch, [n, 1, 1, 1]."""
    return rng.uniform(low, high, (n, 1, 1, 1)).astype(np.float32)


def _grid(x: F32) -> tuple[F32, F32]:
    """Rows and columns from -1 to 1, [1, h, 1, 1] and [1, 1, w, 1]."""
    h, w = x.shape[1:3]
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in (h, w))
    return rows.reshape(1, h, 1, 1), columns.reshape(1, 1, w, 1)


def _hidden(rng: np.random.Generator, x: F32) -> F32:
    """Poles, branches and people: a bar of one colour over a small part."""
    (rows, columns), n = _grid(x), len(x)
    angle = _drawn(rng, n, 0, np.pi)
    off = np.abs(rows * np.cos(angle) + columns * np.sin(angle) - _drawn(rng, n, -0.9, 0.9))
    along = np.abs(columns * np.cos(angle) - rows * np.sin(angle) - _drawn(rng, n, -1, 1))
    bar = (off < _drawn(rng, n, 0.04, 0.2)) & (along < _drawn(rng, n, 0.2, 1.5))
    return np.where(bar, rng.uniform(10, 220, (n, 1, 1, 3)).astype(np.float32), x)


def _shaded(rng: np.random.Generator, x: F32) -> F32:
    """A shadow whose edge crosses the patch."""
    (rows, columns), n = _grid(x), len(x)
    angle = _drawn(rng, n, 0, 2 * np.pi)
    distance = rows * np.cos(angle) + columns * np.sin(angle) - _drawn(rng, n, -0.8, 0.8)
    shadow = np.clip(0.5 + distance * _drawn(rng, n, 1, 8), 0, 1)
    return np.asarray(x * (1 - shadow * _drawn(rng, n, 0.2, 0.7)), np.float32)


def _contrast(rng: np.random.Generator, x: F32) -> F32:
    mean = x.mean((1, 2, 3), keepdims=True)
    return np.asarray((x - mean) * _drawn(rng, len(x), 0.5, 1.5) + mean, np.float32)


def _tint(rng: np.random.Generator, x: F32) -> F32:
    """Exposure and colour of the light."""
    gain = rng.uniform(0.85, 1.18, (len(x), 1, 1, 3)).astype(np.float32) * _drawn(rng, len(x), 0.6, 1.5)
    return np.asarray(x * gain, np.float32)


def _night(rng: np.random.Generator, x: F32) -> F32:
    return np.asarray(x * _drawn(rng, len(x), 0.15, 0.5), np.float32)


def _grey(rng: np.random.Generator, x: F32) -> F32:
    """Little colour, or none: dusk and infrared."""
    grey = x @ GREY.astype(np.float32)
    return np.asarray(x + (grey[..., None] - x) * _drawn(rng, len(x), 0.5, 1), np.float32)


def _fog(rng: np.random.Generator, x: F32) -> F32:
    share = _drawn(rng, len(x), 0.2, 0.75)
    return np.asarray(x * (1 - share) + share * _drawn(rng, len(x), 60, 220), np.float32)


def _lamp(rng: np.random.Generator, x: F32) -> F32:
    """Headlights and lamps: a soft spot, as bright as white at its heart."""
    (rows, columns), n = _grid(x), len(x)
    across = ((rows - _drawn(rng, n, -1, 1)) / _drawn(rng, n, 0.2, 1.2)) ** 2
    along = ((columns - _drawn(rng, n, -1, 1)) / _drawn(rng, n, 0.2, 1.2)) ** 2
    return np.asarray(x + np.exp(-across - along) * _drawn(rng, n, 30, 220), np.float32)


def _blur(rng: np.random.Generator, x: F32) -> F32:
    return np.stack([cv2.GaussianBlur(one, (5, 5), float(rng.uniform(0.4, 1.4))) for one in x])


def _noise(rng: np.random.Generator, x: F32) -> F32:
    return np.asarray(x + rng.standard_normal(x.shape, np.float32) * _drawn(rng, len(x), 1, 9), np.float32)


EFFECTS: tuple[tuple[Effect, float], ...] = (
    (_hidden, 0.2), (_shaded, 0.3), (_contrast, 0.4), (_tint, 0.7), (_night, 0.15), (_grey, 0.2), (_fog, 0.15),
    (_lamp, 0.15), (_blur, 0.2), (_noise, 0.4),
)  # fmt: skip
"""What may happen, in this order, and how often."""
LIGHT: tuple[tuple[Effect, float], ...] = (
    (_shaded, 0.2), (_contrast, 0.4), (_tint, 0.6), (_night, 0.15), (_fog, 0.1), (_lamp, 0.12),
)  # fmt: skip
"""Light alone: nothing in the way of what is to be read, and neither blur nor noise."""
