"""The driver of `edge-build compress`: passes in order, a gate after each, one bundle at the end."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from build_tools.bundle.export import open_any
from build_tools.bundle.writer import Written, bundle_bytes, settled
from build_tools.data.calibration import open_calibration
from build_tools.data.recipe_faces import RecipeFaces
from build_tools.errors import BudgetError, BuildToolsError, PassError
from build_tools.evaluation.device import time_against
from build_tools.evaluation.gate import evaluator
from build_tools.evaluation.latency import Timing
from build_tools.model import Model, check_place, write_whole
from build_tools.passes.contract import Change, Context, Fact, Progress, Score
from build_tools.passes.registry import Step
from build_tools.recipe import Recipe
from build_tools.version import tool_version
from edge_runtime.bench.table import DeviceTable

NOTABLE = 0.01
"""A pass that makes the file larger by this share has to bring time or accuracy for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A model at one moment.

    Attributes:
        bytes: of its bundle; of the input model: of its file.
        score: accuracy, or None when the recipe measures none.
        latency: time against the input model, or None when the recipe does not time.
    """

    bytes: int
    score: Score | None
    latency: Timing | None


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """What a pass did and what the gate said.

    Attributes:
        kind: the pass.
        summary: one line for a person.
        seconds: the pass took, gate not counted.
        measured: the model after it, even when it was undone.
        undone: why it was rolled back; empty when it was kept.
        refused: what the pass left alone and why.
        layers: its facts by weight name.
    """

    kind: str
    summary: str
    seconds: float
    measured: Measured
    undone: str
    refused: tuple[str, ...]
    layers: dict[str, dict[str, Fact]]


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """The whole story of one compression.

    Attributes:
        name: of the result.
        source: the input model's file.
        recipe: that was followed.
        model: the result, exactly as the bundle decodes.
        before: the input model; `plain`: the same, only coded into a bundle; `after`: the result.
        steps: in order.
        written: bytes of the bundle, by layer.
        provenance: what stands in the bundle of where it comes from.
        seconds: all of it took.
    """

    name: str
    source: Path
    recipe: Recipe
    model: Model
    before: Measured
    plain: Measured
    after: Measured
    steps: tuple[StepResult, ...]
    written: Written
    provenance: dict[str, str | int]
    seconds: float


def compress(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    folder: Path,
    recipe_sha256: str,
    work: Path | None = None,
    private_key: bytes | None = None,
    table: DeviceTable | None = None,
    progress: Progress = lambda text, done, total: None,
) -> Compressed:
    """Follow `recipe` from the model at `source` to a bundle at `out`, which is there whole or not at all.

    Args:
        source: ONNX or `.edge`; never changed.
        recipe: passes, evaluation, calibration, budget, coding.
        out: the bundle.
        folder: what the recipe's paths are relative to.
        recipe_sha256: for the provenance.
        work: for checkpoints that a resumed run goes on from; None: a temporary folder.
        private_key: signs the bundle (Ed25519, 32 raw bytes).
        table: of the device that times are wanted for; None: models are timed on this machine.
        progress: told of each pass and of what goes on inside.

    Raises:
        BudgetError: the result does not meet the recipe's budget; nothing is written.
        BuildToolsError: anything else that is wrong, with pass, node or key.
    """
    started = time.monotonic()
    check_place(out)
    with tempfile.TemporaryDirectory() as scratch:
        desk = _Desk(source, recipe, folder, work or Path(scratch), progress, table)
        model, steps = desk.follow(recipe.passes)
        provenance: dict[str, str | int] = {
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "recipe_sha256": recipe_sha256,
            "seed": recipe.seed,
            "tool": f"edge-build {tool_version()}",
        }
        final = settled(model, recipe.coding.half)
        written = bundle_bytes(
            final, facts=_facts(recipe, source), coder=recipe.coding.coder, half=recipe.coding.half,
            provenance=provenance, private_key=private_key,
        )  # fmt: skip
        after = replace(desk.measure(model), bytes=written.bytes_total)  # with its origin and signature in it
        _check_budget(recipe, desk.before, after, steps)
        write_whole(out, written.content)
    return Compressed(
        recipe.name or source.stem, source, recipe, final, desk.before, desk.plain,
        after, tuple(steps), written, provenance, time.monotonic() - started,
    )  # fmt: skip


def _facts(recipe: Recipe, source: Path) -> dict[str, str]:
    """Name, and the task where nothing but the recipe knows it: embedders of others say nothing of themselves."""
    named = {"name": recipe.name or source.stem}
    return named | ({"task": recipe.task} if recipe.task == "embedder" else {})


class _Desk:
    """Holds what every pass is measured against."""

    def __init__(
        self, source: Path, recipe: Recipe, folder: Path, work: Path, progress: Progress, table: DeviceTable | None
    ) -> None:
        self.recipe, self._progress, self._table = recipe, progress, table
        self.original = open_any(source)
        calibration = open_calibration(
            recipe.calibration, recipe.input, self.original.proto, folder, recipe.seed, recipe.embedding
        )
        self._evaluate = evaluator(recipe, self.original, calibration, folder)
        self.context = Context(
            self.original, calibration, self._evaluate, recipe.seed, folder, work, progress, recipe.input,
            RecipeFaces(recipe, folder) if recipe.data and recipe.embedding.adapter else None,
        )  # fmt: skip
        progress("measuring the input model", 0, len(recipe.passes))
        score = self._evaluate(self.original) if self._evaluate else None
        self.before = Measured(source.stat().st_size, score, None)
        self.plain = self.measure(self.original)

    def follow(self, plan: Iterable[Step]) -> tuple[Model, list[StepResult]]:
        """Every step in turn; a group of steps judged together is kept or undone together."""
        plan = list(plan)
        model = safe = self.original
        kept = self.plain
        results: list[StepResult] = []
        group: list[StepResult] = []
        for index, step in enumerate(plan):
            self._progress(step.kind, index, len(plan))
            began = time.monotonic()
            change = self._run(step, model, index)
            seconds = time.monotonic() - began
            measured = self.measure(change.model)
            group.append(StepResult(step.kind, change.summary, seconds, measured, "", change.refused, change.layers))
            model = change.model
            if step.with_next and index + 1 < len(plan):
                continue
            why = self._over_budget(measured) or worse(measured, kept)
            if why:
                model = safe
                group = [replace(one, undone=why) for one in group]
            else:
                safe, kept = model, measured
            results += group
            group = []
        return model, results

    def measure(self, model: Model) -> Measured:
        """Bytes, accuracy and time of exactly what a bundle of `model` would decode to."""
        coding = self.recipe.coding
        final = settled(model, coding.half)
        written = bundle_bytes(final, facts={}, coder=coding.coder, half=coding.half, provenance={})
        score = self._evaluate(final) if self._evaluate else None
        timing = None
        if self.recipe.budget.latency:
            timing = time_against(self.original, final, self.recipe.input.size_wh, self._table)
        return Measured(written.bytes_total, score, timing)

    def _run(self, step: Step, model: Model, index: int) -> Change:
        try:
            step.settings.requires(model, self.context)
            change = step.settings.run(model, self.context)
            step.settings.ensures(model, change, self.context)
        except BuildToolsError as error:
            raise type(error)(f"passes[{index}] ({step.kind}): {error}") from error
        if change.model is model:
            raise PassError(f"passes[{index}] ({step.kind}): gave back the model it was given instead of a copy")
        return change

    def _over_budget(self, measured: Measured) -> str:
        budget = self.recipe.budget
        if measured.score and self.before.score:
            loss = measured.score.loss_against(self.before.score)
            if loss > budget.loss:
                was, now = self.before.score.value, measured.score.value
                change = f"{measured.score.metric} {was:.4f} -> {now:.4f}"
                return f"{change}: loses {loss:.2%}, budget.loss is {budget.loss:.2%}"
        if measured.latency and measured.latency.ratio_ci[0] > budget.latency:
            return f"takes {measured.latency.ratio:.2f} of the input's time, budget.latency is {budget.latency:.2f}"
        return ""


def worse(now: Measured, before: Measured) -> str:
    """Why a pass is not worth keeping though it meets the budget; empty where it brought anything, or may have."""
    if now.bytes <= before.bytes * (1 + NOTABLE) or now.score is None or before.score is None:
        return ""
    if now.latency is None or before.latency is None or now.latency.ratio_ci[1] < before.latency.ratio_ci[0]:
        return ""
    loss = now.score.loss_against(before.score)
    if loss < 0:
        return ""
    return f"{before.bytes:,} -> {now.bytes:,} bytes, not faster, and {now.score.metric} no better than before the pass"


def _check_budget(recipe: Recipe, before: Measured, after: Measured, steps: list[StepResult]) -> None:
    limit = recipe.budget.bytes
    if limit and after.bytes > limit:
        undone = "".join(f"; {one.kind} was undone ({one.undone})" for one in steps if one.undone)
        raise BudgetError(
            f"budget.bytes = {limit:,}: the best this recipe reaches is {after.bytes:,} bytes (from {before.bytes:,})"
            f"{undone}; prune more, take fewer bits, or raise the budget. Nothing was written"
        )
