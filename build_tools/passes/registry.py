"""The passes by the name a recipe calls them; a pass's module is imported when a recipe names it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from build_tools.errors import PassError, RecipeError
from build_tools.passes.contract import Pass
from edge_runtime import settings

PASSES = {
    "doctor": "build_tools.passes.doctor:Doctor",
    "prune": "build_tools.passes.prune:Prune",
    "lowrank": "build_tools.passes.lowrank:LowRank",
    "quantize": "build_tools.passes.quantize:Quantize",
    "codebook": "build_tools.passes.codebook:Codebook",
    "binarize": "build_tools.passes.binarize:Binarize",
    "recover": "build_tools.passes.recover:Recover",
    "train": "build_tools.passes.train:Train",
}
"""In the order in which a recipe most often has them."""


def pass_class(kind: str) -> type[Any]:
    """The class of a pass."""
    module, _, name = PASSES[kind].partition(":")
    return cast(type[Any], getattr(importlib.import_module(module), name))


@dataclass(frozen=True, slots=True)
class Step:
    """A pass of a recipe.

    Attributes:
        kind: its name.
        settings: the pass with its settings.
        with_next: it is judged together with the next one, as pruning with the training that heals it.
    """

    kind: str
    settings: Pass
    with_next: bool = False


def build_steps(tables: Iterable[Any], origin: str) -> tuple[Step, ...]:
    """The passes of a recipe's `[[passes]]` tables, in order.

    Raises:
        RecipeError: no or unknown kind, unknown key, wrong type or value, or values that contradict each other.
    """
    built = []
    for index, table in enumerate(tables):
        where = f"{origin}: passes[{index}]"
        if not isinstance(table, dict) or "kind" not in table:
            raise RecipeError(f"{where} needs a kind; one of {', '.join(PASSES)}")
        kind, with_next = table["kind"], table.get("with_next", False)
        if kind not in PASSES:
            raise RecipeError(
                f"{where}.kind = {settings.toml(kind)}: no such pass{settings.nearest(str(kind), PASSES, '')}"
            )
        if not isinstance(with_next, bool):
            raise RecipeError(f"{where}.with_next = {settings.toml(with_next)}: must be true or false")
        rest = {key: value for key, value in table.items() if key not in ("kind", "with_next")}
        try:
            made = settings.build(pass_class(kind), rest, origin, RecipeError, f"passes[{index}].")
        except PassError as error:  # settings that contradict each other
            raise RecipeError(f"{where}: {error}") from None
        built.append(Step(kind, made, with_next))
    return tuple(built)
