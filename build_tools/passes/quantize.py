"""Quantisation after training: weights on few bits, or weights and activations on int8 where that is faster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from build_tools.errors import PassError
from build_tools.model import Grid, Model
from build_tools.passes.constant_weights import plain_weights, with_plain_weights
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.factoring.factor_nodes import weights_named
from build_tools.passes.layer_inputs import Moments, gather_moments, supported
from build_tools.passes.quantizing.bias_correction import correct_by_inputs, correct_by_outputs
from build_tools.passes.quantizing.equalize import equalize
from build_tools.passes.quantizing.islands import Int8, find_islands
from build_tools.passes.quantizing.quantizable import Target, check_settings, choose, find_biases, on_grid, relocate
from build_tools.passes.quantizing.ranges import find_scales, from_levels, to_levels
from build_tools.passes.quantizing.weight_rounding import (
    Precision,
    Rounded,
    round_in_turn,
    round_nearest,
    round_together,
)
from edge_runtime.settings import setting, toml


@dataclass(frozen=True, slots=True)
class Quantize:
    """Weights on few levels.

    The graph stays float32; each weight is a whole number of `bits` bits times the scale of its channel, so the
    bundle stores only whole numbers. Pruned weights stay zero.
    """

    KIND: ClassVar[str] = "quantize"

    bits: int = setting(8, "bits of a weight; 16: float16", low=2, high=16)
    layers: dict[str, int] = field(default_factory=dict)  # bits by weight name, in place of `bits`
    skip: tuple[str, ...] = setting((), "weights left as they are")
    per_channel: bool = setting(True, "a scale for each output channel")
    range: Literal["mse", "minmax", "percentile", "entropy"] = setting(
        "mse", "how far levels reach: least squared error | largest weight | per cent of weights | least divergence"
    )
    percentile: float = setting(
        99.9, "range = percentile: so many per cent of weights are within reach", low=50, high=100
    )
    rounding: Literal["nearest", "adaptive", "learned"] = setting(
        "nearest", "adaptive: keeps layers' outputs, solved from calibration data | learned: AdaRound, needs torch"
    )
    in_turn: bool = setting(False, "adaptive: layer by layer, each making good what those before it spoiled; slower")
    equalize: bool = setting(False, "first scale channels so that neighbouring layers spread alike; outputs stay equal")
    bias_correction: Literal["none", "inputs", "outputs"] = setting(
        "none", "keep mean outputs: from mean inputs, one run | from each layer's mean outputs in turn"
    )
    bias_bits: Literal[0, 8, 16] = setting(16, "bits of a bias; 0: left in float32")
    activations: bool = setting(False, "activations and weights compute in int8 where that is faster")
    int8: Int8 = field(default_factory=Int8)
    positions: int = setting(1024, "places of each layer looked at in each calibration feed", low=16)
    steps: int = setting(1000, "learned: steps a layer", low=10)

    def requires(self, model: Model, context: Context) -> None:
        """Known weight names and bits, and calibration data where it is needed."""
        check_settings(with_plain_weights(model), self.layers, self.skip, self.KIND, (2, 16))
        wants = {
            "activations": self.activations,
            "rounding": self.rounding != "nearest",
            "bias_correction": self.bias_correction != "none",
        }
        for key, wanted in wants.items():
            if wanted and not (context.calibration is not None and len(context.calibration)):
                value = toml(getattr(self, key))
                raise PassError(f"quantize.{key} = {value}: needs calibration data; add a [calibration] table")

    def run(self, model: Model, context: Context) -> Change:
        """Equalise, find scales, round, correct biases, round biases."""
        made = model.copy()
        plain_weights(made)
        targets, refused = choose(made, self.bits, self.layers, self.KIND, self.skip)
        skipped = {own for name in self.skip for own in weights_named(name, made.weight_names())}
        if self.equalize:
            held = frozenset(made.grids) | skipped
            refused += equalize(made, held)[1]
        told = ""
        facts: dict[str, dict[str, Fact]] = {}
        if self.activations:
            kept = {name for name, grid in made.grids.items() if grid.kind != "half"}
            found = find_islands(made.proto, context, self.int8, kept | skipped)
            told = f"; {found.report}"
            if found.proto is None:
                refused.append(f"activations: {found.report}")
            else:
                facts = {name: {"bits": 8} for name in found.weights}
                made = Model(found.proto, {n: g for n, g in made.grids.items() if n not in found.weights})
                targets = [(t, b) for t, b in targets if t.name not in facts]
                targets = relocate(made, targets)
        before = made.copy()
        moments = self._moments(made, [target for target, _ in targets], context)
        done = self._round(made, targets, moments, context)
        refused += done.refused
        refused += self._correct(before, made, [target for target, _ in targets], moments, context)
        refused += self._round_biases(made)
        bits = sorted({bits for _, bits in targets})
        share = f"{len(done.facts)} weights on {'/'.join(map(str, bits))} bits ({self.range}, {self.rounding})"
        share = share if done.facts else "no weights left to store on few bits"
        return Change(made, share + told, facts | done.facts, tuple(refused))

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Every weight worked on lies on its grid, bit for bit, and what was zero still is."""
        old = with_plain_weights(before)
        inside = set(change.model.weight_names())  # weights of int8 islands have become int8 themselves
        for name in (n for n in change.layers if n in inside):
            values = change.model.weight(name)
            if not on_grid(values, change.model.grids[name]):
                raise PassError(f"quantize: {name} does not lie on its grid")
            if (values[old.weight(name) == 0] != 0).any():
                raise PassError(f"quantize: {name} has weights that were zero and are no longer")

    def _moments(self, model: Model, targets: list[Target], context: Context) -> dict[str, Moments]:
        grams = self.rounding == "adaptive" and not self.in_turn
        if context.calibration is None or not (grams or self.bias_correction == "inputs"):
            return {}
        nodes = model.proto.graph.node
        layers = [x for t in targets for x in t.layers if supported(x, nodes[x.index])]
        return gather_moments(model.proto, layers, context.calibration, self.positions, context.rng(), grams)

    def _round(
        self, model: Model, targets: list[tuple[Target, int]], moments: dict[str, Moments], context: Context
    ) -> Rounded:
        how = Precision(
            self.per_channel, self.range, self.percentile, self.positions, self.steps, self.bias_correction != "none"
        )
        if self.rounding == "nearest" or context.calibration is None:
            return round_nearest(model, targets, how, context)
        if self.rounding == "adaptive" and not self.in_turn:
            return round_together(model, targets, how, moments, context)
        return round_in_turn(model, targets, how, context.calibration, context, self.rounding == "learned")

    def _correct(
        self, before: Model, model: Model, targets: list[Target], moments: dict[str, Moments], context: Context
    ) -> list[str]:
        layers = sorted((x for t in targets for x in t.layers), key=lambda x: x.index)
        if self.rounding == "learned" or (self.rounding == "adaptive" and self.in_turn):
            return []  # done in turn
        if self.bias_correction == "inputs":
            return correct_by_inputs(before, model, layers, moments)
        if self.bias_correction == "outputs" and context.calibration is not None:
            return correct_by_outputs(before, model, layers, context.calibration, context.progress)
        return []

    def _round_biases(self, model: Model) -> list[str]:
        refused = []
        for name in find_biases(model) if self.bias_bits else []:
            values = np.asarray(model.weight(name), np.float32)
            if name in model.grids or values.size == 0:
                continue
            if self.bias_bits == 16:
                with np.errstate(over="ignore"):
                    halves = values.astype(np.float16).astype(np.float32)
                if np.isfinite(halves).all():
                    model.set_weight(name, halves, Grid("half", 16, np.zeros(0, np.float32)))
                else:
                    refused.append(f"{name}: left in float32, its values are too large for float16")
                continue
            scales = find_scales(values.reshape(1, -1), 8, "mse")
            levels = to_levels(values.reshape(1, -1), scales, 8)
            model.set_weight(name, from_levels(levels, scales).reshape(values.shape), Grid("uniform", 8, scales))
        return refused
