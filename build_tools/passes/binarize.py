"""One or two bits a weight: the sign times the scale of its channel, or ternary with zeros between.

Binary: value = sign(w) * mean |w| of the channel, which is the scale of least squared error (Rastegari et al. 2016,
"XNOR-Net", eq. 6). Ternary: weights below a threshold are zero, the others sign(w) times the mean of their magnitudes
(Li et al. 2016, "Ternary weight networks").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import PassError
from build_tools.graph import Graph
from build_tools.model import F32, Grid, Model
from build_tools.passes.constant_weights import plain_weights, with_plain_weights
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.factoring.factor_nodes import weights_named
from build_tools.passes.layer_inputs import Moments, gather_moments, supported
from build_tools.passes.quantizing.quantizable import Target, check_settings, choose, on_grid
from build_tools.passes.quantizing.ranges import from_levels, short
from build_tools.passes.quantizing.rounding import Levels, adaptive_rows
from edge_runtime.settings import setting

TERNARY = Levels(-1, 1)
FEW_ZEROS = 0.01
"""Up to this share of zeros a layer counts as never pruned: a sign is put in their place."""


@dataclass(frozen=True, slots=True)
class Binarize:
    """Weights of one bit (a sign) or two (ternary), with a scale for each output channel."""

    KIND: ClassVar[str] = "binarize"

    bits: Literal[1, 2] = setting(1, "1: sign times scale | 2: ternary, with zeros; pruned layers keep theirs")
    layers: dict[str, int] = field(default_factory=dict)  # bits by weight name, in place of `bits`
    skip: tuple[str, ...] = setting((), "weights left as they are")
    skip_first_last: bool = setting(True, "leave layers that no other comes before or behind: they suffer most")
    threshold: float = setting(
        0.0, "ternary: weights below this times their channel's mean magnitude are zero, as 0.7; 0: least error", low=0
    )
    rounding: Literal["nearest", "adaptive"] = setting(
        "nearest", "adaptive: signs and scales that keep layers' outputs, solved from calibration data"
    )
    positions: int = setting(1024, "adaptive: places of each layer looked at in each calibration feed", low=16)

    def requires(self, model: Model, context: Context) -> None:
        """Known weight names and bits, calibration data where it is needed, and a layer to work on."""
        check_settings(with_plain_weights(model), self.layers, self.skip, self.KIND, (1, 2))
        if self.rounding == "adaptive" and not (context.calibration is not None and len(context.calibration)):
            raise PassError('binarize.rounding = "adaptive": needs calibration data; add a [calibration] table')
        if not self._chosen(with_plain_weights(model))[0]:
            raise PassError("binarize: no layer is left to work on; name some in binarize.layers")

    def run(self, model: Model, context: Context) -> Change:
        """Signs and scales for each chosen layer."""
        made = model.copy()
        plain_weights(made)
        targets, refused = self._chosen(made)
        moments = self._moments(made, [target for target, _ in targets], context)
        facts: dict[str, dict[str, Fact]] = {}
        for index, (target, bits) in enumerate(targets):
            context.progress("binarizing weights", index, len(targets))
            rows = target.rows(made.weight(target.name))
            zeros = float((rows == 0).mean())
            if bits == 1 and zeros > FEW_ZEROS:
                refused.append(f"{target.name}: {zeros:.0%} of it is pruned and a sign cannot be zero; give it 2 bits")
                continue
            levels, scales = binary(rows) if bits == 1 else ternary(rows, self.threshold)
            found = moments.get(target.name)
            if found is not None and found.gram is not None:
                kind = Levels.of_bits(1) if bits == 1 else TERNARY
                levels, scales = adaptive_rows(rows, scales, found.gram, kind, keep_zeros=bits == 2)
            elif self.rounding == "adaptive":
                refused.append(f"{target.name}: rounded to nearest, its inputs cannot be laid out as patches")
            values = from_levels(levels, scales)
            made.set_weight(target.name, target.unrows(values), Grid("uniform", bits, scales, target.axis))
            facts[target.name] = _facts(rows, values, bits)
        kinds = "/".join({1: "1 bit", 2: "ternary"}[b] for b in sorted({int(f["bits"]) for f in facts.values()}))
        return Change(made, f"{len(facts)} weights on {kinds or 'no bits'}", facts, tuple(refused))

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Every weight worked on lies on its grid, bit for bit."""
        for name in change.layers:
            if not on_grid(change.model.weight(name), change.model.grids[name]):
                raise PassError(f"binarize: {name} does not lie on its grid")

    def _chosen(self, model: Model) -> tuple[list[tuple[Target, int]], list[str]]:
        named = {own for name in self.layers for own in weights_named(name, model.weight_names())}
        ends = first_and_last(model) - named if self.skip_first_last else set()
        targets, refused = choose(model, self.bits, self.layers, self.KIND, self.skip)
        refused += [f"{t.name}: left as it is, a first or last layer" for t, _ in targets if t.name in ends]
        return [(t, bits) for t, bits in targets if t.name not in ends], refused

    def _moments(self, model: Model, targets: list[Target], context: Context) -> dict[str, Moments]:
        if self.rounding == "nearest" or context.calibration is None:
            return {}
        nodes = model.proto.graph.node
        layers = [x for t in targets for x in t.layers if supported(x, nodes[x.index])]
        return gather_moments(model.proto, layers, context.calibration, self.positions, context.rng())


def binary(rows: F32) -> tuple[NDArray[np.int32], F32]:
    """Signs (zero counts as positive) and mean magnitudes of rows [channels, n]."""
    scales = np.abs(rows).mean(1, dtype=np.float64).astype(np.float32)
    return np.where(rows < 0, -1, 1).astype(np.int32), short(np.where(scales > 0, scales, 1).astype(np.float32))


def ternary(rows: F32, threshold: float) -> tuple[NDArray[np.int32], F32]:
    """Signs and zeros, and mean magnitudes of what is not zero, of rows [channels, n].

    With n' weights kept, the error falls by (their summed magnitude)^2 / n', and which are kept is a matter of
    magnitude alone: sorting finds the best threshold exactly.
    """
    magnitudes = np.abs(rows)
    if threshold > 0:
        kept = magnitudes > threshold * magnitudes.mean(1, keepdims=True)
    else:
        falling = -np.sort(-magnitudes, 1)
        gains = np.cumsum(falling, 1, dtype=np.float64) ** 2 / np.arange(1, rows.shape[1] + 1)
        least = np.take_along_axis(falling, gains.argmax(1)[:, None], 1)
        kept = (magnitudes >= least) & (magnitudes > 0)
    count = np.maximum(kept.sum(1), 1)
    scales = ((magnitudes * kept).sum(1, dtype=np.float64) / count).astype(np.float32)
    levels = (np.sign(rows) * kept).astype(np.int32)
    return levels, short(np.where(scales > 0, scales, 1).astype(np.float32))


def first_and_last(model: Model) -> set[str]:
    """Weights of the layers that have no layer before them, or none behind."""
    graph = Graph(model.proto)
    layers = {layer.index: layer.weight for layer in graph.layers()}
    ends: set[str] = set()
    for forward in (True, False):
        order = list(enumerate(graph.nodes))
        reached: set[str] = set()  # tensors that a layer was passed on the way to
        for index, node in order if forward else order[::-1]:
            near, far = (node.input, node.output) if forward else (node.output, node.input)
            passed = any(name in reached for name in near)
            if index in layers and not passed:
                ends.add(layers[index])
            if index in layers or passed:
                reached |= set(far)
    return ends


def _facts(rows: F32, values: F32, bits: int) -> dict[str, Fact]:
    size = float(np.square(rows).sum(dtype=np.float64))
    error = (float(np.square(values - rows).sum(dtype=np.float64)) / size) ** 0.5 if size else 0.0
    return {"bits": bits, "error": round(error, 6), "sparsity": round(float((values == 0).mean()), 6)}
