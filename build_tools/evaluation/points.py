"""How far a landmark head's points lie from its teacher's, as a share of the distance between the eyes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.data.face_crops import plain, shrunk
from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.contract import Score
from build_tools.recipe import Recipe

F32 = NDArray[np.float32]
FACES_PX = (20, 40, 80)
"""Faces are also judged when their longer side has but so many pixels."""


class Points:
    """Mean error on the faces that the recipe's training holds back; `error_20px`: of faces made so small."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        from build_tools.training.points_trainer import faces_of

        self._crops, self._points = plain(faces_of(recipe, folder, held_back=True))

    def __call__(self, model: Model) -> Score:
        """The score; 0 is perfect."""
        error = float(point_errors(points_said(model, self._crops), self._points).mean())
        figures = {"error": error, "faces": float(len(self._crops))}
        for px in FACES_PX:
            said = points_said(model, shrunk(self._crops, px))
            figures[f"error_{px}px"] = float(point_errors(said, self._points).mean())
        return Score("error", error, False, figures)


def points_said(model: Model, crops: NDArray[np.uint8]) -> F32:
    """What the model says of crops uint8 [n, side, side, 3]: float32 [n, points, 2], fractions."""
    runner = session(model.proto)
    blob = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
    said = [runner.run(None, {"bgr": blob[i : i + 256]})[0] for i in range(0, len(blob), 256)]
    return np.asarray(np.concatenate(said).reshape(len(crops), -1, 2), np.float32)


def point_errors(said: F32, truth: F32) -> F32:
    """Mean distance [n] of each face's points [n, points, 2], over the distance between its first two, the eyes."""
    apart = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=1)
    return np.asarray(np.linalg.norm(said - truth, axis=2).mean(1) / np.maximum(apart, 1e-6), np.float32)
