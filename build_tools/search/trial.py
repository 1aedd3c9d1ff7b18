"""One trial: the passes that a wish asks for are run, and what comes out is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from build_tools.bundle.writer import bundle_bytes, settled
from build_tools.errors import BuildToolsError
from build_tools.evaluation.device import time_against
from build_tools.model import Model
from build_tools.passes.pruning.groups import dependencies
from build_tools.passes.registry import build_steps
from build_tools.search.job import Job, Site, open_job
from build_tools.search.plan import Table, Wish, lowrank_table, prune_table, store_table
from build_tools.search.sensitivity import LayerScan, layers_of


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a recipe makes of the model.

    Attributes:
        tables: its `[[passes]]`, with every strength by weight name.
        bytes: of the bundle.
        score: the main figure of its accuracy.
        loss: relative, against the input model.
        ms: of a run.
        ratio: of that to the input model's.
        seconds: the trial took.
    """

    tables: tuple[Table, ...]
    bytes: int
    score: float
    loss: float
    ms: float
    ratio: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A wish that cannot be had: a pass refused. `reason` is its one line."""

    reason: str


def run_trial(job: Job, scans: Sequence[LayerScan], wish: Wish) -> Outcome | Failure:
    """Run in a worker: no gate undoes anything here, the search sees what a recipe costs."""
    began = time.monotonic()
    site = open_job(job)
    try:
        model, tables = _follow(site, scans, wish)
        final = settled(model, job.recipe.coding.half)
        coding = job.recipe.coding
        written = bundle_bytes(final, facts={}, coder=coding.coder, half=coding.half, provenance={})
        score = site.evaluate(final)
        timing = time_against(site.original, final, job.recipe.input.size_wh, job.table)
    except BuildToolsError as error:
        return Failure(str(error))
    seconds = time.monotonic() - began
    loss = score.loss_against(site.before)
    return Outcome(tuple(tables), written.bytes_total, score.value, loss, timing.median_ms, timing.ratio, seconds)


def _follow(site: Site, scans: Sequence[LayerScan], wish: Wish) -> tuple[Model, list[Table]]:
    """The passes in their order; each sees the weights that those before it left."""
    calibrated = site.context.calibration is not None
    model, tables = site.doctored, [{"kind": "doctor"}]
    makers: tuple[Callable[[Model], Table | None], ...] = (
        lambda now: lowrank_table(wish, scans),
        lambda now: prune_table(
            wish, scans, layers_of(now), _groups(now, site) if wish.prune == "channels" else (), calibrated
        ),
        lambda now: store_table(wish, scans, layers_of(now), calibrated),
    )
    for make in makers:
        table = make(model)
        if table is None:
            continue
        (step,) = build_steps([table], "search")
        step.settings.requires(model, site.context)
        model = step.settings.run(model, site.context).model
        tables.append(table)
    return model, tables


def _groups(model: Model, site: Site) -> list[list[str]]:
    """Weights whose output channels can only be cut together."""
    known = dependencies(model.proto, site.context.calibration)
    return [[m.weight for m in group.members if m.role != "in"] for group in known.groups]


def as_attributes(outcome: Outcome) -> dict[str, Any]:
    """For a storage that keeps JSON."""
    return {
        "tables": list(outcome.tables), "score": outcome.score, "ms": outcome.ms, "seconds": outcome.seconds,
    }  # fmt: skip
