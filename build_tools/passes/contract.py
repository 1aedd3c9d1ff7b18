"""What every compression pass is: `requires -> run -> ensures`, from one model in the making to the next.

A pass is a frozen dataclass whose fields are its settings (one `[[passes]]` table of a recipe) and that has the three
methods of `Pass`. It never changes the model it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from build_tools.data.pictures import InputEntry
from build_tools.data.upright_faces import UprightFaces
from build_tools.model import Model
from edge_runtime.identity.embedder import AdapterConfig

Feed = dict[str, NDArray[np.generic]]
"""One run's inputs, by name: a batch of 1 or more."""
Fact = float | int | str
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


class Calibration(Protocol):
    """Inputs as the model will see them; streamed, so that memory stays constant. Every iteration starts anew."""

    def __iter__(self) -> Iterator[Feed]: ...

    def __len__(self) -> int: ...


class FacesAsked(Protocol):
    """The faces in a recipe's packs, upright; see `data.recipe_faces.RecipeFaces`."""

    @property
    def adapter(self) -> AdapterConfig:
        """How they become the model's input."""

    def faces(
        self, share: float, cache: Path, progress: Callable[[int, int], None], *, held_back: bool
    ) -> UprightFaces:
        """Those to learn from, or the share that is only judged by; kept in the folder `cache`."""


@dataclass(frozen=True, slots=True)
class Score:
    """How good a model is on the recipe's evaluation data.

    Attributes:
        metric: name of the main figure, as `error`, `ap8`, `agreement`.
        value: the main figure.
        higher_is_better: which way is up.
        figures: everything that was measured.
    """

    metric: str
    value: float
    higher_is_better: bool
    figures: dict[str, float] = field(default_factory=dict)

    def loss_against(self, before: Score) -> float:
        """Relative loss: (before - now) / before for what should be high; for errors, the share of right ones lost."""
        if self.higher_is_better:
            return (before.value - self.value) / max(abs(before.value), 1e-9)
        return (self.value - before.value) / max(1.0 - before.value, 1e-9)


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a pass may use besides the model.

    Attributes:
        original: the model as it came, a teacher for those that want one.
        calibration: inputs to run the model on, or None.
        evaluate: scores a model on the recipe's evaluation data, or None.
        seed: of everything random in a pass.
        folder: what relative paths in the recipe are relative to.
        work: a folder for checkpoints; kept between resumed runs.
        progress: see `Progress`.
        input: how a picture or digit becomes the model's input, as the recipe's `[input]` says.
        faces: in the recipe's packs, for an embedder; None where it names none.
    """

    original: Model
    calibration: Calibration | None = None
    evaluate: Callable[[Model], Score] | None = None
    seed: int = 1
    folder: Path = Path()
    work: Path = Path("runs")
    progress: Progress = lambda text, done, total: None
    input: InputEntry = field(default_factory=InputEntry)
    faces: FacesAsked | None = None

    def rng(self) -> np.random.Generator:
        """A generator that starts at the recipe's seed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a pass did.

    Attributes:
        model: the new model.
        summary: one line for a person.
        layers: facts by weight name, as `{"conv1.weight": {"sparsity": 0.8, "bits": 4, "rank": 12, "error": 0.01}}`.
        refused: what was left alone and why, one line each.
    """

    model: Model
    summary: str
    layers: dict[str, dict[str, Fact]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


class Pass(Protocol):
    """One step of a recipe."""

    KIND: ClassVar[str]
    """Its name in a recipe: `kind = "prune"`."""

    def requires(self, model: Model, context: Context) -> None:
        """Refuse (PassError: node or key, and remedy) what `run` could not do, before any work is done."""

    def run(self, model: Model, context: Context) -> Change:
        """Do the work on a copy.

        Raises:
            PassError: it could not be done.
        """

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Check what the pass promises, on its result.

        Raises:
            PassError: a promise is broken (a fault of the pass, not of the model).
        """
