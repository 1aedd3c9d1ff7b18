"""Puts the weights of a model on their levels: nearest, adaptively all at once, or layer after layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from build_tools.graph import Graph, Layer, attribute
from build_tools.model import F32, Grid, Model
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration, Context, Fact
from build_tools.passes.layer_inputs import MAX_WIDTH, Moments, patches, supported
from build_tools.passes.quantizing.bias_correction import add_to_bias, fixed_bias
from build_tools.passes.quantizing.learned import Example, learn_rounding
from build_tools.passes.quantizing.quantizable import Target
from build_tools.passes.quantizing.ranges import Method, find_scales, from_levels, to_levels
from build_tools.passes.quantizing.rounding import DAMPING, Levels, adaptive_rows

LEARNING_PATCHES = 8192
"""Patches of a layer that learned rounding keeps in memory: 150 MB for VGG-16's widest filter."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How weights are put on levels.

    Attributes:
        per_channel: a scale for each output channel.
        method: how scales are found.
        percentile: for that method.
        positions: patches taken of each feed and layer.
        steps: of learned rounding.
        centred: biases are corrected, so that rounding may shift the mean of outputs: inputs count by how they vary.
    """

    per_channel: bool
    method: Method
    percentile: float
    positions: int
    steps: int
    centred: bool


@dataclass(slots=True, eq=False)
class Rounded:
    """What was done: facts by weight name, and refusals."""

    facts: dict[str, dict[str, Fact]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def round_nearest(model: Model, targets: Sequence[tuple[Target, int]], how: Precision, context: Context) -> Rounded:
    """Each weight to its nearest level, in place."""
    done = Rounded()
    for index, (target, bits) in enumerate(targets):
        context.progress("quantising weights", index, len(targets))
        _place(model, target, bits, how, None, done)
    return done


def round_together(
    model: Model, targets: Sequence[tuple[Target, int]], how: Precision, moments: dict[str, Moments], context: Context
) -> Rounded:
    """Each layer adaptively, given the second moments of its inputs in the model as it came; in place."""
    done = Rounded()
    for index, (target, bits) in enumerate(targets):
        context.progress("rounding adaptively", index, len(targets))
        found = moments.get(target.name)
        if bits < 16 and (found is None or found.gram is None):
            done.refused.append(f"{target.name}: rounded to nearest, {_why_not(target)}")
        if found is not None and found.gram is not None and _correctable(model, target, how):
            found = _centred(found)
        _place(model, target, bits, how, found, done)
    return done


def round_in_turn(
    model: Model, targets: Sequence[tuple[Target, int]], how: Precision, calibration: Calibration, context: Context,
    learn: bool,
) -> Rounded:  # fmt: skip
    """Layer after layer in graph order, so that each makes good what the layers before it spoiled; in place.

    The layer's target is what the original gave for the original input; its input is that of the model as rounded so
    far. Both models run over the calibration data once for each layer.

    Args:
        model: changed.
        targets: weights with their bits.
        how: see `Precision`.
        calibration: see `Context`.
        context: for seed and progress.
        learn: learn the rounding (`learned`) instead of solving for it (`rounding`).
    """
    before, done = model.copy(), Rounded()
    in_order = sorted(targets, key=lambda pair: pair[0].layers[0].index if pair[0].layers else -1)
    for index, (target, bits) in enumerate(in_order):
        context.progress("rounding layer by layer", index, len(in_order))
        width = int(np.prod(target.shape)) // target.shape[target.axis]
        if len(target.layers) != 1 or not _plain(before, target.layers[0]) or bits == 16 or width > MAX_WIDTH:
            if bits < 16:
                done.refused.append(f"{target.name}: rounded to nearest, {_why_not(target)}")
            _place(model, target, bits, how, None, done)
            continue
        share = -(-LEARNING_PATCHES // max(len(calibration), 1))
        rng = context.rng()
        then, now = _both_inputs(before, model, target.layers[0], calibration, min(how.positions, share), rng)
        if learn:
            _learn(model, target, bits, how, then, now, context.seed, done)
        else:
            _solve(model, target, bits, how, then, now, done)
        if how.centred:
            layer, groups = target.layers[0], len(now)
            means = [x.mean(1, dtype=np.float64) for x in (then, now)]
            sums = [
                np.einsum("grk,gk->gr", target.rows(m.weight(target.name)).reshape(groups, -1, now.shape[2]), mean)
                for m, mean in zip((before, model), means, strict=True)
            ]
            done.refused += add_to_bias(model, layer, (sums[0] - sums[1]).ravel())
    return done


def _place(model: Model, target: Target, bits: int, how: Precision, moments: Moments | None, done: Rounded) -> None:
    """One weight on its levels, adaptively where second moments are known."""
    values = model.weight(target.name)
    rows = target.rows(values)
    if bits == 16:
        with np.errstate(over="ignore"):
            halves = np.asarray(values, np.float32).astype(np.float16).astype(np.float32)
        if not np.isfinite(halves).all():
            done.refused.append(f"{target.name}: left in float32, its values are too large for float16")
            return
        model.set_weight(target.name, halves, Grid("half", 16, np.zeros(0, np.float32)))
        done.facts[target.name] = _facts(rows, target.rows(halves), 16, None)
        return
    gram = None if moments is None else moments.gram
    importance = None
    if moments is not None:
        importance = np.repeat(moments.diagonal, len(rows) // len(moments.diagonal), 0).astype(np.float32)
    scales = _scales(rows, bits, how, importance)
    if gram is None:
        levels = to_levels(rows, scales, bits)
    else:
        levels, scales = adaptive_rows(rows, scales, gram, Levels.of_bits(bits), how.per_channel)
    _store(model, target, bits, how, levels, scales)
    done.facts[target.name] = _facts(rows, from_levels(levels, scales), bits, gram)


def _solve(model: Model, target: Target, bits: int, how: Precision, then: F32, now: F32, done: Rounded) -> None:
    """Weights that are best for the inputs of now, then rounded adaptively.

    The least-squares weights for the inputs of now are W C H^-1, with C = E[then now^T] and H = E[now now^T]; H is
    damped towards W.
    """
    rows = target.rows(model.weight(target.name))
    groups, count, width = now.shape
    if _correctable(model, target, how):
        then, now = then - then.mean(1, keepdims=True), now - now.mean(1, keepdims=True)
    gram = np.matmul(now.transpose(0, 2, 1), now) / np.float32(count)
    cross = np.matmul(then.transpose(0, 2, 1), now) / np.float32(count)
    shaped = rows.reshape(groups, -1, width)
    damping = np.maximum(DAMPING * np.einsum("gkk->gk", gram).mean(1), 1e-12)
    damped = gram + damping[:, None, None] * np.eye(width, dtype=np.float32)
    shift = np.linalg.solve(damped.astype(np.float64), np.matmul(shaped, cross - gram).transpose(0, 2, 1))
    wanted = (shaped + shift.transpose(0, 2, 1)).astype(np.float32)
    wanted = np.where(shaped == 0, 0, wanted).reshape(rows.shape)
    diagonal = np.einsum("gkk->gk", gram)
    importance = np.repeat(diagonal, len(rows) // groups, 0).astype(np.float32)
    scales = _scales(wanted, bits, how, importance)
    levels, scales = adaptive_rows(wanted, scales, gram, Levels.of_bits(bits), how.per_channel)
    _store(model, target, bits, how, levels, scales)
    done.facts[target.name] = _facts(rows, from_levels(levels, scales), bits, gram)


def _learn(
    model: Model, target: Target, bits: int, how: Precision, then: F32, now: F32, seed: int, done: Rounded
) -> None:
    rows = target.rows(model.weight(target.name))
    groups, count, width = now.shape
    shaped = rows.reshape(groups, -1, width)
    layer = target.layers[0]
    bias = (
        np.zeros(len(rows), np.float32) if layer.bias is None else model.weight(layer.bias).astype(np.float32).ravel()
    )
    outputs = np.matmul(then, shaped.transpose(0, 2, 1))
    example = Example(now, outputs, bias.reshape(groups, -1), _slope(model, layer))
    diagonal = np.einsum("gpk,gpk->gk", now, now) / count
    scales = _scales(rows, bits, how, np.repeat(diagonal, len(rows) // groups, 0).astype(np.float32))
    levels = learn_rounding(shaped, scales.reshape(groups, -1), example, Levels.of_bits(bits), how.steps, seed)
    levels = levels.reshape(rows.shape)
    _store(model, target, bits, how, levels, scales)
    gram = np.matmul(now.transpose(0, 2, 1), now) / np.float32(count)
    done.facts[target.name] = _facts(rows, from_levels(levels, scales), bits, gram)


def _scales(rows: F32, bits: int, how: Precision, importance: F32 | None) -> F32:
    if how.per_channel:
        return find_scales(rows, bits, how.method, how.percentile, importance)
    flat = None if importance is None else np.broadcast_to(importance, rows.shape).reshape(1, -1)
    return np.repeat(find_scales(rows.reshape(1, -1), bits, how.method, how.percentile, flat), len(rows))


def _store(model: Model, target: Target, bits: int, how: Precision, levels: np.ndarray, scales: F32) -> None:
    values = target.unrows(from_levels(levels, scales))
    grid = Grid("uniform", bits, scales, target.axis) if how.per_channel else Grid("uniform", bits, scales[:1])
    model.set_weight(target.name, values, grid)


def _facts(rows: F32, rounded: F32, bits: int, gram: F32 | None) -> dict[str, Fact]:
    """Relative error: of the layer's outputs where second moments are known, else of its weights."""
    apart = rounded - rows
    if gram is None:
        lost, all_of_it = float((apart**2).sum()), float((rows**2).sum())
    else:
        shape = (gram.shape[0], -1, gram.shape[2])
        lost, all_of_it = (float((np.matmul(r.reshape(shape), gram) * r.reshape(shape)).sum()) for r in (apart, rows))
    error = (max(lost, 0.0) / all_of_it) ** 0.5 if all_of_it > 0 else 0.0
    return {"bits": bits, "error": round(error, 6), "sparsity": round(float((rounded == 0).mean()), 6)}


def _both_inputs(
    before: Model, now: Model, layer: Layer, calibration: Calibration, positions: int, rng: np.random.Generator
) -> tuple[F32, F32]:
    """Patches of one layer at the same places in two models: float32 [groups, p, k] each."""
    node = Graph(before.proto).nodes[layer.index]
    tensor = node.input[0]
    same = np.random.default_rng(rng.bit_generator.random_raw())
    old, new = [], []
    pairs = zip(stream(before.proto, [tensor], calibration), stream(now.proto, [tensor], calibration), strict=True)
    for then, here in pairs:
        state = same.bit_generator.state
        old.append(patches(then[tensor], layer, node, positions, same))
        same.bit_generator.state = state
        new.append(patches(here[tensor], layer, node, positions, same))
    return np.concatenate(old, 1), np.concatenate(new, 1)


def _correctable(model: Model, target: Target, how: Precision) -> bool:
    """Whether what rounding does to the mean will be made good by a bias."""
    return how.centred and bool(target.layers) and all(fixed_bias(model, x) is None for x in target.layers)


def _centred(moments: Moments) -> Moments:
    """Covariances in place of second moments."""
    mean = moments.mean
    gram = None
    if moments.gram is not None:
        gram = moments.gram - (mean[:, :, None] * mean[:, None]).astype(np.float32)
    return Moments(gram, np.maximum(moments.diagonal - mean**2, 0), mean, moments.count)


def _plain(model: Model, layer: Layer) -> bool:
    return supported(layer, model.proto.graph.node[layer.index])


def _slope(model: Model, layer: Layer) -> float:
    """Of the activation behind a layer below zero; 1 where there is none of a known slope."""
    graph = Graph(model.proto)
    readers = graph.readers[graph.nodes[layer.index].output[0]]
    if len(readers) != 1:
        return 1.0
    if readers[0].op_type == "LeakyRelu":
        return float(attribute(readers[0], "alpha", 0.01))
    return 0.0 if readers[0].op_type == "Relu" else 1.0


def _why_not(target: Target) -> str:
    if not target.layers:
        return "no layer multiplies its inputs with it"
    width = int(np.prod(target.shape)) // target.shape[target.axis]
    if width > MAX_WIDTH:
        return f"{width:,} inputs an output are more than {MAX_WIDTH:,}"
    return f"the inputs of {target.layers[0].node} cannot be laid out as patches"
