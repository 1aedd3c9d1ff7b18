"""The attention network: looks at the small picture only, and says where in the frame something is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import AttentionConfig
from edge_runtime.datatypes import Detections, Frame
from edge_runtime.decoding import decode
from edge_runtime.engine import Engine, padded_wh
from edge_runtime.geometry import clip


class AttentionNetwork:
    """One verb: call it with a frame, and get regions in full-frame pixels, best first."""

    def __init__(self, engine: Engine, config: AttentionConfig) -> None:
        self._engine, self._config = engine, config
        self._blob = np.zeros((1, 3, 0, 0), np.float32)
        self._lores_hw = (0, 0)

    @property
    def classes(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self._engine.facts.classes

    def __call__(self, frame: Frame) -> Detections:
        """Regions of the frame: float32 xyxy in full-frame pixels, clipped to the frame.

        Raises:
            InferenceError: the network failed.
        """
        facts = self._engine.facts
        maps = [m[0] for m in self._engine.run(self._filled(frame.lores))]
        boxes, scores, labels = decode(
            facts.decoding, maps, facts.strides, self._config.score_min, self._config.iou_max
        )
        size_wh = frame.size_wh
        h, w = self._lores_hw
        scale = np.array((size_wh[0] / w, size_wh[1] / h) * 2, np.float32)
        boxes = clip(boxes * scale, size_wh)
        # What lies in the padding only is nowhere in the frame.
        inside = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
        return Detections(boxes[inside], scores[inside], labels[inside], facts.classes)

    def _filled(self, lores: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The input [1, 3, h, w], reused from frame to frame; padding stays black."""
        h, w = lores.shape[:2]
        if (h, w) != self._lores_hw:
            padded = padded_wh((w, h), self._engine.facts.size_multiple)
            self._blob = np.zeros((1, 3, padded[1], padded[0]), np.float32)
            self._lores_hw = (h, w)
        np.copyto(self._blob[0, :, :h, :w], lores.transpose(2, 0, 1))
        return self._blob
