"""The pass `prune`: single weights become zero (fewer bytes), or channels are cut out (fewer bytes and less time)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from build_tools.errors import PassError
from build_tools.graph import Graph
from build_tools.model import Model
from build_tools.passes.constant_weights import plain_weights
from build_tools.passes.contract import Change, Context
from build_tools.passes.pruning.channel_shapes import observe
from build_tools.passes.pruning.prune_channels import prune_channels
from build_tools.passes.pruning.prune_weights import prune_weights
from build_tools.passes.pruning.scores import NEEDS_DATA
from edge_runtime.settings import nearest, setting


@dataclass(frozen=True, slots=True)
class Prune:
    """Pruning of single weights or of whole channels."""

    KIND: ClassVar[str] = "prune"

    structure: Literal["weights", "channels"] = setting(
        "weights", "weights: single weights become zero | channels: channels and neurons are cut out of the graph"
    )
    target: float = setting(0.5, "share of the weights (or of the channels) that goes", low=0, high=0.999)
    layers: dict[str, float] = field(default_factory=dict)  # share by weight name, in place of `target`
    allocation: Literal["uniform", "global", "erk", "sensitivity", "accuracy"] = setting(
        "uniform",
        "over layers: uniform | global: all ranked together | erk: by shape | sensitivity: measured on outputs | "
        "accuracy: measured on the evaluation data",
    )
    score: Literal["l1", "l2", "bn", "activation", "taylor", "zero"] = setting(
        "l2",
        "what goes first: the smallest (l1, l2) | bn: of smallest BatchNorm scale | activation, taylor: least felt on "
        "calibration data | zero: channels that are dead, without any loss",
    )
    align: int = setting(8, "channels kept are a multiple of this: 8 for ARM and AVX2, 16 for AVX-512", low=1)
    minimum: int = setting(8, "channels that every layer keeps", low=1)
    depthwise: bool = setting(False, "weights: prune the small filters of depthwise convolutions too")
    recover: Literal["none", "bias", "least_squares"] = setting(
        "none", "heal the layers from calibration data: biases | least_squares: weights too"
    )
    ridge: float = setting(
        0.0, "recover: how strongly weights are held; 0: chosen for each layer on samples held out", low=0
    )
    samples: int = setting(64, "calibration samples used; 0: all", low=0)
    positions: int = setting(1024, "recover: places of a map looked at in each feed", low=1)

    def requires(self, model: Model, context: Context) -> None:
        """Refuse names that are no weights, measures without data, and scores that do not fit the structure."""
        without = context.calibration is None or not len(context.calibration)
        wants = [
            f'{key} = "{value}"'
            for key, value, needs in (
                ("score", self.score, NEEDS_DATA), ("recover", self.recover, ("bias", "least_squares")),
                ("allocation", self.allocation, ("sensitivity",)),
            )
            if value in needs
        ]  # fmt: skip
        if without and wants:
            raise PassError(f"{wants[0]} needs calibration data; give [calibration] in the recipe or --calibration")
        if self.allocation == "accuracy" and context.evaluate is None:
            raise PassError('allocation = "accuracy" needs evaluation data; give [evaluation], or "sensitivity"')
        if self.structure == "channels" and self.allocation == "erk":
            raise PassError('allocation = "erk" is for structure = "weights"; take uniform, global or sensitivity')
        if self.structure == "weights" and self.score in ("bn", "taylor", "zero"):
            raise PassError(f'score = "{self.score}" is for structure = "channels"; take l2 or activation')
        known = _layer_names(model) if self.layers else []
        for name, share in self.layers.items():
            if name not in known:
                raise PassError(f"layers.{name}: no layer has this weight{nearest(name, known, 'layers.')}")
            if not 0 <= share <= 1:
                raise PassError(f"layers.{name} = {share}: must be between 0 and 1")

    def run(self, model: Model, context: Context) -> Change:
        """Prune a copy."""
        prune = prune_weights if self.structure == "weights" else prune_channels
        return prune(model, context, self)

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Channels: the smaller model still runs. Weights: no shape changed."""
        if self.structure == "channels":
            observe(change.model.proto, context.calibration)
            return
        plain = before.copy()
        plain_weights(plain)
        shapes = {t.name: tuple(t.dims) for t in plain.proto.graph.initializer}
        for tensor in change.model.proto.graph.initializer:
            if tuple(tensor.dims) != shapes.get(tensor.name, tuple(tensor.dims)):
                raise PassError(f"{tensor.name}: pruning changed its shape; a fault of the pass")


def _layer_names(model: Model) -> list[str]:
    plain = model.copy()
    plain_weights(plain)
    return [layer.weight for layer in Graph(plain.proto).layers()]
