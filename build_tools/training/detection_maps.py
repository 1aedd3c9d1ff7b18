"""Raw output maps of a detector against a teacher's, weighed so that the few places with objects are not drowned.

Works on any detector's raw outputs, by what the teacher's numbers look like: maps of the same places (YuNet's `cls_8`,
`obj_8`, `bbox_8`, our `heat` and `box`, UltraFace's `scores` and `boxes`) belong together; channels that lie within
0..1 are scores, all others are places and sides of boxes. Scores are learned wherever student and teacher differ
(quality focal loss, Li et al. 2020, equation 6), boxes where the teacher is confident of an object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor

EDGE = 1e-6
"""Scores are kept this far from 0 and 1, where their logarithm ends."""
SQUASHES = ("Sigmoid", "HardSigmoid", "Softmax")
CARRIES = ("Reshape", "Transpose", "Concat", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "Cast")
"""Operators behind which scores are still scores."""
NOISE_FLOOR = 0.02
"""Teachers are this confident, together, of places without anything; it counts for nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """An output: its names, which side holds the channels, and which of them are scores."""

    student: str
    teacher: str
    axis: int
    scores: Tensor  # bool [channels]
    objectness: int | None  # the channel that all others of the map are multiplied by
    background: bool  # the first channel says that there is nothing
    spread: Tensor  # float [channels], of the teacher's values


class MapsLoss:
    """One verb: called with both models' outputs by name, it gives their difference.

    Args:
        pairs: names of outputs in the student and in the teacher.
        first: the teacher's outputs for a first batch, from which it learns what is what.
        scored: the teacher's outputs that may hold scores (see `score_outputs`); None: any.
    """

    def __init__(
        self, pairs: Sequence[tuple[str, str]], first: Mapping[str, Tensor], scored: Collection[str] | None = None
    ) -> None:
        self._places: dict[tuple[int, ...], list[_Map]] = defaultdict(list)
        for mine, its in pairs:
            values = first[its].float()
            axis = 1 if values.ndim == 4 else -1
            found = _read(mine, its, values, axis, scored is None or its in scored)
            places = values.shape[2:] if values.ndim == 4 else values.shape[values.ndim > 2 : -1]
            self._places[tuple(places)].append(found)

    def __call__(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """The loss: scores and boxes, each relative to how many objects the teacher sees."""
        score_terms, box_terms, total = [], [], torch.zeros(())
        for maps in self._places.values():
            mine = [_rows(student[m.student], m.axis) for m in maps]
            its = [_rows(teacher[m.teacher], m.axis) for m in maps]
            sure = {k: c for k, m in enumerate(maps) if (c := _confidence(m, its[k])) is not None}
            feigned = {k: c for k in sure if (c := _confidence(maps[k], mine[k].detach())) is not None}
            weight = _together(sure, len(its[0]))
            total = total + weight.sum()
            for k, (m, a, b) in enumerate(zip(maps, mine, its, strict=True)):
                if k in sure:
                    # A score counts as far as the other scores of its place let it, by the teacher or the student:
                    # which class it would be is noise where nobody sees anything.
                    others = [{j: c for j, c in found.items() if j != k} for found in (sure, feigned)]
                    let = torch.maximum(*(_together(o, len(b)) for o in others))
                    score_terms.append((_score_difference(m, a, b) * let[:, None]).sum())
                if not m.scores.all():
                    difference = (a[:, ~m.scores] - b[:, ~m.scores]) / m.spread[~m.scores]
                    box_terms.append((_huber(difference).mean(1) * weight).sum())
        terms = score_terms + box_terms
        return torch.stack(terms).sum() / total.clamp(min=1.0)


def score_outputs(proto: onnx.ModelProto) -> set[str]:
    """Names of the outputs into which a sigmoid or a softmax leads, by itself or joined with other maps."""
    makers = {out: node for node in proto.graph.node for out in node.output}

    def squashed(name: str) -> bool:
        node = makers.get(name)
        if node is None or node.op_type in SQUASHES:
            return node is not None
        carried = node.input if node.op_type == "Concat" else node.input[:1]
        return node.op_type in CARRIES and any(squashed(n) for n in carried)

    return {o.name for o in proto.graph.output if squashed(o.name)}


def _read(mine: str, its: str, values: Tensor, axis: int, scored: bool) -> _Map:
    rows = _rows(values, axis)
    scores = ((rows >= 0) & (rows <= 1)).all(0) & scored
    count = int(scores.sum())
    objectness, background = None, False
    if scores.all() and count > 1:
        background = bool((rows.sum(1) - 1).abs().max() < 1e-3)
    elif count > 1:
        objectness = int(scores.nonzero()[0, 0])
    return _Map(mine, its, axis, scores, objectness, background, rows.std(0).clamp(min=1e-3))


def _rows(values: Tensor, axis: int) -> Tensor:
    """[places, channels]."""
    moved = values.movedim(axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def _confidence(m: _Map, rows: Tensor) -> Tensor | None:
    """How sure a map is of an object at each place, [places]; None for a map of boxes."""
    if not m.scores.any():
        return None
    scores = rows[:, m.scores]
    if m.background:
        return scores[:, 1:].amax(1)
    if m.objectness is not None:
        return scores[:, 0] * scores[:, 1:].amax(1)
    return scores.amax(1)


def _together(confidences: Mapping[int, Tensor], places: int) -> Tensor:
    """Product of confidences, [places]; nothing where it is no more than noise, 1 where there are none."""
    if not confidences:
        return torch.ones(places)
    joint = torch.stack(list(confidences.values())).prod(0)
    return torch.where(joint > NOISE_FLOOR, joint, torch.zeros_like(joint))


def _score_difference(m: _Map, student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy of scores [places, scores], weighed by their squared difference."""
    q = teacher[:, m.scores].clamp(0, 1)
    p = EDGE + (1 - 2 * EDGE) * student[:, m.scores].clamp(0, 1)
    entropy = -(q * p.log() + (1 - q) * (1 - p).log())
    loss = (q - p).detach().square() * entropy
    if m.objectness is not None:
        loss = torch.cat([loss[:, :1], loss[:, 1:] * q[:, :1]], 1)
    return loss


def _huber(difference: Tensor) -> Tensor:
    size = difference.abs()
    return torch.where(size < 1, 0.5 * size.square(), size - 0.5)
