"""How many parking slots a classifier sees as they are, cut as the node cuts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.data.coco import is_held_out
from build_tools.data.slot_patches import SlotFrame, plain_patches, read_frames
from build_tools.errors import DataError, RecipeError
from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.contract import Score
from build_tools.recipe import EvaluationEntry

SIDES_PX = (0, 4, 8, 12, 20, 40)
"""Lower limits of the groups by size: shorter side of the box around a slot, in pixels of the frame."""


class Slots:
    """Accuracy on the frames of a slots JSON, the share of the recipe's `held_out` only."""

    def __init__(self, entry: EvaluationEntry, folder: Path) -> None:
        if not entry.images or len(entry.sources) != 1:
            raise RecipeError("evaluation.images and one of evaluation.sources are needed: kind = slots")
        frames = read_frames(folder / entry.data, folder / entry.images, entry.sources[0])
        self._frames = [f for f in frames if not entry.held_out or is_held_out(f.path, entry.held_out)]
        if not self._frames:
            raise DataError(f"{entry.data}: evaluation.held_out = {entry.held_out} leaves no frame; raise it")

    def __call__(self, model: Model) -> Score:
        """The score; 1 is perfect."""
        found = slot_figures(probabilities(model, self._frames), self._frames)
        return Score("accuracy", found["accuracy"], True, found)


def probabilities(model: Model, frames: list[SlotFrame]) -> NDArray[np.float32]:
    """What the model says of each slot of each frame: float32 [n]."""
    runner = session(model.proto)
    patches, _ = plain_patches(frames)
    blob = np.ascontiguousarray(patches.transpose(0, 3, 1, 2), np.float32)
    return np.concatenate([runner.run(None, {"bgr": blob[i : i + 256]})[0].ravel() for i in range(0, len(blob), 256)])


def slot_figures(probable: NDArray[np.float32], frames: list[SlotFrame]) -> dict[str, float]:
    """`accuracy`, `slots`, `missed` (occupied, seen as free), `false` (free, seen as occupied), and by size.

    Args:
        probable: [n], that each slot is occupied.
        frames: the slots' frames in the same order.
    """
    occupied = np.concatenate([f.occupied for f in frames])
    short = np.concatenate([f.short_px for f in frames])
    right = (probable > 0.5) == occupied
    found = {
        "accuracy": float(right.mean()),
        "slots": float(len(right)),
        "missed": float(np.count_nonzero(~right & occupied)),
        "false": float(np.count_nonzero(~right & ~occupied)),
    }
    for low, high in zip(SIDES_PX, (*SIDES_PX[1:], np.inf), strict=True):
        there = (short >= low) & (short < high)
        if there.any():
            found[f"accuracy_{low}px"] = float(right[there].mean())
            found[f"slots_{low}px"] = float(np.count_nonzero(there))
    return found
