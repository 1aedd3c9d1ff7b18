"""First-order effect of weights on a model's outputs, by random projections; needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from build_tools.model import Model
from build_tools.nets.from_onnx import OnnxModule
from build_tools.passes.contract import Calibration

DRAWS = 4
"""Random projections of the outputs for each feed."""


def weight_effects(
    model: Model, calibration: Calibration, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[Any]]]:
    """For each feed and draw: weight name -> weight * gradient of a random projection of the outputs, weight's shape.

    There are no labels here, so no loss to take a gradient of. The projection is r y with random signs r; the square
    of the summed products over a slice of weights is, in expectation, the squared change of the outputs y to first
    order when the slice is taken away (Hutchinson 1990; first-order importance: Molchanov et al. 2019). Each output is
    divided by its root mean square, so that scores and boxes count alike.

    Raises:
        ModelError: an operator that has no differentiable form here.
    """
    torch.set_num_threads(1)
    module = OnnxModule(model)
    weights = module.weights()
    names = list(weights)
    for feed in calibration:
        outputs = module({name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in feed.items()})
        floats = [y for y in outputs.values() if y.is_floating_point() and y.requires_grad]
        for draw in range(DRAWS):
            total = torch.zeros(())
            for y in floats:
                signs = torch.from_numpy(rng.choice(np.array([-1, 1], np.float32), tuple(y.shape)))
                total = total + (signs * y).sum() / y.detach().pow(2).mean().sqrt().clamp_min(1e-12) / y.numel() ** 0.5
            gradients = torch.autograd.grad(
                total, [weights[n] for n in names], retain_graph=draw + 1 < DRAWS, allow_unused=True
            )
            yield {
                name: (weights[name].detach() * gradient).numpy()
                for name, gradient in zip(names, gradients, strict=True)
                if gradient is not None
            }
