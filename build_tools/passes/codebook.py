"""Codebooks: the weights of a layer share a few values (Han et al. 2016, "Deep Compression", section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import PassError
from build_tools.model import Grid, Model
from build_tools.passes.constant_weights import plain_weights, with_plain_weights
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.layer_inputs import Moments, gather_moments, supported
from build_tools.passes.quantizing.clustering import Line, cluster, make_line, snap, split
from build_tools.passes.quantizing.entropy_clusters import assign, constrain
from build_tools.passes.quantizing.optimal_clusters import optimal_centres
from build_tools.passes.quantizing.quantizable import Target, check_settings, choose, on_grid
from edge_runtime.settings import setting

F32 = NDArray[np.float32]
HALF_COST = 1.01
"""Centres are stored in float16 where that raises the squared error by at most so much."""


@dataclass(frozen=True, slots=True)
class Codebook:
    """Each layer's weights take one of 2**bits values; pruned weights stay zero, which is value 0 of the table."""

    KIND: ClassVar[str] = "codebook"

    bits: int = setting(5, "bits of an index: 2**bits shared values a layer, zero among them", low=1, high=8)
    layers: dict[str, int] = field(default_factory=dict)  # bits by weight name, in place of `bits`
    skip: tuple[str, ...] = setting((), "weights left as they are")
    method: Literal["lloyd", "optimal"] = setting("lloyd", "lloyd: k-means | optimal: the least error there is, slower")
    start: Literal["linear", "density", "random"] = setting("linear", "lloyd: where the shared values begin")
    importance: Literal["none", "inputs"] = setting(
        "none", "inputs: an error counts by the mean square of the weight's input; needs calibration data"
    )
    entropy: float = setting(
        0.0, "share of the weights' variance that a coded bit is worth, as 0.001; 0: values of least error", low=0
    )
    half: bool = setting(True, "shared values are exact in float16 where that costs less than 1 % more error")
    positions: int = setting(1024, "importance: places of each layer looked at in each calibration feed", low=16)

    def requires(self, model: Model, context: Context) -> None:
        """Known weight names and bits, and calibration data where it is needed."""
        check_settings(with_plain_weights(model), self.layers, self.skip, self.KIND, (1, 8))
        if self.importance == "inputs" and not (context.calibration is not None and len(context.calibration)):
            raise PassError("codebook.importance = inputs: needs calibration data; add a [calibration] table")

    def run(self, model: Model, context: Context) -> Change:
        """Cluster each layer's weights and put them on their centres."""
        made = model.copy()
        plain_weights(made)
        targets, refused = choose(made, self.bits, self.layers, self.KIND, self.skip)
        moments = self._moments(made, [target for target, _ in targets], context)
        facts: dict[str, dict[str, Fact]] = {}
        for index, (target, bits) in enumerate(targets):
            context.progress("clustering weights", index, len(targets))
            values = np.asarray(made.weight(target.name), np.float32)
            if not values.any():
                refused.append(f"{target.name}: all its weights are zero; prune the layer")
                continue
            importance = spread(target, moments[target.name]) if target.name in moments else None
            if self.importance == "inputs" and importance is None:
                refused.append(f"{target.name}: clustered without importance, its inputs cannot be laid out as patches")
            shared, table = self._cluster(values, importance, bits, context)
            made.set_weight(target.name, shared, Grid("codebook", index_bits(len(table)), table))
            facts[target.name] = _facts(values, shared, table)
        count = sum(int(2 ** int(f["bits"])) for f in facts.values())
        return Change(made, f"{len(facts)} weights share at most {count:,} values", facts, tuple(refused))

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Every weight worked on takes only values of its table, and what was zero still is."""
        old = with_plain_weights(before)
        for name in change.layers:
            values = change.model.weight(name)
            if not on_grid(values, change.model.grids[name]):
                raise PassError(f"codebook: {name} has values that are not in its table")
            if (values[old.weight(name) == 0] != 0).any():
                raise PassError(f"codebook: {name} has weights that were zero and are no longer")

    def _cluster(self, values: F32, importance: F32 | None, bits: int, context: Context) -> tuple[F32, F32]:
        """The shared values and the table."""
        sparse = bool((values == 0).any())
        k = max(2**bits - sparse, 1)
        line = make_line(values, importance)
        best = self.method == "optimal"
        centres = optimal_centres(line, k) if best else cluster(line, k, self.start, context.rng())
        coded = constrain(values, importance, centres, self.entropy) if self.entropy else None
        if coded is not None:
            centres = coded.centres

        table = _halves(line, centres) if self.half else centres.astype(np.float32)
        shared = snap(values, table) if coded is None else assign(values, importance, coded, table)
        zero = np.zeros(int(sparse or bool((table == 0).any())), np.float32)
        return shared, np.concatenate([zero, np.unique(table[table != 0])])

    def _moments(self, model: Model, targets: list[Target], context: Context) -> dict[str, Moments]:
        if self.importance == "none" or context.calibration is None:
            return {}
        nodes = model.proto.graph.node
        layers = [x for t in targets for x in t.layers if supported(x, nodes[x.index])]
        return gather_moments(model.proto, layers, context.calibration, self.positions, context.rng(), grams=False)


def spread(target: Target, moments: Moments) -> F32:
    """The mean square of each weight's input, in the weight's shape: the diagonal of its layer's Hessian."""
    channels = target.shape[target.axis]
    rows = np.repeat(moments.diagonal.astype(np.float32), channels // len(moments.diagonal), 0)
    return target.unrows(rows).astype(np.float32)


def index_bits(levels: int) -> int:
    """Bits of an index into a table of so many values."""
    return max(1, (levels - 1).bit_length())


def _halves(line: Line, centres: NDArray[np.float64]) -> F32:
    """The centres rounded to float16 where that costs little, else to float32."""
    exact = centres.astype(np.float32)
    with np.errstate(over="ignore"):
        halves = exact.astype(np.float16).astype(np.float32)
    if not np.isfinite(halves).all() or len(np.unique(halves)) < len(halves):
        return exact
    costs = [float(line.errors(split(line, t), t).sum()) for t in (exact.astype(float), halves.astype(float))]
    return halves if costs[1] <= HALF_COST * costs[0] else exact


def _error(shared: F32, values: F32, importance: F32 | None) -> float:
    apart = shared - values
    apart *= apart
    if importance is not None:
        apart *= importance
    return float(apart.sum(dtype=np.float64))


def _facts(values: F32, shared: F32, table: F32) -> dict[str, Fact]:
    size = float(np.square(values).sum(dtype=np.float64))
    error = (_error(shared, values, None) / size) ** 0.5
    zeros = float(np.count_nonzero(shared == 0)) / shared.size
    return {"bits": index_bits(len(table)), "error": round(error, 6), "sparsity": round(zeros, 6)}
