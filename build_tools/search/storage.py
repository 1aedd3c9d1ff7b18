"""The memory of a search: Optuna's trials and the sensitivity scan, in a file that a later run goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from build_tools.errors import SearchError
from build_tools.search.plan import Wish
from build_tools.search.sensitivity import LayerScan, from_json

STUDY = "recipes"
OBJECTIVES = ("bytes", "time", "loss")
"""What is minimised: bytes of the bundle, time against the input model's, relative loss of accuracy."""
POPULATION = 24
"""Of NSGA-II: a front has about as many members."""
STARTUP_TRIALS = 12
"""Before TPE knows enough to guess."""
PRESSURE = (0.01, 1.0)
"""Range of each pressure, on a logarithmic scale: what single layers lose adds up over the many of a network."""
STARTS = (
    Wish(),
    Wish(prune="weights", recover=True, store="codebook"),
    Wish(lowrank=True, prune="weights", recover=True, rounding="adaptive"),
    Wish(prune="channels", recover=True, rounding="adaptive"),
)
"""Tried first: gentle to harsh, each technique once."""


class Storage:
    """An open search.

    Args:
        path: SQLite file, made when missing.
        digest: of the job; see `Job.digest`.
        sampler: how wishes are chosen.
        seed: of the sampler.

    Raises:
        SearchError: not such a file, or of another job.
    """

    def __init__(self, path: Path, digest: str, sampler: Literal["tpe", "nsga2"], seed: int) -> None:
        self._asked: dict[int, optuna.Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.study = optuna.create_study(
                storage=f"sqlite:///{path.resolve()}",
                study_name=STUDY,
                directions=["minimize"] * len(OBJECTIVES),
                load_if_exists=True,
            )
        except Exception as error:  # SQLAlchemy's and SQLite's errors, which Optuna does not map
            line = str(error).splitlines()[0][:160]
            raise SearchError(f"{path}: not a search's storage ({line}); give another --storage") from error
        known = self.study.user_attrs.get("job")
        if known not in (None, digest):
            raise SearchError(
                f"{path}: belongs to another model, recipe or device table; give another --storage, or remove it"
            )
        if known is None:
            self.study.set_user_attr("job", digest)
            for wish in STARTS:
                self._enqueue(wish)
        self._go_on()
        # A resumed sampler must not draw what it drew at the start again.
        drawn = seed + len(self.study.trials)
        self.study.sampler = (
            optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=drawn)
            if sampler == "nsga2"
            else optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=drawn)
        )

    def scans(self) -> list[LayerScan] | None:
        """The sensitivity scan, when there is one."""
        kept = self.study.user_attrs.get("scan")
        return None if kept is None else [from_json(entry) for entry in kept]

    def keep_scans(self, scans: Sequence[LayerScan]) -> None:
        """Keep the scan for resumed runs."""
        self.study.set_user_attr("scan", [one.as_json() for one in scans])

    def ask(self) -> tuple[int, Wish]:
        """The next trial's number and wish."""
        trial = self.study.ask()
        self._asked[trial.number] = trial
        return trial.number, _suggested(trial)

    def tell(self, number: int, values: Sequence[float], attributes: dict[str, Any]) -> None:
        """A trial's objectives, with what else is to be kept of it."""
        trial = self._asked.pop(number)
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        self.study.tell(trial, list(values))

    def fail(self, number: int, reason: str) -> None:
        """A trial that counts, though nothing came of it."""
        trial = self._asked.pop(number)
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def again(self, number: int) -> None:
        """A trial that was lost through no fault of its own: it does not count, and its wish is asked for again."""
        params = self.study.trials[number].params
        self.study.tell(number, state=TrialState.FAIL)
        self.study.enqueue_trial(params)

    def done(self) -> list[FrozenTrial]:
        """Trials that count: measured ones, and wishes that could not be had."""
        return [t for t in self.study.trials if t.state == TrialState.COMPLETE or "reason" in t.user_attrs]

    def _go_on(self) -> None:
        """Trials that ran when the last run was stopped are done again."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.again(trial.number)

    def _enqueue(self, wish: Wish) -> None:
        self.study.enqueue_trial({key: getattr(wish, key) for key in Wish.__slots__})


def _suggested(trial: optuna.Trial) -> Wish:
    chosen: dict[str, Any] = {
        "lowrank": trial.suggest_categorical("lowrank", [False, True]),
        "lowrank_pressure": trial.suggest_float("lowrank_pressure", *PRESSURE, log=True),
        "prune": trial.suggest_categorical("prune", ["none", "weights", "channels"]),
        "prune_pressure": trial.suggest_float("prune_pressure", *PRESSURE, log=True),
        "recover": trial.suggest_categorical("recover", [False, True]),
        "store": trial.suggest_categorical("store", ["quantize", "codebook"]),
        "store_pressure": trial.suggest_float("store_pressure", *PRESSURE, log=True),
        "rounding": trial.suggest_categorical("rounding", ["nearest", "adaptive"]),
    }
    return Wish(**chosen)
