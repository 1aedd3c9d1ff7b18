"""Constant-velocity Kalman filter of boxes, for all tracks at once and with time steps of any length.

State of a track: centre x, y, width, height and their speeds per second. The sides are taken to move on their own,
so a box that grows while it nears is followed. Equations: Kalman 1960, in the form of Bar-Shalom, Li and Kirubarajan
2001, sections 5.2 (prediction, update in Joseph's form) and 6.2.2 (white-noise acceleration). Noise grows with the
box, as in SORT's successors: a pixel is much for a small object and nothing for a large one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

ACCELERATION = 0.6
"""Standard deviation of the acceleration, in box sides per second squared (per square root of a second)."""
MEASUREMENT = 0.06
"""Standard deviation of a detected centre or side, in box sides: what small detectors jitter by."""
FIRST_SPEED = 1.0
"""Standard deviation of an unknown speed, in box sides per second."""
SIDE_FLOOR_PX = 8.0
"""Noise never shrinks below that of a box of this side."""


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """Of n tracks: mean [n, 8] (cx, cy, w, h and speeds, pixels and pixels per second), covariance [n, 8, 8]."""

    mean: F64
    covariance: F64

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Beliefs:
        """The beliefs at `index`."""
        return Beliefs(self.mean[index], self.covariance[index])

    def joined(self, other: Beliefs) -> Beliefs:
        """These beliefs followed by the others."""
        return Beliefs(np.concatenate([self.mean, other.mean]), np.concatenate([self.covariance, other.covariance]))


def no_beliefs() -> Beliefs:
    """Of no track."""
    return Beliefs(np.zeros((0, 8)), np.zeros((0, 8, 8)))


def begin(boxes_xyxy: NDArray[np.float32]) -> Beliefs:
    """Beliefs of n objects seen once, as float32 [n, 4]."""
    seen = _centred(boxes_xyxy)
    side = _side(seen)
    mean = np.concatenate([seen, np.zeros_like(seen)], 1)
    deviation = side * np.array([2 * MEASUREMENT] * 4 + [FIRST_SPEED] * 4)
    return Beliefs(mean, np.einsum("ni,ij->nij", deviation**2, np.eye(8)))


def predict(beliefs: Beliefs, seconds: float, fading: NDArray[np.bool_]) -> Beliefs:
    """Beliefs `seconds` later.

    Args:
        beliefs: of n tracks.
        seconds: time passed, at least 0.
        fading: bool [n], tracks that were not seen lately: their speeds die down with a time constant of half a
            second, so that a forecast does not run out of the picture.
    """
    step = np.eye(8)
    step[:4, 4:] = np.eye(4) * seconds
    mean = beliefs.mean @ step.T
    mean[fading, 4:] *= np.exp(-seconds / 0.5)
    mean[:, 2:4] = np.maximum(mean[:, 2:4], 1.0)
    q = (ACCELERATION * _side(mean)[:, 0]) ** 2
    noise = np.zeros((8, 8))
    noise[:4, :4] = np.eye(4) * seconds**3 / 3
    noise[:4, 4:] = noise[4:, :4] = np.eye(4) * seconds**2 / 2
    noise[4:, 4:] = np.eye(4) * seconds
    covariance = step @ beliefs.covariance @ step.T + q[:, None, None] * noise * 4
    return Beliefs(mean, covariance)


def update(beliefs: Beliefs, boxes_xyxy: NDArray[np.float32]) -> Beliefs:
    """Beliefs of n tracks after each was seen as its box of float32 [n, 4]."""
    seen = _centred(boxes_xyxy)
    r = (MEASUREMENT * _side(beliefs.mean)) ** 2
    noise = np.einsum("ni,ij->nij", np.repeat(r, 4, 1), np.eye(4))
    innovation = beliefs.covariance[:, :4, :4] + noise
    gain = np.linalg.solve(innovation, beliefs.covariance[:, :4, :]).transpose(0, 2, 1)
    mean = beliefs.mean + np.einsum("nij,nj->ni", gain, seen - beliefs.mean[:, :4])
    mean[:, 2:4] = np.maximum(mean[:, 2:4], 1.0)
    keep = np.tile(np.eye(8), (len(mean), 1, 1))
    keep[:, :, :4] -= gain
    covariance = keep @ beliefs.covariance @ keep.transpose(0, 2, 1) + gain @ noise @ gain.transpose(0, 2, 1)
    return Beliefs(mean, (covariance + covariance.transpose(0, 2, 1)) / 2)


def boxes(beliefs: Beliefs) -> NDArray[np.float32]:
    """Where the tracks are believed to be: float32 [n, 4] xyxy."""
    centre, half = beliefs.mean[:, :2], beliefs.mean[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half], 1).astype(np.float32)


def _centred(boxes_xyxy: NDArray[np.float32]) -> F64:
    wide = boxes_xyxy.astype(np.float64)
    return np.concatenate([(wide[:, :2] + wide[:, 2:]) / 2, wide[:, 2:] - wide[:, :2]], 1)


def _side(state: F64) -> F64:
    """Geometric mean of the sides, [n, 1]."""
    return np.maximum(np.sqrt(np.maximum(state[:, 2:3] * state[:, 3:4], 0.0)), SIDE_FLOOR_PX)
