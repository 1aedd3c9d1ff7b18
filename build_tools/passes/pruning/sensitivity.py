"""How much a model suffers when a part of it is pruned: measured on its outputs, or on the evaluation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from build_tools.model import Model
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration, Context, Progress
from build_tools.passes.healing.samples import First

LEVELS = (0.25, 0.5, 0.75)
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Shares pruned, and the error at each."""


def curves(
    parts: Iterable[str],
    pruned: Callable[[str, float], Model],
    error: Callable[[Model], float],
    levels: tuple[float, ...],
    progress: Progress,
) -> dict[str, Curve]:
    """Measure each part at each level by itself.

    Args:
        parts: names of layers or groups.
        pruned: the model with that share of that part gone.
        error: what that costs.
        levels: shares, rising.
        progress: see `Progress`.
    """
    names = list(parts)
    found: dict[str, Curve] = {}
    for done, name in enumerate(names):
        progress("measuring sensitivity", done, len(names))
        found[name] = (np.array(levels), np.array([error(pruned(name, level)) for level in levels]))
    return found


def error_by(allocation: str, model: Model, context: Context, samples: int) -> Callable[[Model], float]:
    """What a changed model loses: on the evaluation data for `accuracy`, else in its outputs on that many samples."""
    if allocation == "accuracy":
        return evaluation_error(model, context)
    assert context.calibration is not None  # by `requires`
    return output_error(model, First(context.calibration, samples))


def evaluation_error(model: Model, context: Context) -> Callable[[Model], float]:
    """Relative loss on the recipe's evaluation data against `model`; the context must have some."""
    assert context.evaluate is not None
    evaluate, before = context.evaluate, context.evaluate(model)
    return lambda changed: max(evaluate(changed).loss_against(before), 0.0)


def output_error(model: Model, calibration: Calibration) -> Callable[[Model], float]:
    """Relative error of a changed model's outputs against those of `model`, the mean over outputs.

    The outputs to compare with are kept: choose the number of samples with that in mind.
    """
    names = [o.name for o in model.proto.graph.output]
    wanted = list(stream(model.proto, names, calibration))

    def measure(changed: Model) -> float:
        apart, power = np.zeros(len(names)), np.zeros(len(names))
        for truth, now in zip(wanted, stream(changed.proto, names, calibration), strict=True):
            for place, name in enumerate(names):
                apart[place] += float(np.square(now[name].astype(np.float64) - truth[name]).sum())
                power[place] += float(np.square(truth[name], dtype=np.float64).sum())
        return float(np.mean(np.sqrt(apart / np.maximum(power, 1e-30))))

    return measure
