"""The Pareto front of a search: recipes of which none is better in all of bytes, time and accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from build_tools.model import write_whole
from build_tools.recipe import Recipe
from build_tools.search.job import Job, open_job
from build_tools.search.recipe_text import moved, recipe_text
from build_tools.search.storage import Storage

BEST = "best.toml"


@dataclass(frozen=True, slots=True)
class Point:
    """A trial that was measured.

    Attributes:
        trial: its number in the storage.
        bytes: of the bundle.
        ratio: its time to the input model's.
        loss: relative, of accuracy.
        score: the main figure of accuracy.
        ms: of a run.
        tables: the passes.
    """

    trial: int
    bytes: int
    ratio: float
    loss: float
    score: float
    ms: float
    tables: tuple[dict[str, Any], ...]

    def title(self) -> str:
        """What it costs, in one line."""
        return f"{self.bytes:,} bytes, {self.ratio:.3f} of the time, loss of accuracy {self.loss:.3%}"


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """What a search found.

    Attributes:
        name: of the model.
        before: name of the main figure of accuracy, and the input model's.
        higher_is_better: which way is up.
        points: the front, smallest bundle first.
        others: measured, but something on the front is better in everything.
        failed: trials whose wish could not be had.
        best: of the front, the smallest bundle within the recipe's budget; None: there is none.
    """

    name: str
    before: tuple[str, float]
    higher_is_better: bool
    points: tuple[Point, ...]
    others: tuple[Point, ...]
    failed: int
    best: Point | None

    def file_name(self, index: int) -> str:
        """Of the recipe of a point."""
        return f"front-{index + 1:0{max(len(str(len(self.points))), 2)}}.toml"


def find_front(storage: Storage, job: Job, name: str) -> Front:
    """The front of the trials so far; of recipes that are the same, the first."""
    measured = [_point(t) for t in storage.done() if t.values]
    on_it = {t.number for t in storage.study.best_trials}
    unique: dict[str, Point] = {}
    for point in measured:
        if point.trial in on_it:
            unique.setdefault(json.dumps(point.tables, sort_keys=True), point)
    points = tuple(sorted(unique.values(), key=lambda p: (p.bytes, p.ratio)))
    others = tuple(p for p in measured if p.trial not in on_it)
    score = open_job(job).before
    budget = job.recipe.budget
    fit = [
        p for p in points
        if p.loss <= budget.loss and (not budget.latency or p.ratio <= budget.latency)
    ]  # fmt: skip
    failed = len(storage.done()) - len(measured)
    return Front(
        name, (score.metric, score.value), score.higher_is_better, points, others, failed, fit[0] if fit else None
    )


def write_front(front: Front, out: Path, base: Mapping[str, Any], folder: Path, recipe: Recipe) -> list[Path]:
    """Write `front.json`, a recipe for each point (`front-01.toml` ...), and `best.toml`; the recipes' paths.

    Args:
        front: to be written.
        out: folder.
        base: tables of the recipe that was searched with.
        folder: what its paths are relative to.
        recipe: the same, read.

    Raises:
        ModelError: a full disk or a folder that cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    here = moved(base, folder, out)
    files = []
    for index, point in enumerate(front.points):
        path = out / front.file_name(index)
        text = _recipe(point, here, recipe, front)
        write_whole(path, text.encode())
        files.append(path)
        if point is front.best:
            write_whole(out / BEST, text.encode())
    found = {
        "model": front.name,
        "before": {"metric": front.before[0], "score": front.before[1]},
        "front": [{"recipe": f.name, **asdict(p)} for f, p in zip(files, front.points, strict=True)],
        "best": files[front.points.index(front.best)].name if front.best else None,
        "others": [asdict(p) for p in front.others],
        "failed": front.failed,
    }
    write_whole(out / "front.json", (json.dumps(found, indent=1) + "\n").encode())
    return files


def _recipe(point: Point, base: Mapping[str, Any], recipe: Recipe, front: Front) -> str:
    """The point as a recipe. Its passes are judged together, by a budget that what was measured fits into."""
    tables = [dict(table) for table in point.tables]
    for table in tables[:-1]:
        table["with_next"] = True
    # Times are measured anew each time, and differ by a few per cent.
    latency = max(recipe.budget.latency, round(point.ratio * 1.1, 2)) if recipe.budget.latency else 0.0
    loss = max(recipe.budget.loss, round(point.loss + 0.001, 4))
    budget = {**base.get("budget", {}), "loss": loss, "latency": latency}
    title = [
        f"Found by `edge-build search` for {front.name}: {point.title()}",
        f"({front.before[0]} {front.before[1]:.4f} -> {point.score:.4f}; trial {point.trial}).",
    ]
    return recipe_text({**base, "budget": budget}, tables, title)


def _point(trial: FrozenTrial) -> Point:
    size, ratio, loss = trial.values
    kept = trial.user_attrs
    return Point(trial.number, int(size), ratio, loss, kept["score"], kept["ms"], tuple(kept["tables"]))
