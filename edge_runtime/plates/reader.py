"""Any network that reads plates, ours or a user's, behind one call."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_runtime.adapters import adapter_path, read_adapter
from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import ConfigError, FormatError
from edge_runtime.plates.adapter import WANTS, ReaderAdapter
from edge_runtime.plates.reading import BLANK, F32, Reading, read_slots, read_steps
from edge_runtime.plates.session import AdaptedNetwork
from edge_runtime.shipped import model_file, shipped_model

FIELD = "plates.reader"


class Reader(Protocol):
    """Reads a plate that was cut out; `PlateReader` does.

    Attributes:
        alphabet: the characters it knows.
    """

    alphabet: str

    def __call__(self, plate: BgrImage) -> Reading:
        """What is written on the plate, uint8 [h, w, 3] BGR."""


class PlateReader:
    """A reader's file and its adapter; see `Reader`.

    Args:
        path: the file.
        adapter: how it wants plates; None: its adapter lies beside it.

    Raises:
        ConfigError: there is no adapter, or it is wrong.
        BundleError: the file cannot be used, or does not answer as the adapter says.
    """

    def __init__(self, path: Path, adapter: ReaderAdapter | None = None) -> None:
        self._adapter = a = adapter or read_adapter(ReaderAdapter, model_file(path, FIELD), WANTS)
        self.alphabet = a.alphabet
        self._columns = (BLANK, *a.alphabet) if a.blank == "first" else (*a.alphabet, BLANK)
        self._network = AdaptedNetwork(path, a, FIELD)
        w, h = a.input_wh
        self._rows(self._network(np.full((h, w, 3), 127, np.uint8)))

    def __call__(self, plate: BgrImage) -> Reading:
        """What is written on the plate.

        Raises:
            InferenceError: the network failed.
        """
        rows = self._rows(self._network(stretched(plate, self._adapter.input_wh)))
        return read_steps(rows, self._columns) if self._adapter.decoding == "steps" else read_slots(rows, self._columns)

    def _rows(self, answer: F32) -> F32:
        """The answer as [steps, characters], whichever side it gives the characters on; networks flatten slots, too."""
        characters = len(self._columns)
        if answer.ndim == 1 and answer.size % characters == 0:
            return answer.reshape(-1, characters)
        if answer.ndim == 2 and answer.shape[1] == characters:
            return answer
        if answer.ndim == 2 and answer.shape[0] == characters:
            return answer.T
        path = self._network.path
        raise FormatError(
            f"{path}: answers with {answer.shape}; with {len(self.alphabet)} characters and the blank of "
            f"{adapter_path(path).name} one side must be {characters}"
        )


def stretched(bgr: BgrImage, size_wh: tuple[int, int]) -> BgrImage:
    """A plate as readers see it: stretched to their input, averaged where it shrinks; training does the same."""
    shrinks = bgr.shape[1] > size_wh[0] and bgr.shape[0] > size_wh[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=how), np.uint8)


def open_reader(name_or_path: str) -> PlateReader:
    """The reader called `name_or_path` among the shipped ones, or the file at that path.

    Raises:
        ConfigError: none is named, nothing of that name is shipped, or its adapter is missing or wrong.
        BundleError: see `PlateReader`.
    """
    if not name_or_path:
        raise ConfigError(
            f'{FIELD} is empty: plates cannot be read without one; take "plate_reader", or a path to any OCR network '
            "with NAME.adapter.toml beside it"
        )
    if "/" in name_or_path or "." in name_or_path:
        return PlateReader(Path(name_or_path).expanduser())
    return PlateReader(shipped_model(name_or_path, FIELD))
