"""Learns for each weight whether to round it down or up, by gradient descent on the layer's output (AdaRound).

Nagel et al. 2020, "Up or down? Adaptive rounding for post-training quantization": a rectified sigmoid stands for the
choice (eq. 23), a regulariser pushes it to 0 or 1 while its exponent is annealed (eq. 24), the loss is that of the
layer's activated outputs, given what the layers before it, already rounded, make of the input (eq. 25).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.model import F32
from build_tools.passes.quantizing.rounding import Levels

ZETA, GAMMA = 1.1, -0.1
"""How far the sigmoid is stretched beyond 0..1, so that it reaches both."""
RATE = 0.01
PULL = 0.01
"""Weight of the regulariser beside the mean squared error, which is taken relative to that of rounding to nearest."""
WARM_UP = 0.2
BATCH = 512


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """What a layer gets and what it should give.

    Attributes:
        x: float32 [groups, p, k], patches as the rounded model makes them.
        target: float32 [groups, p, rows], the original layer's outputs for the original patches, without bias.
        bias: float32 [groups, rows].
        slope: of the activation below zero: 0 for ReLU, 1 where there is none.
    """

    x: F32
    target: F32
    bias: F32
    slope: float


def learn_rounding(
    weights: F32, scales: F32, example: Example, levels: Levels, steps: int, seed: int
) -> NDArray[np.int32]:
    """Levels next to the weights (below or above), zeros kept; the best of what was learned and the nearest.

    Args:
        weights: float32 [groups, rows, k].
        scales: float32 [groups, rows].
        example: see `Example`.
        levels: that a weight may have.
        steps: of Adam.
        seed: of the batches.

    Returns:
        int32 [groups, rows, k].
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    scale = torch.from_numpy(np.array(scales))[..., None]
    ratio = torch.from_numpy(np.array(weights)) / scale
    frozen = ratio == 0
    floor = ratio.floor()
    x, target = torch.from_numpy(example.x), torch.from_numpy(example.target)
    bias = torch.from_numpy(np.array(example.bias))[:, None]

    def act(y: Any) -> Any:
        return torch.nn.functional.leaky_relu(y, example.slope) if example.slope != 1 else y

    def loss_of(q: Any, rows: Any) -> Any:
        made = torch.matmul(x[:, rows], (q * scale).transpose(1, 2))
        return ((act(made + bias) - act(target[:, rows] + bias)) ** 2).mean()

    def whole(q: Any) -> Any:
        return torch.where(frozen, 0, q.clamp(levels.low, levels.high))

    everything = torch.arange(x.shape[1])
    nearest = whole(ratio.round())
    with torch.no_grad():
        nearest_loss = loss_of(nearest, everything)
    share = ((ratio - floor - GAMMA) / (ZETA - GAMMA)).clamp(1e-4, 1 - 1e-4)
    choice = torch.log(share / (1 - share)).requires_grad_(True)
    optimiser = torch.optim.Adam([choice], RATE)
    unit = nearest_loss.clamp_min(1e-12)
    for step in range(steps):
        up = (torch.sigmoid(choice) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
        rows = torch.randint(x.shape[1], (min(BATCH, x.shape[1]),), generator=generator)
        loss = loss_of(whole(floor + up), rows) / unit
        progress = (step / steps - WARM_UP) / (1 - WARM_UP)
        if progress > 0:
            beta = 2 + 9 * (1 + np.cos(np.pi * progress))  # 20 falls to 2
            loss = loss + PULL * (1 - (2 * up - 1).abs() ** beta).sum() / weights.shape[2]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        learned = whole(floor + (choice > 0))
        best = learned if loss_of(learned, everything) <= nearest_loss else nearest
    made: NDArray[np.int32] = best.numpy().astype(np.int32)
    return made
