"""The training loop of networks on crops held in memory: minutes on one core, seeded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from build_tools.recipe import Recipe
from build_tools.training.averaging import follow
from build_tools.training.muon import optimiser_for

Lesson = Callable[[np.random.Generator, NDArray[np.intp]], Tensor]
"""From the crops that a step chose, the loss of the network for them, changed at random."""


def learn(
    recipe: Recipe, net: nn.Module, average: nn.Module, crops: int, lesson: Lesson, held_out: Callable[[], float],
    started: float,
) -> list[dict[str, float]]:  # fmt: skip
    """Train by the recipe's only phase: warm-up, cosine; a row for each epoch.

    Args:
        recipe: of a training with one phase.
        net: trained in place.
        average: a copy of it in evaluation mode, which becomes the running average of its weights.
        crops: how many there are to learn from.
        lesson: see `Lesson`.
        held_out: a figure of `average` on what is not learned from.
        started: `time.process_time()` at the beginning.
    """
    train, phase = recipe.train, recipe.phases[0]
    rng = np.random.default_rng(recipe.seed)
    optimiser = optimiser_for(phase, [{"params": list(net.parameters()), "weight_decay": train.decay}])
    steps = crops // train.batch
    history: list[dict[str, float]] = []
    for epoch in range(phase.epochs):
        order, losses = rng.permutation(crops), 0.0
        for i in range(steps):
            step = epoch * steps + i
            share = min((step + 1) / train.warmup, 0.01 + 0.5 * (1 + math.cos(math.pi * step / steps / phase.epochs)))
            for group in optimiser.param_groups:
                group["lr"] = phase.rate * share
            net.train()
            loss = lesson(rng, order[i * train.batch : (i + 1) * train.batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            follow(average, net, min(train.average, (1 + step) / (10 + step)))
            losses += float(loss.detach())
        row = {"epoch": epoch + 1, "loss": losses / steps, "held_out": held_out()}
        history.append(row)
        print(
            " ".join(f"{k} {v:.4g}" for k, v in row.items()), f"cpu_s {time.process_time() - started:.0f}", flush=True
        )
    return history


def as_input(crops: NDArray[np.uint8]) -> Tensor:
    """Crops [n, h, w, 3] as a network's input, float32 [n, 3, h, w] of 0 to 255."""
    # Channels last: a third less time for a step on one core.
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
