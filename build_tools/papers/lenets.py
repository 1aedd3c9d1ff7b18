"""The rows of the papers' table that are LeNets: from the training digits to a bundle and its error on test digits."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from build_tools.compress import compress
from build_tools.evaluation.classification import evaluate_digits
from build_tools.model import write_whole
from build_tools.papers.baseline import Name, baseline
from build_tools.papers.table import Row
from build_tools.passes.contract import Progress
from build_tools.passes.train import Train
from build_tools.recipe import BudgetEntry, Recipe, digest, load_passes

FP32_BYTES: dict[Name, int] = {"lenet300": 1_070_000, "lenet5": 1_720_000}
"""As the papers give them."""
NETWORKS: dict[Name, str] = {"lenet300": "LeNet-300-100", "lenet5": "LeNet-5"}
BASELINE_SEED = 1
QUICK_DIGITS = 3_000
QUICK_JUDGED = 500


@dataclass(frozen=True, slots=True)
class Goal:
    """A row to be run.

    Attributes:
        name: of the row, its recipe and its bundle.
        network: that is compressed.
        published: the best published figure, with its source.
        bytes_max: of what is counted.
        error_max: on test digits, in percent.
        no_loss: whether the error must not be above the baseline's either.
        counted: `file` or `weights`.
    """

    name: str
    network: Name
    published: str
    bytes_max: int
    error_max: float
    no_loss: bool
    counted: Literal["file", "weights"] = "file"

    def told(self) -> str:
        """The goal in words."""
        what = "weights <=" if self.counted == "weights" else "<="
        ratio = FP32_BYTES[self.network] // self.bytes_max
        loss = ", no loss" if self.no_loss else ""
        return f"{what} {self.bytes_max:,} B ({ratio:,}x), <= {self.error_max:.2f} %{loss}"


GOALS = (
    Goal("lenet300-huffman", "lenet300", "40x, 1.64 -> 1.58 % (Han 2016)", 26_750, 1.58, True),
    Goal("lenet300-lossless", "lenet300", "40x, 1.64 -> 1.58 % (Han 2016)", 10_700, 1.64, True),
    Goal("lenet5-huffman", "lenet5", "39x, 0.80 -> 0.74 % (Han 2016)", 44_100, 0.74, True),
    Goal("lenet5-lossless", "lenet5", "280x, 0.75 % (Molchanov 2017)", 6_142, 0.75, True),
    Goal("lenet5-min", "lenet5", "1,110x, 0.96 % (Havasi 2019)", 1_549, 1.0, False, "weights"),
)


def run(goal: Goal, recipes: Path, digits: Path, out: Path, work: Path, quick: bool, progress: Progress) -> Row:
    """Train the baseline unless it is there, follow the recipe, and measure the bundle `out/NAME.edge`.

    Args:
        goal: the row.
        recipes: folder of `NAME.toml`.
        digits: MNIST's folder.
        out: where the bundle will lie.
        work: for baselines and checkpoints.
        quick: one epoch on a few digits, and no budget: only to see that all of it runs.
        progress: told of what is being done.

    Raises:
        BuildToolsError: data, recipe or budget.
    """
    path = recipes / f"{goal.name}.toml"
    recipe = _on_digits(load_passes(path), digits.resolve(), quick)
    source = baseline(goal.network, digits, work, BASELINE_SEED, progress, epochs=1 if quick else 0)
    bundle = out / f"{goal.name}.edge"
    done = compress(
        source, recipe, bundle, folder=recipes, recipe_sha256=digest(path), work=work / goal.name, progress=progress
    )
    seconds = done.seconds if quick else _longest(work / goal.name / "seconds.json", digest(path), done.seconds)
    return _measured(goal, recipe, source, bundle, digits, seconds)


def _longest(path: Path, recipe_sha256: str, seconds: float) -> float:
    """What this recipe took, with its training: a run that finds it done has only measured and coded again."""
    known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    known[recipe_sha256] = max(seconds, known.get(recipe_sha256, 0.0))
    write_whole(path, json.dumps(known).encode())
    return known[recipe_sha256]


def _measured(goal: Goal, recipe: Recipe, source: Path, bundle: Path, digits: Path, seconds: float) -> Row:
    """The only place where test digits are read."""
    before, after = evaluate_digits(source, digits, "test"), evaluate_digits(bundle, digits, "test")
    file_bytes, weights_bytes = int(after["model_bytes"]), int(after["weights_bytes"])
    counted = weights_bytes if goal.counted == "weights" else file_bytes
    reached = counted <= goal.bytes_max and after["error"] <= goal.error_max
    if goal.no_loss:
        reached = reached and after["error"] <= before["error"]
    return Row(
        goal.name, NETWORKS[goal.network], goal.published, goal.told(), goal.counted, counted, file_bytes,
        weights_bytes, round(FP32_BYTES[goal.network] / counted, 1), before["error"], after["error"], reached,
        recipe.seed, round(seconds, 1), f"edge-build papers --mnist DIR --row {goal.name}",
    )  # fmt: skip


def _on_digits(recipe: Recipe, digits: Path, quick: bool) -> Recipe:
    """The recipe with MNIST where it lies here, and shortened when only a quick look is wanted."""
    steps = []
    for step in recipe.passes:
        its = step.settings
        if isinstance(its, Train):
            its = replace(its, path=str(digits))
            if quick:
                its = replace(its, epochs=1, limit=QUICK_DIGITS)
        steps.append(dataclasses.replace(step, settings=its))
    budget = BudgetEntry(bytes=0, loss=1.0, latency=0) if quick else recipe.budget
    # Context coding of the uncompressed network, only to say its size, takes longer than all else in a quick look.
    coding = replace(recipe.coding, coder="smallest") if quick else recipe.coding
    evaluation = replace(recipe.evaluation, data=str(digits), limit=QUICK_JUDGED if quick else recipe.evaluation.limit)
    return replace(recipe, passes=tuple(steps), budget=budget, evaluation=evaluation, coding=coding)
