"""Losses: nothing to learn from a perfect answer, and each step along the gradient helps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from build_tools.training.losses import box_loss, dense_loss, heat_loss
from build_tools.training.targets import make_targets
from tests.build_tools.packs import boxes_of


def maps() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heat, its weight, box and its weight of one picture with two objects."""
    t = make_targets(
        boxes_of([(10, 10, 50, 40), (60, 20, 90, 90)]), np.array([0, 1], np.int32), boxes_of([]),
        np.zeros(0, np.int32), boxes_of([]), 2, (12, 12), 8,
    )  # fmt: skip
    heat, weight, box, box_weight = (torch.from_numpy(a)[None] for a in (t.heat, t.heat_weight, t.box, t.box_weight))
    return heat, weight, box, box_weight


def test_a_perfect_heatmap_costs_nothing() -> None:
    heat, weight, _, _ = maps()
    perfect = torch.where(heat >= 0.999, 20.0, -20.0)
    assert float(heat_loss(perfect, heat, weight)) < 1e-6


def test_the_heat_loss_is_the_focal_loss_of_its_paper() -> None:
    heat, weight, _, _ = maps()
    logits = torch.from_numpy(np.random.default_rng(1).normal(0, 2, tuple(heat.shape)))
    total, objects = 0.0, 0
    for where in np.ndindex(*heat.shape):  # Law and Deng 2018, equation 1, one cell at a time
        p, y = 1 / (1 + math.exp(-float(logits[where]))), float(heat[where])
        if y == 1:
            objects += 1
            total -= (1 - p) ** 2 * math.log(p)
        else:
            total -= (1 - y) ** 4 * p**2 * math.log(1 - p) * float(weight[where])
    assert objects == 2
    assert float(heat_loss(logits, heat, weight)) == pytest.approx(total / objects, rel=1e-6)


def test_a_heatmap_without_any_object_has_a_finite_loss() -> None:
    nothing = torch.zeros(1, 2, 4, 4)
    loss = float(heat_loss(nothing - 4.6, nothing, nothing + 1))
    assert 0 < loss < 0.1


def test_extreme_answers_keep_the_loss_and_its_gradient_finite() -> None:
    heat, weight, _, _ = maps()
    logits = torch.full_like(heat, 80.0).requires_grad_()
    loss = heat_loss(logits, heat, weight)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_an_unknown_class_costs_and_teaches_nothing() -> None:
    heat, weight, _, _ = maps()
    weight[:, 1] = 0
    heat[:, 1] = 0
    quiet = torch.full_like(heat, -3.0)
    loud = quiet.clone()
    loud[:, 1] = 5.0
    loud.requires_grad_()
    loss = heat_loss(loud, heat, weight)
    loss.backward()
    assert float(loss.detach()) == float(heat_loss(quiet, heat, weight))
    assert loud.grad is not None
    assert (loud.grad[:, 1] == 0).all()


def test_the_heat_loss_falls_along_its_gradient() -> None:
    heat, weight, _, _ = maps()
    logits = torch.full_like(heat, -2.0).requires_grad_()
    before = None
    for _ in range(20):
        loss = heat_loss(logits, heat, weight)
        assert before is None or float(loss.detach()) < before
        before = float(loss.detach())
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 0.5 * slope).detach().requires_grad_()


def test_a_perfect_box_costs_nothing() -> None:
    _, _, box, weight = maps()
    right = torch.where(weight[:, None] > 0, box, torch.tensor(7.0))  # where no object is, any answer will do
    assert float(box_loss(right, box, weight)) == pytest.approx(0, abs=1e-6)


def test_no_object_at_all_costs_nothing() -> None:
    _, _, box, weight = maps()
    assert float(box_loss(box + 1, box, weight * 0)) == 0


def test_the_box_loss_falls_along_its_gradient() -> None:
    _, _, box, weight = maps()
    distances = torch.full_like(box, 2.0).requires_grad_()
    before = None
    for _ in range(20):
        loss = box_loss(distances, box, weight)
        assert before is None or float(loss.detach()) < before
        before = float(loss.detach())
        (slope,) = torch.autograd.grad(loss, distances)
        distances = (distances - 0.5 * slope).detach().clamp(min=0.05).requires_grad_()


def giou_reference(a: list[float], b: list[float]) -> float:
    """Generalised IoU of two xyxy boxes (Rezatofighi et al. 2019, algorithm 1), one number at a time."""
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0.0) * max(h, 0.0)
    union = area_a + area_b - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union - (hull - union) / hull


def test_the_box_loss_is_the_weighted_mean_of_one_minus_giou() -> None:
    rng = np.random.default_rng(3)
    n, h, w = 2, 5, 6
    found, wanted = rng.uniform(0.05, 9, (2, n, 4, h, w))
    weight = rng.uniform(0, 1, (n, h, w)) * (rng.random((n, h, w)) < 0.6)
    total = 0.0
    for i, y, x in np.ndindex(n, h, w):
        corners = [
            [x + 0.5 - d[0], y + 0.5 - d[1], x + 0.5 + d[2], y + 0.5 + d[3]]
            for d in (found[i, :, y, x], wanted[i, :, y, x])
        ]
        total += weight[i, y, x] * (1 - giou_reference(*corners))
    loss = box_loss(torch.from_numpy(found), torch.from_numpy(wanted), torch.from_numpy(weight))
    assert float(loss) == pytest.approx(total / weight.sum(), rel=1e-9)


def levels(seed: int = 5) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """Outputs of two pictures' levels (4x4, 2x2 and 1x1 cells, 2 classes); scores, boxes and their weights."""
    rng = np.random.default_rng(seed)
    outputs = [torch.from_numpy(rng.normal(0, 1, (2, 6, side, side))) for side in (4, 2, 1)]
    scores = torch.from_numpy(rng.uniform(0, 1, (2, 21, 2)) * (rng.random((2, 21, 2)) < 0.3))
    weight = torch.from_numpy((rng.random((2, 21, 2)) < 0.8).astype(float))
    boxes = torch.from_numpy(rng.uniform(0.05, 6, (2, 21, 4)))
    return outputs, scores, weight, boxes, scores.amax(2)


def learned(scores: Tensor, boxes: Tensor) -> list[Tensor]:
    """Outputs that answer exactly these targets."""
    rows = torch.cat([torch.logit(scores, 1e-9), boxes.log()], 2).transpose(1, 2)
    return [part.unflatten(2, (side, side)) for part, side in zip(rows.split([16, 4, 1], 2), (4, 2, 1), strict=True)]


def test_the_dense_loss_is_quality_focal_loss_and_giou_cell_by_cell() -> None:
    outputs, scores, weight, boxes, box_weight = levels()
    score_total = box_total = 0.0
    for n in range(2):
        cell = 0
        for level in outputs:
            for y, x in np.ndindex(*level.shape[2:]):
                for k in range(2):
                    p, q = 1 / (1 + math.exp(-float(level[n, k, y, x]))), float(scores[n, cell, k])
                    entropy = -(q * math.log(p) + (1 - q) * math.log(1 - p))  # Li et al. 2020, equation 5, beta 2
                    score_total += (q - p) ** 2 * entropy * float(weight[n, cell, k])
                corners = [
                    [-d[0], -d[1], d[2], d[3]] for d in (level[n, 2:, y, x].exp().tolist(), boxes[n, cell].tolist())
                ]
                box_total += float(box_weight[n, cell]) * (1 - giou_reference(*corners))
                cell += 1
    score_loss, loss = dense_loss(outputs, scores, weight, boxes, box_weight)
    assert float(score_loss) == pytest.approx(score_total / float(scores.sum()), rel=1e-6)
    assert float(loss) == pytest.approx(box_total / float(box_weight.sum()), rel=1e-6)


def test_the_teachers_own_answer_costs_nothing_and_teaches_nothing() -> None:
    _, scores, weight, boxes, box_weight = levels()
    boxes = torch.ones_like(boxes)  # whose logarithms are exact: beside the optimum, however near, GIoU has a slope
    outputs = [o.requires_grad_() for o in learned(scores, boxes)]
    score_loss, loss = dense_loss(outputs, scores, weight, boxes, box_weight)
    (score_loss + loss).backward()
    assert float(score_loss.detach()) == pytest.approx(0, abs=1e-9)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    for o in outputs:
        assert o.grad is not None
        np.testing.assert_allclose(o.grad.numpy(), 0, atol=1e-7)


def test_leaving_the_teachers_boxes_in_any_direction_costs() -> None:
    _, scores, weight, boxes, box_weight = levels()
    for side in range(4):
        for step in (-0.05, 0.05):
            outputs = learned(scores, boxes)
            for o in outputs:
                o[:, 2 + side] += step
            _, loss = dense_loss(outputs, scores, weight, boxes, box_weight)
            assert float(loss) > 1e-4


@pytest.mark.parametrize("away", [-0.5, 0.5])
def test_scores_nearer_to_the_teachers_cost_less(away: float) -> None:
    _, scores, weight, boxes, box_weight = levels()
    costs = []
    for share in (2.0, 1.0, 0.5, 0.1):
        outputs = learned(scores.clamp(0.01, 0.99), boxes)
        for o in outputs:
            o[:, :2] += share * away
        costs.append(float(dense_loss(outputs, scores, weight, boxes, box_weight)[0]))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.1 * costs[0]


def test_cells_of_no_weight_teach_nothing() -> None:
    outputs, scores, weight, boxes, _ = levels()
    outputs = [o.requires_grad_() for o in outputs]
    score_loss, loss = dense_loss(outputs, scores, weight * 0, boxes, torch.zeros(2, 21))
    (score_loss + loss).backward()
    assert float((score_loss + loss).detach()) == 0
    assert all(o.grad is None or not o.grad.any() for o in outputs)


def test_extreme_dense_answers_keep_the_losses_and_their_gradients_finite() -> None:
    outputs, scores, weight, boxes, box_weight = levels()
    outputs = [(100 * o).requires_grad_() for o in outputs]
    score_loss, loss = dense_loss(outputs, scores, weight, boxes, box_weight)
    (score_loss + loss).backward()
    assert torch.isfinite(score_loss + loss)
    assert all(o.grad is not None and torch.isfinite(o.grad).all() for o in outputs)


def test_the_dense_losses_fall_along_their_gradient() -> None:
    outputs, scores, weight, boxes, box_weight = levels()
    before = None
    for _ in range(20):
        outputs = [o.detach().requires_grad_() for o in outputs]
        loss = sum(dense_loss(outputs, scores, weight, boxes, box_weight))
        assert isinstance(loss, Tensor)
        assert before is None or float(loss.detach()) < before
        before = float(loss.detach())
        slopes = torch.autograd.grad(loss, outputs)
        outputs = [o - 0.5 * slope for o, slope in zip(outputs, slopes, strict=True)]
