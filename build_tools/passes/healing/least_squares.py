"""Weights that make a layer's outputs what they were: least squares from second moments, zeros kept where asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
CG_STEPS, CG_ENOUGH = 80, 1e-12
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(slots=True, eq=False)
class Equations:
    """Sums over patches x (of the new model) and outputs y (of the old one), one matrix for each group of a layer.

    Attributes:
        xx: float64 [groups, k, k], sum of x x^T.
        yx: float64 [groups, outputs, k], sum of y x^T.
        x: float64 [groups, k], sum of x.
        y: float64 [groups, outputs], sum of y.
        yy: sum of y^2, over all outputs.
        count: patches.
    """

    xx: F64
    yx: F64
    x: F64
    y: F64
    yy: float
    count: int

    @classmethod
    def empty(cls, groups: int, outputs: int, k: int) -> Equations:
        """No patches yet; `outputs` and `k` are a group's."""
        return cls(
            np.zeros((groups, k, k)), np.zeros((groups, outputs, k)), np.zeros((groups, k)),
            np.zeros((groups, outputs)), 0.0, 0,
        )  # fmt: skip

    def add(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Take in patches [groups, p, k] and what the outputs [groups, p, outputs] should be."""
        self.xx += np.matmul(x.transpose(0, 2, 1), x)
        self.yx += np.matmul(y.transpose(0, 2, 1), x)
        self.x += x.sum(1, dtype=np.float64)
        self.y += y.sum(1, dtype=np.float64)
        self.yy += float(np.square(y, dtype=np.float64).sum())
        self.count += x.shape[1]

    def plus(self, other: Equations) -> Equations:
        """The sums of both."""
        return Equations(
            self.xx + other.xx, self.yx + other.yx, self.x + other.x, self.y + other.y,
            self.yy + other.yy, self.count + other.count,
        )  # fmt: skip

    def error(self, weight: F64, bias: F64) -> float:
        """Relative error sqrt(sum (y - W x - b)^2 / sum y^2) of weight [groups, outputs, k], bias [groups, outputs]."""
        fit = np.einsum("gok,gkl,gol->", weight, self.xx, weight, optimize=True) - 2 * float((weight * self.yx).sum())
        ahead = np.einsum("gok,gk->go", weight, self.x) - self.y
        shift = 2 * float((bias * ahead).sum()) + self.count * float(np.square(bias).sum())
        return float(np.sqrt(max(self.yy + fit + shift, 0.0) / max(self.yy, 1e-30)))

    def best_bias(self, weight: F64) -> F64:
        """The bias [groups, outputs] that gives the outputs their mean back."""
        return np.asarray((self.y - np.einsum("gok,gk->go", weight, self.x)) / max(self.count, 1))

    def solve(self, start: F64, ridge: float, mask: NDArray[np.bool_] | None, with_bias: bool) -> F64:
        """The weights of least squared error, drawn towards `start`.

        Minimises sum |y - W x - b|^2 + r |W - start|^2 where r = ridge * mean diagonal of sum x x^T: what the data
        do not tell stays as it was. He et al. 2017 ("Channel Pruning for Accelerating Very Deep Neural Networks",
        equation 1, second step) is the case of a small ridge.

        Args:
            start: [groups, outputs, k].
            ridge: relative to the inputs' energy.
            mask: same shape; where False, the weight stays zero. None: all may move.
            with_bias: the bias is free too, so that only deviations from the means count.
        """
        xx, yx = self.xx, self.yx
        if with_bias and self.count:
            xx = xx - self.x[:, :, None] * self.x[:, None, :] / self.count
            yx = yx - self.y[:, :, None] * self.x[:, None, :] / self.count
        if np.isinf(ridge):
            return start.copy()
        k = xx.shape[1]
        solved = np.empty_like(start)
        for g in range(len(xx)):
            energy = np.trace(xx[g]) / k
            matrix = xx[g] + max(ridge * energy, 1e-12) * np.eye(k)
            residual = yx[g] - start[g] @ xx[g]
            if mask is None or mask[g].all():
                solved[g] = start[g] + np.linalg.solve(matrix, residual.T).T
            else:
                solved[g] = start[g] * mask[g] + _conjugate_gradients(matrix, residual, mask[g])
        return solved


def best_ridge(fit: Equations, held: Equations, start: F64, mask: NDArray[np.bool_] | None, with_bias: bool) -> float:
    """The ridge whose solution from `fit` has the least error on `held`; infinite if `start` itself is better.

    A fully connected layer has more inputs than there are calibration samples: solved freely, it learns them by heart
    (here: error 0.0001 on the samples, and outputs further off than before on others).
    """

    def judged(weight: F64) -> float:
        return held.error(weight, fit.best_bias(weight) if with_bias else np.zeros(weight.shape[:2]))

    errors = {ridge: judged(fit.solve(start, ridge, mask, with_bias)) for ridge in RIDGES}
    best = min(errors, key=lambda ridge: errors[ridge])
    return best if errors[best] < judged(start) else np.inf


def _conjugate_gradients(matrix: F64, residual: F64, mask: NDArray[np.bool_]) -> F64:
    """For each row d of the result: matrix restricted to the row's mask, times d = the row of `residual`.

    All rows at once, each with steps of its own, so that one product of matrices serves all: a factorisation for each
    row's own support would cost outputs * k^3.
    """
    scale = 1 / np.diag(matrix)
    rest = residual * mask
    step = np.zeros_like(rest)
    ahead = rest * scale
    direction, rho = ahead.copy(), (rest * ahead).sum(1)
    first = np.maximum(rho, 1e-300)
    for _ in range(CG_STEPS):
        if bool((rho <= CG_ENOUGH * first).all()):
            break
        moved = (direction @ matrix) * mask
        curvature = (direction * moved).sum(1)
        alpha = np.where(curvature > 0, rho / np.maximum(curvature, 1e-300), 0.0)
        step += alpha[:, None] * direction
        rest -= alpha[:, None] * moved
        ahead = rest * scale
        new = (rest * ahead).sum(1)
        direction = ahead + (new / np.maximum(rho, 1e-300))[:, None] * direction
        rho = new
    return step
