"""How well a reader reads plates: share of characters wrong, and share of plates wholly right.

Crops are stretched to the reader's input as they are. `error` is the Levenshtein distance between what is read and what
is written, summed over the plates and divided by the characters written; `whole` the share of plates without any. Signs
that are no Latin letters or digits, as the first of a Chinese plate, are no part of either (`data.plate_text`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from build_tools.data.plate_glyphs import ALPHABET
from build_tools.data.plate_text import INPUT_WH, PlateCrop, is_held_out, read_plates
from build_tools.errors import DataError
from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.contract import Score
from build_tools.recipe import EvaluationEntry
from edge_runtime.plates.adapter import ReaderAdapter
from edge_runtime.plates.matching import distance
from edge_runtime.plates.reader import PlateReader, stretched
from edge_runtime.plates.reading import BLANK, Reading, read_steps

CHARACTERS = (*ALPHABET, BLANK)


class Plates:
    """The error on the train part of a plate-text pack, on the plates that the recipe holds out."""

    def __init__(self, entry: EvaluationEntry, folder: Path) -> None:
        plates = read_plates(folder / entry.data, folder / entry.images, "train")
        self._plates = [p for p in plates if not entry.held_out or is_held_out(p, entry.held_out)]
        if not self._plates:
            raise DataError(f"{entry.data}: evaluation.held_out = {entry.held_out} leaves no plate; raise it")

    def __call__(self, model: Model) -> Score:
        """The score; 0 is perfect."""
        figures = plate_figures(read_all(model, self._plates), self._plates)
        return Score("error", figures["error"], False, figures)


def evaluate_plates(path: Path, folder: Path, adapter: ReaderAdapter) -> dict[str, Any]:
    """What `edge-build evaluate --plates` prints: figures on the pack's dev split, and for each source apart.

    Args:
        path: ONNX or `.edge`, any reader.
        folder: of a plate-text pack.
        adapter: how it wants plates.

    Raises:
        DataError: the pack cannot be read.
        EdgeRuntimeError: the node could not use it either.
    """
    reader = PlateReader(path, adapter)
    plates = read_plates(folder / "plates.json", folder, "dev")
    readings = [reader(plate.bgr) for plate in plates]
    by_source = {}
    for source in dict.fromkeys(p.source for p in plates):
        mine = [i for i, p in enumerate(plates) if p.source == source]
        by_source[source] = plate_figures([readings[i] for i in mine], [plates[i] for i in mine])
    return {**plate_figures(readings, plates), "by_source": by_source, "model_bytes": path.stat().st_size}


def read_all(model: Model, plates: Sequence[PlateCrop]) -> list[Reading]:
    """What a reader of ours reads of each plate."""
    runner = session(model.proto)
    seen = np.stack([stretched(p.bgr, INPUT_WH) for p in plates]).transpose(0, 3, 1, 2)
    blob = np.ascontiguousarray(seen, np.float32)
    said = np.concatenate([runner.run(None, {"bgr": blob[i : i + 64]})[0] for i in range(0, len(blob), 64)])
    return [read_steps(one[:, 0].T, CHARACTERS) for one in said]


def plate_figures(readings: Sequence[Reading], plates: Sequence[PlateCrop]) -> dict[str, float]:
    """`error`, `whole` and `plates`; see the file's docstring."""
    wrong = [distance(r.text, p.text) for r, p in zip(readings, plates, strict=True)]
    return {
        "error": sum(wrong) / sum(len(p.text) for p in plates),
        "whole": sum(w == 0 for w in wrong) / len(plates),
        "plates": float(len(plates)),
    }
