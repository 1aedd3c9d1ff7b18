"""The pass `recover`: layers give again what they gave in the model as it came, healed from calibration data alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from build_tools.errors import PassError
from build_tools.model import Model
from build_tools.passes.constant_weights import plain_weights
from build_tools.passes.contract import Change, Context
from build_tools.passes.healing.reconstruct import Healing, heal
from build_tools.passes.healing.samples import First
from edge_runtime.settings import setting


@dataclass(frozen=True, slots=True)
class Recover:
    """Heals what pruning and rounding did, without training."""

    KIND: ClassVar[str] = "recover"

    method: Literal["bias", "least_squares"] = setting(
        "least_squares", "bias: only biases move | least_squares: weights too; zeros stay zero, grids stay as they are"
    )
    ridge: float = setting(
        0.0, "how strongly weights are held where they are; 0: chosen for each layer on samples held out", low=0
    )
    samples: int = setting(64, "calibration samples used; 0: all", low=0)
    positions: int = setting(1024, "places of a map looked at in each feed", low=1)

    def requires(self, model: Model, context: Context) -> None:
        """Refuse to work without calibration data."""
        if context.calibration is None or not len(context.calibration):
            raise PassError("recover needs calibration data; give [calibration] in the recipe or --calibration")

    def run(self, model: Model, context: Context) -> Change:
        """Heal layer by layer, from the first to the last."""
        if context.calibration is None:
            raise PassError("recover needs calibration data; give [calibration] in the recipe or --calibration")
        before, after = context.original.copy(), model.copy()
        plain_weights(before)
        plain_weights(after)
        how = Healing(self.method, self.ridge, self.positions, context.seed)
        calibration = First(context.calibration, self.samples)
        facts, refused = heal(before, after, calibration, how, {}, context.progress)
        return Change(after, summary(facts), facts, tuple(refused))

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """No weight that was zero came back to life, and no grid was left."""
        before = before.copy()
        plain_weights(before)
        for name in change.layers:
            was, now = before.weight(name), change.model.weight(name)
            if was.shape != now.shape or bool(((np.asarray(was) == 0) & (np.asarray(now) != 0)).any()):
                raise PassError(f"{name}: recovery brought pruned weights back; a fault of the pass")
            if name in before.grids and not np.array_equal(was, now):
                raise PassError(f"{name}: recovery moved weights off their grid; a fault of the pass")


def summary(facts: dict[str, dict[str, float | int | str]]) -> str:
    """One line: how far layers were off, before and after."""
    if not facts:
        return "no layer could be healed"
    then, now = (float(np.median([float(f[key]) for f in facts.values()])) for key in ("error_before", "error"))
    return f"{len(facts)} layers healed, median relative error of their outputs {then:.3f} -> {now:.3f}"
