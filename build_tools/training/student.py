"""The weights of a model in training: what is learned, what the forward pass computes with, what stays at the end."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from build_tools.graph import Graph
from build_tools.model import Grid, Model
from build_tools.nets.from_onnx import OnnxModule
from build_tools.passes.contract import Calibration
from build_tools.passes.pruning.groups import find_groups
from build_tools.passes.train import Train
from build_tools.training.activation_nodes import layer_inputs
from build_tools.training.during import Constraints
from build_tools.training.held import Held, lies_on

Learned = list[nn.Parameter]


class Student:
    """A model's weights under constraints: those asked for while training, and those made by earlier passes.

    Args:
        model: the model in the making.
        module: the same in torch.
        settings: of the training.
        steps: of the whole training.
        epoch_steps: of one epoch.
        calibration: settles free input sides where channels are pruned; or None.

    Attributes:
        learned: everything that the optimiser moves, in a fixed order.
        refused: what is left unpruned and why, one line each.
    """

    def __init__(
        self,
        model: Model,
        module: OnnxModule,
        settings: Train,
        steps: int,
        epoch_steps: int,
        calibration: Calibration | None = None,
    ) -> None:
        self.refused: list[str] = []
        self._weights = module.weights()
        self._kernels = [name for name in self._weights if name in module.kernels]
        grids = {n: g for n, g in model.grids.items() if n in self._weights} if settings.hold_grids else {}
        self.held = Held(self._weights, grids, self._kernels if settings.hold_zeros else ())
        axes = {layer.weight: layer.out_axis for layer in Graph(model.proto).layers()}
        groups = self._channel_groups(model, settings, calibration)
        tied = {name for group in groups for name, _ in group}
        free = {
            name: weight
            for name, weight in self._weights.items()
            if name not in self.held.grids and (name in self._kernels or name in tied or weight.ndim == 1)
        }
        self._activations = layer_inputs(model.proto) if settings.during.quantize.activation_bits else []
        self.constraints = Constraints(
            free, settings.during, steps, groups, axes, epoch_steps=epoch_steps, activations=self._activations
        )
        self._decay, self._steps = settings.decay, steps
        self._free = set(free)
        extra = [*self.held.tables.values(), *self.constraints.extra_parameters()]
        self.learned: Learned = [w for n, w in self._weights.items() if n not in self.held.tables] + extra

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of an optimiser: kernels decay; biases, norms, depthwise kernels and tables do not."""
        decay = [
            w for n, w in self._weights.items() if n in self._kernels and n not in self.held.tables and w.shape[1] > 1
        ]
        chosen = {id(w) for w in decay}
        plain = [w for w in self.learned if id(w) not in chosen]
        return [{"params": decay, "weight_decay": self._decay}, {"params": plain, "weight_decay": 0.0}]

    def effective(self, step: int) -> dict[str, Tensor]:
        """All weights as the forward pass has to see them at a step, by name; differentiable."""
        found = self.constraints.effective(step)
        return {
            name: self.held.masked(name, found[name]) if name in self._free else self.held.effective(name, weight)
            for name, weight in self._weights.items()
        }

    def inner(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What becomes of inner tensors that are quantised, by name."""
        return {name: functools.partial(self.constraints.activation, name) for name in self._activations}

    def _channel_groups(
        self, model: Model, settings: Train, calibration: Calibration | None
    ) -> list[list[tuple[str, int]]]:
        """Weights and axes along which whole channels are pruned together.

        Only groups whose weights hold exactly these channels, in order: a slice of a weight has no mask of its own.
        """
        prune = settings.during.prune
        if prune.structure != "channels" or not (prune.target > 0 or prune.layers):
            return []
        found = []
        for group in find_groups(model.proto, calibration):
            whole = [
                m.positions.shape == (group.channels, 1)
                and bool((m.positions[:, 0] == np.arange(self._weights[m.weight].shape[m.axis])).all())
                for m in group.members
                if m.role != "in" and m.weight in self._weights and m.weight not in self.held.grids
            ]
            makers = [(m.weight, m.axis) for m in group.members if m.role != "in"]
            if makers and all(whole) and len(whole) == len(makers):
                found.append(makers)
            else:
                self.refused.append(f"{group.id}: channels shared with others are not pruned while training")
        return found

    def settle(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Grid]]:
        """The final values, exactly on their grids, and those grids."""
        values: dict[str, NDArray[np.float32]] = {}
        grids: dict[str, Grid] = {}
        settled = self.constraints.settle()
        for name, weight in self._weights.items():
            if name in self._free:
                found, grid = settled[name]
                found = self.held.masked(name, torch.from_numpy(found)).numpy()
            else:
                found, grid = self.held.settled(name, weight)
            values[name] = found
            if grid is not None and lies_on(found, grid):  # 1 bit has no level for a zero that is held
                grids[name] = grid
        return values, grids


class Average:
    """Running average of parameters (Polyak and Juditsky 1992); what is kept of a training.

    Args:
        parameters: what is averaged.
        decay: of the average; young averages follow faster, or the first steps' noise would linger.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self.values = [p.detach().clone() for p in self._parameters]

    def update(self, step: int) -> None:
        """Take in the parameters as they are after a step (counted from 0)."""
        keep = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(self.values, self._parameters, strict=True):
                mean.lerp_(now, 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the parameters have the average's values."""
        own = [p.detach().clone() for p in self._parameters]
        put(self._parameters, self.values)
        try:
            yield
        finally:
            put(self._parameters, own)


def put(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Give parameters new values."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def taken(parameters: Sequence[Tensor]) -> list[Tensor]:
    """A copy of parameters' values."""
    return [copy.deepcopy(p.detach()) for p in parameters]


def learn(effective: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None], penalty: Tensor) -> None:
    """Carry gradients of effective weights on to what they were made of, with the penalty's."""
    reached = [(w, gradients[n]) for n, w in effective.items() if gradients[n] is not None and w.requires_grad]
    tensors, arrived = [w for w, _ in reached], [g for _, g in reached]
    if penalty.requires_grad:
        tensors, arrived = [*tensors, penalty], [*arrived, torch.ones_like(penalty)]
    torch.autograd.backward(tensors, arrived)
