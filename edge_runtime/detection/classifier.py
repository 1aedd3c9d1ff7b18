"""The slot classifier: cuts each parking slot out of the frame and says how probable it is that it is occupied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import SlotConfig
from edge_runtime.datatypes import Picture
from edge_runtime.detection.slot_patch import cut, expanded, quad_of
from edge_runtime.engine import Engine
from edge_runtime.errors import FormatError


class SlotClassifier:
    """One verb: call it with a frame's picture, and get a probability for each slot.

    Args:
        engine: a network whose one output is the probability of `occupied`.
        slots: as configured.

    Raises:
        FormatError: a network for something else.
    """

    def __init__(self, engine: Engine, slots: Sequence[SlotConfig]) -> None:
        facts = engine.facts
        if facts.decoding != "probability" or facts.classes != ("occupied",) or facts.size_wh[0] != facts.size_wh[1]:
            raise FormatError(
                f"{facts.name}: gives {facts.decoding} of {', '.join(facts.classes)} for {facts.size_wh}; "
                "parking.model must give the probability of occupied for a square patch"
            )
        self._engine, self._slots = engine, tuple(slots)
        self._side_px = facts.size_wh[0]
        self._batch = np.zeros((len(self._slots), 3, self._side_px, self._side_px), np.float32)
        self._size_wh = (0, 0)
        self._quads: list[NDArray[np.float32]] = []

    def __call__(self, picture: Picture, size_wh: tuple[int, int]) -> NDArray[np.float32]:
        """The probability [n] that each slot is occupied, in the order of the configuration.

        Args:
            picture: the frame's main picture.
            size_wh: its size.

        Raises:
            InferenceError: the network failed.
        """
        if not self._slots:
            return np.zeros(0, np.float32)
        if size_wh != self._size_wh:
            w, h = self._size_wh = size_wh
            self._quads = [expanded(quad_of([(x * w, y * h) for x, y in slot.points])) for slot in self._slots]
        for blob, quad in zip(self._batch, self._quads, strict=True):
            blob[:] = cut(picture, quad, self._side_px).transpose(2, 0, 1)
        (said,) = self._engine.run(self._batch)
        return np.asarray(said.reshape(len(self._slots)), np.float32)
