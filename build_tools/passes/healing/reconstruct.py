"""Heals a model that lost weights: layer by layer, outputs are brought back to what they were, from calibration data.

No gradients, no torch: biases are moved or weights solved for. A layer is solved with the inputs that it has after all
earlier layers are healed, towards the outputs that it had in the model before; so errors do not add up on their way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.graph import Graph, Layer
from build_tools.model import F32, Model
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration, Fact, Progress
from build_tools.passes.healing.least_squares import Equations, best_ridge
from build_tools.passes.healing.samples import several
from build_tools.passes.layer_inputs import MAX_WIDTH, patches, supported
from build_tools.passes.quantizing.bias_correction import add_to_bias

Method = Literal["bias", "least_squares"]
F64 = NDArray[np.float64]
HELD_OUT = 4
"""One feed in so many is held out to choose the ridge by."""
FEW_FEEDS_RIDGE = 0.1
"""Taken where there are not feeds enough to hold one out."""


@dataclass(frozen=True, slots=True)
class Healing:
    """How a model is healed.

    Attributes:
        method: bias: only biases move | least_squares: weights too, but for those on a grid.
        ridge: how strongly weights are held where they are, relative to the inputs' energy; 0: chosen for each layer
            by its error on every fourth feed, which is held out for that.
        positions: places of a map looked at in each feed.
        seed: draws the places.
    """

    method: Method
    ridge: float
    positions: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A layer before and after."""

    old: Layer
    new: Layer
    kept: NDArray[np.bool_]  # of the old outputs


def heal(
    before: Model,
    model: Model,
    calibration: Calibration,
    how: Healing,
    kept: Mapping[str, NDArray[np.bool_]],
    progress: Progress,
) -> tuple[dict[str, dict[str, Fact]], list[str]]:
    """Change the weights of `model` in place so that its layers give what those of `before` give.

    Args:
        before: the model to come close to.
        model: the same graph with fewer weights or channels.
        calibration: inputs.
        how: see `Healing`.
        kept: weight name -> bool [outputs of the old layer], where channels were cut.
        progress: see `Progress`.

    Returns:
        By weight name `error_before` and `error` (relative error of the layer's outputs before and after healing), and
        why layers were left alone.
    """
    pairs, refused = _pairs(before, model, kept)
    facts: dict[str, dict[str, Fact]] = {}
    waves = _waves(Graph(model.proto), [p.new for p in pairs])
    for done, wave in enumerate(waves):
        progress("healing layers", done, len(waves))
        chosen = [p for p in pairs if p.new.index in wave]
        for pair, sums in zip(chosen, _gather(before, model, chosen, calibration, how), strict=True):
            facts[pair.new.weight] = _heal_layer(model, pair.new, sums, how, refused)
    return facts, refused


def _pairs(before: Model, model: Model, kept: Mapping[str, NDArray[np.bool_]]) -> tuple[list[_Pair], list[str]]:
    old_graph, new_graph = Graph(before.proto), Graph(model.proto)
    old_by_output = {old_graph.nodes[x.index].output[0]: x for x in old_graph.layers()}
    pairs, refused, seen = [], [], set()
    cut_elsewhere: list[str] = []
    for layer in new_graph.layers():
        node = new_graph.nodes[layer.index]
        old = old_by_output.get(node.output[0])
        if layer.weight in seen:
            continue
        seen.add(layer.weight)
        width = int(np.prod(layer.shape)) // layer.shape[layer.out_axis]
        if old is None or old.weight != layer.weight:
            refused.append(f"{layer.weight}: not healed, the model before has no such layer")
        elif not supported(layer, node):
            refused.append(f"{layer.weight}: not healed, {layer.node} ({layer.op}) cannot be laid out as patches")
        elif width > MAX_WIDTH:
            refused.append(f"{layer.weight}: not healed, {width} inputs are more than {MAX_WIDTH}")
        else:
            mask = kept.get(layer.weight, np.ones(old.shape[old.out_axis], bool))
            if int(mask.sum()) != layer.shape[layer.out_axis]:
                cut_elsewhere.append(layer.weight)
                continue
            pairs.append(_Pair(old, layer, mask))
    if cut_elsewhere:
        why = "lost channels in another pass; set `recover` in the pass that cuts"
        refused.append(f"{several(cut_elsewhere)}: not healed, {why}")
    return pairs, refused


def _waves(graph: Graph, layers: Sequence[Layer]) -> list[set[int]]:
    """Layers by how many layers lie before them: those of a wave do not see each other and are healed together."""
    indices = {layer.index for layer in layers}
    depth: dict[str, int] = {}
    waves: dict[int, set[int]] = {}
    for index, node in enumerate(graph.nodes):
        above = max((depth.get(name, 0) for name in node.input), default=0)
        if index in indices:
            waves.setdefault(above, set()).add(index)
            above += 1
        depth |= dict.fromkeys(node.output, above)
    return [waves[d] for d in sorted(waves)]


def _gather(
    before: Model, model: Model, pairs: Sequence[_Pair], calibration: Calibration, how: Healing
) -> list[tuple[Equations, Equations]]:
    """Both models run side by side; each layer is looked at in the same places in both.

    Returns:
        For each layer the sums over the feeds to learn from and over those held out.
    """
    old_graph, new_graph = Graph(before.proto), Graph(model.proto)
    old_inputs = [old_graph.nodes[p.old.index].input[0] for p in pairs]
    new_inputs = [new_graph.nodes[p.new.index].input[0] for p in pairs]
    sizes = [rows(model.weight(p.new.weight), p.new).shape for p in pairs]
    sums = [(Equations.empty(*size), Equations.empty(*size)) for size in sizes]
    runs = zip(
        stream(before.proto, list(dict.fromkeys(old_inputs)), calibration),
        stream(model.proto, list(dict.fromkeys(new_inputs)), calibration),
        strict=True,
    )
    for feed, (then, now) in enumerate(runs):
        for place, pair in enumerate(pairs):
            old_node, new_node = old_graph.nodes[pair.old.index], new_graph.nodes[pair.new.index]
            seed = (how.seed, feed, pair.new.index)
            x_old = patches(then[old_inputs[place]], pair.old, old_node, how.positions, np.random.default_rng(seed))
            x_new = patches(now[new_inputs[place]], pair.new, new_node, how.positions, np.random.default_rng(seed))
            weight = rows(before.weight(pair.old.weight), pair.old)
            outputs = np.matmul(x_old, weight.transpose(0, 2, 1))  # [groups, p, outputs of a group]
            flat = outputs.transpose(1, 0, 2).reshape(outputs.shape[1], -1) + _bias(before, pair.old)
            left = flat[:, pair.kept].reshape(len(flat), len(x_new), -1).transpose(1, 0, 2)
            sums[place][feed % HELD_OUT == HELD_OUT - 1].add(x_new, np.ascontiguousarray(left))
    return sums


def _heal_layer(
    model: Model, layer: Layer, sums: tuple[Equations, Equations], how: Healing, refused: list[str]
) -> dict[str, Fact]:
    equations = sums[0].plus(sums[1])
    values = model.weight(layer.weight)
    start = rows(values, layer).astype(np.float64)
    bias = _bias(model, layer).astype(np.float64).reshape(start.shape[0], -1)
    error_before = equations.error(start, bias)
    free = how.method == "least_squares" and layer.weight not in model.grids
    mask = start != 0
    weight = equations.solve(start, _ridge(how, sums, start, mask, True), mask, True) if free else start
    shift = equations.best_bias(weight) - bias
    stuck = add_to_bias(model, layer, shift.ravel())
    if stuck:
        refused += stuck
        weight = equations.solve(start, _ridge(how, sums, start, mask, False), mask, False) if free else start
    if free:
        model.set_weight(layer.weight, _unrows(weight.astype(np.float32), layer))
    error = equations.error(weight.astype(np.float32).astype(np.float64), bias if stuck else bias + shift)
    return {"error_before": error_before, "error": error}


def _ridge(
    how: Healing, sums: tuple[Equations, Equations], start: F64, mask: NDArray[np.bool_], with_bias: bool
) -> float:
    if how.ridge > 0:
        return how.ridge
    fit, held = sums
    return best_ridge(fit, held, start, mask, with_bias) if held.count else FEW_FEEDS_RIDGE


def rows(weight: NDArray[np.generic], layer: Layer) -> F32:
    """A layer's weight as [groups, outputs of a group, inputs of a patch]."""
    outputs = np.moveaxis(np.asarray(weight, np.float32), layer.out_axis, 0)
    return outputs.reshape(layer.groups, layer.shape[layer.out_axis] // layer.groups, -1)


def _unrows(weight: F32, layer: Layer) -> F32:
    outputs = layer.shape[layer.out_axis]
    moved = [outputs, *(side for a, side in enumerate(layer.shape) if a != layer.out_axis)]
    return np.moveaxis(weight.reshape(moved), 0, layer.out_axis)


def _bias(model: Model, layer: Layer) -> F32:
    outputs = layer.shape[layer.out_axis]
    if layer.bias is None:
        return np.zeros(outputs, np.float32)
    values = np.asarray(model.weight(layer.bias), np.float32).ravel()
    return values if values.size == outputs else np.full(outputs, values[0] if values.size == 1 else 0, np.float32)
