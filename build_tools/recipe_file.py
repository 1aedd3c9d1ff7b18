"""The documented recipe file, made from the dataclasses: every table and key with its default, and sound passes."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal

from build_tools.passes.registry import PASSES, pass_class
from build_tools.recipe import Recipe
from edge_runtime.settings import toml

TITLE = """\
# A recipe of edge-build. Every key is shown at its default; leave out what you do not change.
# `edge-build train` reads name, task, classes, groups, size_wh, data, teachers, net, train, phases, augment, during.
# `edge-build compress` reads name, task, seed, input, embedding, evaluation, calibration, budget, coding, passes.
"""
SOUND = """\
# The passes, in order. Each is measured afterwards and undone when it costs more than [budget] allows.
# `with_next = true` judges a pass together with the next one, as pruning with the training that heals it.

[[passes]]
kind = "doctor"

[[passes]]
kind = "quantize"
bits = 8
range = "mse"
"""
WITHOUT_RECIPE = """\
# What `edge-build compress` follows when no recipe is given: sound on any model, and without data.
[budget]
loss = 0.02

[calibration]
kind = "random"
count = 16

[[passes]]
kind = "doctor"

[[passes]]
kind = "quantize"
bits = 8
range = "mse"

# Where 8 bits were undone; else nothing is left for it.
[[passes]]
kind = "quantize"
bits = 10
range = "mse"
"""
TRAINING = ("data", "teachers", "phases")
"""Lists of tables that only training reads."""


def default_text() -> str:
    """The whole file; `recipe.read` gives the default recipe with two sound passes from it."""
    hints = typing.get_type_hints(Recipe)
    keys, tables = [], []
    for entry in dataclasses.fields(Recipe):
        kind = hints[entry.name]
        if entry.name == "passes":
            continue
        if dataclasses.is_dataclass(kind):
            tables += _table(typing.cast(type, kind), entry.name, "")
        elif entry.name in TRAINING:
            tables += _table(typing.get_args(kind)[0], entry.name, "# ", many=True)
        elif entry.name == "groups":
            tables += ["", "# labels that make up a class of another name", "[groups]", '# vehicle = ["car", "bus"]']
        else:
            keys.append(f"{entry.name} = {toml(entry.default)}  # {entry.metadata['doc']}")
    lines = [TITLE, *keys, *tables, "", SOUND]
    for kind in PASSES:
        lines += _pass(kind)
    return "\n".join(lines) + "\n"


def _table(kind: type, name: str, lead: str, many: bool = False) -> list[str]:
    lines = ["", *_doc(kind), f"{lead}[[{name}]]" if many else f"{lead}[{name}]"]
    return lines + _keys(kind, name, lead)


def _pass(kind: str) -> list[str]:
    made = pass_class(kind)
    return ["", *_doc(made), "# [[passes]]", f'# kind = "{kind}"', *_keys(made, "passes", "# ")]


def _doc(kind: type) -> list[str]:
    """The first paragraph of its docstring as comments."""
    return [f"# {line.strip()}" for line in (kind.__doc__ or "").strip().split("\n\n")[0].splitlines()]


def _keys(kind: type, name: str, lead: str) -> list[str]:
    hints = typing.get_type_hints(kind)
    lines: list[str] = []
    below: list[str] = []
    for entry in dataclasses.fields(kind):
        inner = hints[entry.name]
        if dataclasses.is_dataclass(inner):
            below += _table(typing.cast(type, inner), f"{name}.{entry.name}", lead)
        elif entry.metadata:
            lines.append(f"{lead}{entry.name} = {toml(_default(entry))}  # {entry.metadata['doc']}{_choices(inner)}")
        else:
            lines.append(f"# {entry.name} = {{}}  # by weight name")
    return lines + below


def _default(entry: dataclasses.Field[Any]) -> Any:
    if entry.default is not dataclasses.MISSING:
        return entry.default
    return entry.default_factory() if entry.default_factory is not dataclasses.MISSING else ""


def _choices(kind: Any) -> str:
    """The allowed words, where the documentation does not go through them."""
    return f" ({' | '.join(map(str, typing.get_args(kind)))})" if typing.get_origin(kind) is Literal else ""
