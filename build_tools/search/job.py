"""What a search is about, as it is sent to a worker; and the same opened there: model, data, scores and times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import onnx

from build_tools.bundle.export import open_any
from build_tools.data.calibration import open_calibration
from build_tools.errors import RecipeError
from build_tools.evaluation.gate import evaluator
from build_tools.model import Grid, Model
from build_tools.passes.contract import Calibration, Context, Feed, Score
from build_tools.passes.doctor import Doctor
from build_tools.recipe import Recipe
from edge_runtime.bench.table import DeviceTable

SENT_BYTES = 256_000_000
"""Calibration data up to this size is sent along; workers read more by themselves, from the same path."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Everything that a worker needs; only labelled data is read from its own disk, at the recipe's paths.

    Attributes:
        source: the input model, serialised.
        grids: of its weights, when it came as a bundle.
        recipe: evaluation, calibration, input, coding and seed; no passes.
        folder: what the recipe's paths are relative to.
        samples: calibration data, or None: there is none, or it is read by the recipe.
        table: of the device that times are wanted for; None: this machine's.
    """

    source: bytes
    grids: dict[str, Grid]
    recipe: Recipe
    folder: str
    samples: tuple[Feed, ...] | None
    table: DeviceTable | None

    def digest(self) -> str:
        """What makes trials comparable: the model, how it is judged, and on which device."""
        recipe = replace(self.recipe, passes=(), budget=type(self.recipe.budget)(), name="")
        told = repr((recipe, self.table.rows if self.table else None)).encode()
        return hashlib.sha256(self.source + told).hexdigest()[:16]


class Held:
    """Calibration data in memory."""

    def __init__(self, feeds: tuple[Feed, ...]) -> None:
        self._feeds = feeds

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A job opened.

    Attributes:
        original: the input model.
        doctored: the same after the pass `doctor`, which every recipe of the search begins with.
        context: for passes.
        before: the input model's score.
    """

    original: Model
    doctored: Model
    context: Context
    before: Score

    def evaluate(self, model: Model) -> Score:
        """The score of a model."""
        assert self.context.evaluate is not None
        return self.context.evaluate(model)


def make_job(source: Path, recipe: Recipe, folder: Path, table: DeviceTable | None) -> Job:
    """The job of searching for recipes for the model at `source`.

    Raises:
        ModelError, FormatError: no sound model.
        DataError: calibration data that cannot be read.
    """
    model = open_any(source)
    recipe = replace(recipe, passes=())
    calibration = open_calibration(recipe.calibration, recipe.input, model.proto, folder, recipe.seed, recipe.embedding)
    samples = _held(calibration) if calibration is not None else None
    content = model.proto.SerializeToString(deterministic=True)
    return Job(content, model.grids, recipe, str(folder.resolve()), samples, table)


@lru_cache(maxsize=1)
def open_job(job: Job) -> Site:
    """The job, opened once in each worker.

    Raises:
        RecipeError: nothing to evaluate on.
        BuildToolsError: data, model or the pass `doctor`.
    """
    proto = onnx.load_from_string(job.source)
    original = Model(proto, dict(job.grids))
    folder = Path(job.folder)
    calibration: Calibration | None
    if job.samples is not None:
        calibration = Held(job.samples)
    else:
        r = job.recipe
        calibration = open_calibration(r.calibration, r.input, proto, folder, r.seed, r.embedding)
    evaluate = evaluator(job.recipe, original, calibration, folder)
    if evaluate is None:
        raise RecipeError('evaluation.kind = "none": a search needs something to judge by; give an [evaluation] table')
    context = Context(original, calibration, evaluate, job.recipe.seed, folder)
    doctor = Doctor()
    doctor.requires(original, context)
    doctored = doctor.run(original, context).model
    return Site(original, doctored, context, evaluate(original))


def _held(calibration: Calibration) -> tuple[Feed, ...] | None:
    held, size = [], 0
    for feed in calibration:
        size += sum(values.nbytes for values in feed.values())
        if size > SENT_BYTES:
            return None
        held.append(feed)
    return tuple(held)
