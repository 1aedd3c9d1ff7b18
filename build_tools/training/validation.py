"""What a training is judged by: AP50 of each class on pictures that it never learns from, always the same views."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from build_tools.data.augment import Example
from build_tools.data.dataset import TrainingPictures
from build_tools.evaluation.detection import Scored, figures
from build_tools.training.task import Task, found

MULTIPLE = 32
SCORE_MIN, IOU_MAX = 0.02, 0.5


class Validation:
    """One verb: called with a network, it tells its AP50 by class.

    Args:
        pictures: the ones held out. Wholes are fitted in, of crops each picture gives one.
        size_wh: of the network's input; grown to multiples of 32.
    """

    def __init__(self, pictures: TrainingPictures, size_wh: tuple[int, int]) -> None:
        self._names = pictures.classes.names
        w, h = size_wh
        canvas = (w + -w % MULTIPLE, h + -h % MULTIPLE)
        self._examples: list[Example] = []
        for i, sample in enumerate(pictures.samples):
            if pictures.crops:
                rng = np.random.default_rng((pictures.seed, 999, i))
                self._examples.append(pictures.crop(rng, i, canvas[0]))
            else:
                scale = min(w / sample.size_wh[0], h / sample.size_wh[1])
                fitted = np.array([[scale, 0, 0], [0, scale, 0]], np.float32)
                self._examples.append(pictures.seen(i, fitted, canvas, 0))

    @torch.no_grad()
    def __call__(self, net: nn.Module, task: Task) -> dict[str, float]:
        """`ap50_CLASS` for each class of the recipe."""
        items: list[list[Scored]] = [[] for _ in self._names]
        for e in self._examples:
            chw = torch.from_numpy(np.ascontiguousarray(e.bgr.transpose(2, 0, 1)))[None].float()
            outputs = net(chw.contiguous(memory_format=torch.channels_last))
            boxes, scores, labels = found(task, outputs, SCORE_MIN, IOU_MAX)
            for k in range(len(items)):
                mine, own, crowd = labels == k, e.labels == k, e.ignore_labels == k
                truth = np.concatenate([e.boxes[own], e.ignore[crowd]])
                is_crowd = np.arange(len(truth)) >= own.sum()
                side = (truth[:, 2:] - truth[:, :2]).min(1, initial=np.inf)
                items[k].append(Scored(boxes[mine], scores[mine], truth, is_crowd, side, "held out"))
        return {f"ap50_{n}": figures(i).get("ap50", 0.0) for n, i in zip(self._names, items, strict=True)}
