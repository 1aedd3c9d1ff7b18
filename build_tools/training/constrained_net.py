"""The recipe's `[during]` while one of our networks trains: constraints on its convolutions, kept through the export.

The exported graph has its batch norms folded into the convolutions, which scales each output channel. Zeros stay zeros
then, and levels stay levels, at scales that are folded too; so weights are quantised for each channel here. Codebooks
and levels of biases or activations would not survive: those are for a `train` pass on the exported network.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from build_tools.errors import RecipeError
from build_tools.graph import Graph
from build_tools.model import Grid, Model, load_model, save_onnx
from build_tools.training.constraints import During
from build_tools.training.during import Constraints
from build_tools.training.step_size import SMALLEST_STEP
from build_tools.training.student import Average, put


def is_asked_for(during: During) -> bool:
    """Whether anything is asked of the weights."""
    return during != During()


def check(during: During, origin: str) -> None:
    """Refuse what the export would undo.

    Raises:
        RecipeError: the key, and what to do instead.
    """
    refused = {
        "codebook.bits": during.codebook.bits or during.codebook.layers,
        "quantize.activation_bits": during.quantize.activation_bits,
        "quantize.bias_bits": during.quantize.bias_bits,
        "quantize.per_channel = false": not during.quantize.per_channel,
        'prune.structure = "channels"': during.prune.structure == "channels",
    }
    for key, asked in refused.items():
        if asked:
            raise RecipeError(
                f"{origin}: during.{key} does not outlast the folding of batch norms; train without it, "
                "then compress with a `train` pass that has it"
            )


class ConstrainedNet:
    """A network that computes with constrained weights.

    Args:
        net: the network; its parameters stay free, and are what the optimiser moves.
        during: see `check`.
        steps: of the whole training.
        epoch_steps: of one epoch.
        average: decay of the running average.
    """

    def __init__(self, net: nn.Module, during: During, steps: int, epoch_steps: int, average: float) -> None:
        self._net = net
        self._weights = {name: p for name, p in net.named_parameters() if p.ndim == 4}
        self.constraints = Constraints(self._weights, during, steps, epoch_steps=epoch_steps)
        self._steps = steps
        self.extra = self.constraints.extra_parameters()
        self.average = Average(self.extra, average)

    def __call__(self, bgr: Tensor, step: int) -> tuple[Tensor, ...]:
        """The network's outputs at a step."""
        return cast(tuple[Tensor, ...], functional_call(self._net, self.constraints.effective(step), (bgr,)))

    def settled(self, average: nn.Module) -> tuple[nn.Module, dict[str, Grid]]:
        """A copy of the averaged network whose weights are what is asked for, and the grids they lie on."""
        own = [p.detach().clone() for p in self._weights.values()]
        theirs = dict(average.named_parameters())
        put(list(self._weights.values()), [theirs[name].detach() for name in self._weights])
        with self.average.in_place():
            found = self.constraints.settle()
        put(list(self._weights.values()), own)
        made = copy.deepcopy(average)
        parameters = dict(made.named_parameters())
        put([parameters[name] for name in found], [torch.from_numpy(values) for values, _ in found.values()])
        return made, {name: grid for name, (_, grid) in found.items() if grid is not None}

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted training goes on from, besides the network."""
        return {
            "steps": self._steps,
            "constraints": self.constraints.state_dict(),
            "extra": [p.detach() for p in self.extra],
            "average": self.average.values,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.constraints.load_state_dict(state["constraints"])
        put(self.extra, state["extra"])
        self.average.values = list(state["average"])


def settle_export(net: nn.Module, grids: dict[str, Grid], path: Path) -> Model:
    """Put the exported network's weights exactly on their levels again, at the folded scales.

    Args:
        net: that was exported to `path`.
        grids: of its convolutions, by parameter name.
        path: the ONNX file; rewritten.

    Returns:
        What was written, with its grids.
    """
    model = load_model(path)
    modules = dict(net.named_modules())
    layers = [layer for layer in Graph(model.proto).layers() if layer.op == "Conv"]
    for name, layer in zip(_conv_order(net), layers, strict=True):
        grid = grids.get(f"{name}.weight")
        if grid is None:
            continue
        weight = cast(nn.Conv2d, modules[name]).weight.detach().numpy()
        spread = grid.table.reshape(-1, 1, 1, 1)
        levels = np.sign(weight) if grid.bits == 1 else np.rint(weight / spread)
        folded = model.weight(layer.weight).astype(np.float64)
        # What folding made of each channel: the scale that is nearest to the folded values in the least squares.
        power = np.square(levels).sum((1, 2, 3))
        scale = ((folded * levels).sum((1, 2, 3)) / np.maximum(power, 1)).astype(np.float32)
        scale = np.where(np.abs(scale) >= SMALLEST_STEP, scale.astype(np.float16), scale).astype(np.float32)
        levels, scale = levels * np.where(scale < 0, -1, 1).reshape(-1, 1, 1, 1), np.abs(scale)
        values = (levels + 0.0).astype(np.float32) * scale.reshape(-1, 1, 1, 1)
        model.set_weight(layer.weight, values, Grid("uniform", grid.bits, scale, 0))
    save_onnx(model, path)
    return model


def _conv_order(net: nn.Module) -> list[str]:
    """Names of the convolutions in the order in which a forward pass comes to them."""
    order: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        copy_of_mode = net.training
        net.eval()(torch.zeros(1, 3, 64, 64))
        net.train(copy_of_mode)
    for hook in hooks:
        hook.remove()
    return order
