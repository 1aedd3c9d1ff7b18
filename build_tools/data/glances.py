"""Where attention would have a detector look: the windows that the runtime cuts, as training crops.

Three in four windows that attention asks for show nothing, and look much as if they did. A detector that learned from
windows around objects only takes what is there for objects.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import AttentionConfig, CroppingConfig
from edge_runtime.cropping.planner import plan_windows
from edge_runtime.datatypes import Frame
from edge_runtime.engine import OnnxEngine
from edge_runtime.imaging.lores import make_lores

LORES_WH = (320, 240)
SCORE_MIN = 0.15
"""Lower than the runtime's: also what a hazier picture would have it look at."""
BUDGET = 16
"""Twice the runtime's, so that the windows of a picture are of many kinds."""


class Glances:
    """One verb: call it with a picture, and get the windows that its regions would be cut in.

    Args:
        model: an attention network, `.edge` or `.onnx`.
        crop_px: side of a crop.

    Raises:
        ModelError: not a model that the runtime takes.
    """

    def __init__(self, model: Path, crop_px: int) -> None:
        self._attention = AttentionNetwork(OnnxEngine(model), AttentionConfig(score_min=SCORE_MIN))
        self._crop_px, self._cropping = crop_px, CroppingConfig(budget=BUDGET)

    def __call__(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Square windows float32 [n, 4] xyxy in the pixels of `bgr`, uint8 [h, w, 3]; most important first."""
        frame = Frame(bgr, make_lores(bgr, LORES_WH), 0, 0)
        regions = self._attention(frame)
        return plan_windows(regions, (), frame.size_wh, self._crop_px, self._cropping).windows
