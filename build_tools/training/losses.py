"""Losses of our networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def heat_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Law and Deng 2018, equation 1; alpha 2, beta 4), mean over objects.

    Args:
        logits: [n, classes, h, w].
        target: [n, classes, h, w], 1 at object centres.
        weight: [n, classes, h, w], 0 where the picture says nothing of the class.
    """
    log_p = torch.nn.functional.logsigmoid(logits)
    log_q = log_p - logits  # log(1 - p)
    p = log_p.exp()
    centre = target >= 0.999
    hit = -((1 - p) ** 2) * log_p
    miss = -((1 - target) ** 4) * p**2 * log_q
    total = (torch.where(centre, hit, miss) * weight).sum()
    return total / centre.sum().clamp(min=1)


def box_loss(distances: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Generalised IoU loss (Rezatofighi et al. 2019) of boxes around the same cell, weighted mean.

    Args:
        distances: [n, 4, h, w] left, top, right, bottom in cells, positive.
        target: [n, 4, h, w].
        weight: [n, h, w].
    """
    giou = _giou(distances.unbind(1), target.unbind(1))
    return ((1 - giou) * weight).sum() / weight.sum().clamp(min=1e-6)


def dense_loss(
    outputs: Sequence[Tensor], scores: Tensor, score_weight: Tensor, boxes: Tensor, box_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses of a pyramid network: quality focal loss of soft scores (Li et al. 2020, equation 5), GIoU of boxes.

    Args:
        outputs: for each level [n, classes + 4, h, w]; see `nets.pyramid`.
        scores: [n, cells, classes], 0 to 1; cells of all levels one after the other.
        score_weight: the same shape.
        boxes: [n, cells, 4], distances in cells.
        box_weight: [n, cells].

    Returns:
        The loss of scores, relative to the sum of the targets, and the weighted mean of 1 - GIoU.
    """
    rows = torch.cat([o.flatten(2).transpose(1, 2) for o in outputs], 1)
    logits = rows[..., :-4]
    error = (torch.sigmoid(logits) - scores).square()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    score_loss = (error * entropy * score_weight).sum() / scores.sum().clamp(min=1)
    where = box_weight > 0
    distances = torch.exp(rows[..., -4:][where].clamp(-4, 6))
    share = box_weight[where]
    loss = 1 - _giou(distances.unbind(-1), boxes[where].unbind(-1))
    return score_loss, (loss * share).sum() / share.sum().clamp(min=1e-6)


def _giou(mine: Sequence[Tensor], its: Sequence[Tensor]) -> Tensor:
    """Generalised IoU of boxes around the same points, given left, top, right, bottom distances."""
    (l1, t1, r1, b1), (l2, t2, r2, b2) = mine, its
    inter = (torch.minimum(l1, l2) + torch.minimum(r1, r2)) * (torch.minimum(t1, t2) + torch.minimum(b1, b2))
    hull = (torch.maximum(l1, l2) + torch.maximum(r1, r2)) * (torch.maximum(t1, t2) + torch.maximum(b1, b2))
    union = (l1 + r1) * (t1 + b1) + (l2 + r2) * (t2 + b2) - inter
    return inter / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
