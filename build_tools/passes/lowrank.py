"""The pass `lowrank`: layers become two or three thinner ones where that costs less and loses little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import onnx

from build_tools.errors import PassError
from build_tools.graph import Graph
from build_tools.model import Model
from build_tools.passes.constant_weights import plain_weights
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.factoring.decompose import Form, Inputs, decompose
from build_tools.passes.factoring.factor_nodes import Replacement, lone_model, replace_nodes, replacement
from build_tools.passes.factoring.factorable import Case, factorable, study
from build_tools.passes.factoring.rank_choice import Options, by_energy, by_model, by_ranks, by_share, options
from build_tools.passes.factoring.windows import extents, input_statistics
from edge_runtime.settings import nearest, setting

Timer = Callable[[Sequence[onnx.ModelProto]], list[float]]
"""Times of models against the first one's."""
TIMED_ROUNDS = 15


def timed(models: Sequence[onnx.ModelProto]) -> list[float]:
    """Ratios of interleaved times in ONNX Runtime, one thread."""
    from build_tools.evaluation.latency import Candidate, bench  # a recipe that does not time is read without it

    candidates = [Candidate(f"variant {i}", m.SerializeToString()) for i, m in enumerate(models)]
    return [t.ratio for t in bench(candidates, TIMED_ROUNDS)]


@dataclass(frozen=True, slots=True)
class LowRank:
    """Low-rank factorisation: layers become products of thinner ones."""

    KIND: ClassVar[str] = "lowrank"

    form: Literal["auto", "svd", "tucker", "spatial"] = setting(
        "auto", "of k x k: svd: k x k, 1 x 1 | tucker: 1 x 1, k x k, 1 x 1 | spatial: k x 1, 1 x k | auto: the best"
    )
    rank: Literal["energy", "share", "model", "vbmf"] = setting(
        "energy", "energy: of each layer | share: of each layer's cost | model: share of the whole | vbmf: by noise"
    )
    energy: float = setting(0.98, "rank = energy: squared singular values kept", low=0, high=1)
    share: float = setting(0.5, "rank = share or model: cost that is left", low=0, high=1)
    counted: Literal["macs", "params"] = setting("macs", "what a cost is")
    align: int = setting(8, "ranks are a multiple of this", low=1)
    data: Literal["auto", "always", "never"] = setting(
        "auto", "keep the outputs on calibration data rather than the weights; auto: where there is such data"
    )
    positions: int = setting(256, "places of a map that are drawn from each calibration sample; 0: all", low=0)
    worth: float = setting(0.9, "a layer is left alone unless its MACs and weights fall to this share", low=0, high=1)
    measure: bool = setting(False, "time each layer too, and leave it alone where it is not faster")
    only: tuple[str, ...] = setting((), "names of the weights to take apart; empty: all")
    layers: dict[str, float] = field(default_factory=dict)  # share of the cost left, by weight name, in place of `rank`

    def requires(self, model: Model, context: Context) -> None:
        """Refuse missing calibration data, and names that are no layer's."""
        if self.data == "always" and context.calibration is None:
            raise PassError('data = "always" needs calibration data; give some, or data = "auto"')
        if self.only or self.layers:
            copy = model.copy()
            plain_weights(copy)
            known = [layer.weight for layer in Graph(copy.proto).layers()]
            for name in (*self.only, *self.layers):
                if name not in known:
                    raise PassError(f"{name} is no layer's weight{nearest(name, known, '')}")

    def run(self, model: Model, context: Context) -> Change:
        """Take apart what pays."""
        return factorise(model, context, self)

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """The interface is the same, the graph is sound, and there are fewer weights."""
        for part in ("input", "output"):
            was, now = ([v.name for v in getattr(m.proto.graph, part)] for m in (before, change.model))
            weights = set(before.weight_names()) | set(change.model.weight_names())
            if [n for n in was if n not in weights] != [n for n in now if n not in weights]:
                raise PassError(f"{part}s changed from {was} to {now}")
        if change.layers and change.model.parameters() >= before.parameters():
            raise PassError(f"{before.parameters():,} weights became {change.model.parameters():,}")
        if len(set(names := change.model.weight_names())) < len(names):
            raise PassError("two weights have one name")
        try:
            onnx.checker.check_model(change.model.proto)
        except onnx.checker.ValidationError as error:
            raise PassError(f"made a graph that is not sound: {str(error).splitlines()[0]}") from error


def factorise(model: Model, context: Context, how: LowRank, timer: Timer = timed) -> Change:
    """What `LowRank.run` does; `timer` is asked where `how.measure` is set.

    Raises:
        PassError: a share of the model that cannot be reached, or sizes that are not known but needed.
    """
    result = model.copy()
    plain_weights(result)
    graph = Graph(result.proto)
    cases, refused = _cases(result, graph, context, how)
    found = {name: options(case.extent, case.spectra, how.align, how.worth) for name, case in cases.items()}
    rows = _chosen(cases, found, how)
    made: dict[int, Replacement] = {}
    facts: dict[str, dict[str, Fact]] = {}
    costs = np.array([[c.extent.macs(), c.extent.params()] for c in cases.values()], np.int64).reshape(-1, 2)
    left = costs.copy()
    for number, (name, case) in enumerate(cases.items()):
        context.progress("taking layers apart", number, len(cases))
        choices = [(row, *_taken_apart(graph, case, found[name], row)) for row in rows[name]]
        reason = "" if choices else _why_not(how, name)
        if choices and how.measure:
            ratios = timer(_lone_models(result.proto, graph, case, [new for _, _, new in choices]))
            best = int(np.argmin(ratios[1:]))
            choices = choices[best : best + 1]
            if ratios[best + 1] >= 1.0:
                reason = f"{found[name].forms[choices[0][0]]} takes {ratios[best + 1]:.2f} of its time"
        if reason:
            refused.append(f"{name} ({case.sides()}): {reason}")
            continue
        row, error, new = choices[0]
        made[case.layer.index] = new
        left[number] = found[name].macs[row], found[name].params[row]
        facts |= {part: _facts(found[name], row, error) for part, values in new.weights.items() if values.ndim > 1}
    replace_nodes(result, made)
    share = left.sum(0) / np.maximum(costs.sum(0), 1)
    summary = (
        f"{len(made)} of {len(cases)} layers taken apart; of what these {len(cases)} cost "
        f"{share[0]:.1%} of MACs and {share[1]:.1%} of weights are left"
    )
    return Change(result, summary, facts, tuple(refused))


def _cases(model: Model, graph: Graph, context: Context, how: LowRank) -> tuple[dict[str, Case], list[str]]:
    """The layers that may be taken apart, and why others may not."""
    layers, refused = factorable(graph, how.only)
    layers = [layer for layer in layers if how.layers.get(layer.weight, 0.0) < 1.0]
    known = extents(model.proto, layers, context.calibration)
    needed = "measure = true" if how.measure else 'rank = "model"' if how.rank == "model" else ""
    unknown = next((x for x in layers if x.weight not in known), None)
    if needed and unknown:
        raise PassError(f"{unknown.node}: {needed} needs the size of its maps; give calibration data or a fixed input")
    inputs: dict[str, Inputs] = {}
    if context.calibration is not None and how.data != "never":
        context.progress("statistics of what layers see", 0, len(layers))
        inputs = input_statistics(model.proto, layers, context.calibration, how.positions, context.rng())
    return {x.weight: study(graph, x, known.get(x.weight), inputs.get(x.weight), how.form) for x in layers}, refused


def _chosen(cases: dict[str, Case], found: dict[str, Options], how: LowRank) -> dict[str, list[int]]:
    """For each layer the row of its option, or the best row of each form where these are to be timed."""
    rows: dict[str, list[int]] = {}
    if how.rank == "model":
        free = {name: (case.extent, found[name]) for name, case in cases.items() if name not in how.layers}
        taken, reached = by_model(free, how.share, how.counted)
        if reached > how.share:
            raise PassError(
                f"share = {how.share}: at least {reached:.3f} of the cost is left with align = {how.align}; "
                "raise share or lower align"
            )
        rows = {name: [taken[name]] if name in taken else [] for name in free}
    for name, case in cases.items():
        if name not in rows:
            forms = list(dict.fromkeys(found[name].forms))
            groups = [[form] for form in forms] if how.measure else [forms]
            picks = [_pick(case, found[name], group, how) for group in groups]
            rows[name] = [row for row in picks if row is not None]
    return rows


def _pick(case: Case, found: Options, forms: list[Form], how: LowRank) -> int | None:
    """The row of the best option among these forms."""
    places = np.flatnonzero(np.isin(np.array(found.forms, dtype=object), forms))
    some = found.select(places)
    share = how.layers.get(case.layer.weight)
    if share is not None or how.rank == "share":
        row = by_share(some, case.extent, how.share if share is None else share, how.counted)
    elif how.rank == "energy":
        row = by_energy(some, how.energy, how.counted)
    else:
        row = by_ranks(some, case.bayes_ranks(how.align), how.counted)
    return None if row is None else int(places[row])


def _taken_apart(graph: Graph, case: Case, found: Options, row: int) -> tuple[float, Replacement]:
    """Relative error and nodes of an option."""
    factors = decompose(case.weight, found.forms[row], found.rank(row), case.spread)
    bias = case.new_bias(factors.product)
    return case.relative_error(factors.product), replacement(graph, case.layer, factors, case.dtype, bias)


def _facts(found: Options, row: int, error: float) -> dict[str, Fact]:
    ranks = found.rank(row)
    rank: Fact = ranks[0] if len(ranks) == 1 else "x".join(map(str, ranks))
    return {"rank": rank, "error": round(error, 6), "form": found.forms[row]}


def _lone_models(proto: onnx.ModelProto, graph: Graph, case: Case, choices: list[Replacement]) -> list[onnx.ModelProto]:
    """The layer by itself, then each replacement by itself, at the size of the layer's input."""
    read = {name: graph.constants[name] for name in case.node.input[1:] if name in graph.constants}
    models = []
    for made in (Replacement([case.node], {}), *choices):
        alone = Replacement(made.nodes, read | made.weights)
        models.append(lone_model(proto, alone, case.input_shape, case.node.output[0]))
    return models


def _why_not(how: LowRank, name: str) -> str:
    pays = f"leaves {how.worth:.0%} or less of its MACs and weights"
    if name in how.layers or how.rank == "share":
        return f"no rank in steps of {how.align} leaves {how.layers.get(name, how.share):.0%} or less of its cost"
    if how.rank == "energy":
        return f"no rank that keeps {how.energy:.4g} of its energy {pays}"
    if how.rank == "vbmf":
        return f"no form at its rank by variational Bayes {pays}"
    return "the share is reached without it"
