"""How much accuracy each layer costs under each technique, one layer at a time: where to press and where not to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from build_tools.errors import ModelError, PassError
from build_tools.graph import Graph
from build_tools.model import Model
from build_tools.passes.contract import Context, Pass
from build_tools.passes.lowrank import LowRank
from build_tools.passes.prune import Prune
from build_tools.passes.quantize import Quantize
from build_tools.search.job import Job, open_job

LEVELS: dict[str, tuple[float, ...]] = {"prune": (0.5, 0.7, 0.9), "bits": (8, 4, 2), "rank": (0.75, 0.5, 0.25)}
"""By technique, from gentle to harsh: share of weights pruned, bits of a weight, share of the cost left."""
UNTOUCHED = {"prune": 0.0, "bits": 16.0, "rank": 1.0}
"""The level at which a technique does nothing."""


@dataclass(frozen=True, slots=True)
class LayerScan:
    """One layer under every technique.

    Attributes:
        weight: name of its weight in the doctored model.
        op: operator.
        shape: of the weight.
        losses: technique -> level -> relative loss of accuracy; None where the technique does not apply.
    """

    weight: str
    op: str
    shape: tuple[int, ...]
    losses: dict[str, dict[float, float | None]]

    def loss(self, technique: str, level: float) -> float | None:
        """The loss between measured levels and beyond, by straight lines; what is harsher never costs less.

        None where the technique does not apply.
        """
        measured = [(at, value) for at, value in self.losses.get(technique, {}).items() if value is not None]
        if not measured:
            return None
        sign = 1.0 if technique == "prune" else -1.0
        points = sorted([(UNTOUCHED[technique], 0.0), *measured], key=lambda p: sign * p[0])
        levels = np.array([sign * at for at, _ in points])
        losses = np.maximum.accumulate([max(value, 0.0) for _, value in points])
        beyond = max(sign * level - levels[-1], 0.0)
        slope = (losses[-1] - losses[-2]) / (levels[-1] - levels[-2])
        return float(np.interp(sign * level, levels, losses) + slope * beyond)

    def row(self) -> list[float | None]:
        """All losses, in the order of `LEVELS`."""
        return [self.losses[technique].get(level) for technique, levels in LEVELS.items() for level in levels]

    def as_json(self) -> dict[str, Any]:
        """For storage and machines."""
        losses = {t: {f"{level:g}": loss for level, loss in by.items()} for t, by in self.losses.items()}
        return {"weight": self.weight, "op": self.op, "shape": list(self.shape), "losses": losses}


def from_json(entry: Mapping[str, Any]) -> LayerScan:
    """The inverse of `as_json`."""
    losses = {t: {float(level): loss for level, loss in by.items()} for t, by in entry["losses"].items()}
    return LayerScan(entry["weight"], entry["op"], tuple(entry["shape"]), losses)


def layers_of(model: Model) -> list[str]:
    """The weights that are scanned: float32, each once, in graph order."""
    graph = Graph(model.proto)
    names = (x.weight for x in graph.layers() if graph.constants[x.weight].dtype == np.float32)
    return list(dict.fromkeys(names))


def scan_layer(job: Job, weight: str) -> LayerScan:
    """One layer under every technique, by the same passes that a recipe has.

    Args:
        job: what is searched for; opened once in each worker.
        weight: one of `layers_of`.

    Raises:
        ModelError: no layer has this weight.
    """
    site = open_job(job)
    layer = next((x for x in Graph(site.doctored.proto).layers() if x.weight == weight), None)
    if layer is None:
        raise ModelError(f"no layer has the weight {weight}; is another model on this worker?")
    others = tuple(name for name in layers_of(site.doctored) if name != weight)

    def loss(technique: str, level: float) -> float | None:
        changed = _changed(site.doctored, site.context, _PASSES[technique](weight, level, others), weight)
        return None if changed is None else site.evaluate(changed).loss_against(site.before)

    losses = {technique: {level: loss(technique, level) for level in levels} for technique, levels in LEVELS.items()}
    return LayerScan(weight, layer.op, layer.shape, losses)


def scan(job: Job, run: Callable[[list[str]], Iterator[LayerScan]]) -> list[LayerScan]:
    """Every layer of the job's model, in graph order.

    Args:
        job: what is searched for.
        run: gives the scans of the weights of these names, in any order.
    """
    names = layers_of(open_job(job).doctored)
    found = {one.weight: one for one in run(names)}
    return [found[name] for name in names]


def _changed(model: Model, context: Context, by: Pass, weight: str) -> Model | None:
    """The model after a pass, or None when the pass left the layer alone."""
    try:
        by.requires(model, context)
        change = by.run(model, context)
    except PassError:
        return None
    touched = any(name == weight or name.startswith(f"{weight}.") for name in change.layers)
    return change.model if touched else None


_PASSES: dict[str, Callable[[str, float, tuple[str, ...]], Pass]] = {
    "prune": lambda weight, level, _: Prune(target=0.0, layers={weight: level}),
    "bits": lambda _, level, others: Quantize(bits=int(level), skip=others, bias_bits=0),
    "rank": lambda weight, level, _: LowRank(only=(weight,), rank="share", share=level, worth=1.0),
}
