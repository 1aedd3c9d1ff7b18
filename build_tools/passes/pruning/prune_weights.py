"""Prunes single weights: the pass `prune` with `structure = "weights"`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from build_tools.graph import Graph, Layer
from build_tools.model import F32, Model
from build_tools.passes.constant_weights import plain_weights
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.healing.reconstruct import Healing, heal, rows
from build_tools.passes.healing.samples import First, several
from build_tools.passes.layer_inputs import Moments, gather_moments, supported
from build_tools.passes.pruning.sensitivity import Curve, curves, error_by
from build_tools.passes.pruning.sparsity import (
    equal_slopes,
    erdos_renyi,
    global_threshold,
    grid_with_zero,
    sparsity,
    zero_smallest,
)

if TYPE_CHECKING:
    from build_tools.passes.prune import Prune

LEVELS = (0.5, 0.75, 0.9)


def prune_weights(model: Model, context: Context, settings: Prune) -> Change:
    """Set the least important weights of each layer to zero, on a copy."""
    out = model.copy()
    plain_weights(out)
    layers, refused = _prunable(out, settings)
    before = out.copy() if settings.recover != "none" else out
    moments: Mapping[str, Moments] = {}
    if settings.score == "activation" and context.calibration is not None:
        seen = [x for x in layers if supported(x, out.proto.graph.node[x.index])]
        calibration = First(context.calibration, settings.samples)
        moments = gather_moments(out.proto, seen, calibration, settings.positions, context.rng(), grams=False)
    shares, measured = _shares(out, layers, context, settings, moments)
    facts: dict[str, dict[str, Fact]] = {}
    for done, layer in enumerate(layers):
        context.progress("pruning weights", done, len(layers))
        facts[layer.weight] = _prune_layer(out, layer, shares[layer.weight], moments)
        if layer.weight in measured:
            levels, errors = measured[layer.weight]
            error = np.interp(shares[layer.weight], [0.0, *levels], [0.0, *errors])
            facts[layer.weight]["sensitivity"] = float(error)
    if settings.recover != "none" and context.calibration is not None:
        how = Healing(settings.recover, settings.ridge, settings.positions, context.seed)
        healed, left = heal(before, out, First(context.calibration, settings.samples), how, {}, context.progress)
        for name, more in healed.items():
            facts.setdefault(name, {}).update(more)
        refused += left
    size = sum(int(np.prod(x.shape)) for x in layers)
    zeros = sum(float(facts[x.weight]["sparsity"]) * int(np.prod(x.shape)) for x in layers)
    summary = f"{zeros / max(size, 1):.1%} of {size:,} weights in {len(layers)} layers are zero"
    return Change(out, summary, facts, tuple(refused))


def _prunable(model: Model, settings: Prune) -> tuple[list[Layer], list[str]]:
    """Layers to prune, each weight once; and what is left alone."""
    found: dict[str, Layer] = {}
    refused: list[str] = []
    depthwise: list[str] = []
    for layer in Graph(model.proto).layers():
        if layer.weight in found:
            continue
        if layer.depthwise and not settings.depthwise and layer.weight not in settings.layers:
            depthwise.append(layer.weight)
        elif model.weight(layer.weight).dtype != np.float32:
            refused.append(f"{layer.weight}: not float32, left alone")
        else:
            found[layer.weight] = layer
    if depthwise:
        refused.append(f"{several(depthwise)}: depthwise, left alone; `depthwise = true` prunes such layers too")
    return list(found.values()), refused


def _prune_layer(model: Model, layer: Layer, share: float, moments: Mapping[str, Moments]) -> dict[str, Fact]:
    weight: F32 = model.weight(layer.weight)  # type: ignore[assignment]  # float32 by `_prunable`
    grid = grid_with_zero(model.grids.get(layer.weight))
    pruned = zero_smallest(weight, share, _importance(weight, layer, moments))
    lost = float(np.linalg.norm(pruned - weight) / max(float(np.linalg.norm(weight)), 1e-30))
    model.set_weight(layer.weight, pruned, grid)
    return {"sparsity": float(sparsity(pruned)), "error": lost}


def _importance(weight: F32, layer: Layer, moments: Mapping[str, Moments]) -> F32 | None:
    """|w| times the rms of what it is multiplied with (Sun et al. 2024, "Wanda"); None: the magnitude alone."""
    if layer.weight not in moments:
        return None
    rms = np.sqrt(moments[layer.weight].diagonal).astype(np.float32)  # [groups, k]
    ranked = np.abs(rows(weight, layer)) * rms[:, None, :]
    outputs = layer.shape[layer.out_axis]
    moved = [outputs, *(side for a, side in enumerate(layer.shape) if a != layer.out_axis)]
    return np.ascontiguousarray(np.moveaxis(ranked.reshape(moved), 0, layer.out_axis))


def _shares(
    model: Model, layers: Sequence[Layer], context: Context, settings: Prune, moments: Mapping[str, Moments]
) -> tuple[dict[str, float], dict[str, Curve]]:
    """Share of zeros by weight name, and what was measured to find it."""
    free = [x for x in layers if x.weight not in settings.layers]
    given = {x.weight: settings.layers[x.weight] for x in layers if x.weight in settings.layers}
    measured: dict[str, Curve] = {}
    if settings.allocation == "uniform" or not free:
        return dict.fromkeys((x.weight for x in free), settings.target) | given, measured
    sizes = {x.weight: int(np.prod(x.shape)) for x in free}
    if settings.allocation == "erk":
        return erdos_renyi(free, settings.target) | given, measured
    if settings.allocation == "global":
        threshold = global_threshold(lambda: (_values(model, x) for x in free), settings.target)
        counts = {x.weight: int((np.abs(_values(model, x)) <= threshold).sum()) for x in free}
        return {name: count / sizes[name] for name, count in counts.items()} | given, measured
    by_name = {x.weight: x for x in free}

    def pruned(name: str, share: float) -> Model:
        changed = model.copy()
        _prune_layer(changed, by_name[name], share, moments)
        return changed

    error = error_by(settings.allocation, model, context, settings.samples)
    measured = curves(by_name, pruned, error, LEVELS, context.progress)
    return equal_slopes(measured, sizes, settings.target) | given, measured


def _values(model: Model, layer: Layer) -> F32:
    return np.asarray(model.weight(layer.weight), np.float32)
