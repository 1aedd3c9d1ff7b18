"""What the training loop needs to know of a family of networks: its targets, its losses, how its maps are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from build_tools.data.augment import Example
from build_tools.nets import centre, pyramid
from build_tools.nets.centre import CentreNet, NetConfig
from build_tools.nets.pyramid import PyramidNet
from build_tools.training.dense_targets import DenseTargets
from build_tools.training.losses import box_loss, dense_loss, heat_loss
from build_tools.training.targets import make_targets
from edge_runtime.decoding import Decoding, Found, decode

Arrays = tuple[NDArray[Any], ...]


class Task(Protocol):
    """A family of networks."""

    decoding: Decoding
    strides: tuple[int, ...]
    outputs: tuple[str, ...]

    def network(self, classes: int, config: NetConfig) -> nn.Module:
        """An untrained network."""

    def targets(self, example: Example, classes: int) -> Arrays:
        """What it should answer to a picture, given before its light is changed."""

    def losses(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """(of scores, of boxes), of a batch."""

    def deployed(self, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs as the exported network gives them."""


class CentreTask:
    """Networks of `nets.centre`."""

    decoding: Decoding = "centre-map"
    strides: tuple[int, ...] = (centre.STRIDE,)
    outputs: tuple[str, ...] = ("heat", "box")

    def network(self, classes: int, config: NetConfig) -> nn.Module:
        return CentreNet(classes, config)

    def targets(self, example: Example, classes: int) -> Arrays:
        e, (h, w), stride = example, example.bgr.shape[:2], centre.STRIDE
        t = make_targets(
            e.boxes, e.labels, e.ignore, e.ignore_labels, e.clear, classes, (w // stride, h // stride), stride
        )
        return t.heat, t.heat_weight, t.box, t.box_weight

    def losses(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        logits, distances = outputs
        heat, heat_weight, box, box_weight = targets
        return heat_loss(logits, heat, heat_weight), box_loss(distances, box, box_weight)

    def deployed(self, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        logits, distances = outputs
        return torch.sigmoid(logits), distances


class PyramidTask:
    """Networks of `nets.pyramid`, which learn cell by cell what teachers of the same strides answer."""

    decoding: Decoding = "levels"
    strides: tuple[int, ...] = pyramid.STRIDES
    outputs: tuple[str, ...] = tuple(f"level{s}" for s in pyramid.STRIDES)

    def __init__(self, dense: DenseTargets) -> None:
        self._dense = dense

    def network(self, classes: int, config: NetConfig) -> nn.Module:
        return PyramidNet(classes, config)

    def targets(self, example: Example, classes: int) -> Arrays:
        return self._dense(example, classes)

    def losses(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return dense_loss(outputs, *targets)

    def deployed(self, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(outputs)


def found(task: Task, outputs: Sequence[Tensor], score_min: float, iou_max: float) -> Found:
    """What a network of the family sees in the first picture of a batch."""
    maps = [np.ascontiguousarray(o[0].numpy()) for o in task.deployed(outputs)]
    return decode(task.decoding, maps, task.strides, score_min, iou_max)
