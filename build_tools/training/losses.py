"""Losses of the centre network."""

from __future__ import annotations

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
    low, low_target = distances[:, :2], target[:, :2]
    high, high_target = distances[:, 2:], target[:, 2:]
    shared = torch.minimum(low, low_target) + torch.minimum(high, high_target)
    hull = torch.maximum(low, low_target) + torch.maximum(high, high_target)
    inter, hull_area = shared.prod(1), hull.prod(1)
    union = (low + high).prod(1) + (low_target + high_target).prod(1) - inter
    giou = inter / union.clamp(min=1e-6) - (hull_area - union) / hull_area.clamp(min=1e-6)
    return ((1 - giou) * weight).sum() / weight.sum().clamp(min=1e-6)
