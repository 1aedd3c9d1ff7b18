"""Writes a recipe as TOML: what the user's file says, with the passes that a search found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.settings import toml

PATHS = {"evaluation": ("data", "images"), "calibration": ("path", "images")}
"""Keys of a recipe that are relative to its folder, and that compressing reads."""


def recipe_text(base: Mapping[str, Any], tables: Sequence[Mapping[str, Any]], title: Sequence[str]) -> str:
    """A recipe file.

    Args:
        base: tables of the user's recipe; its passes are left out.
        tables: the `[[passes]]`.
        title: comment lines at the top.
    """
    lines = [f"# {line}" for line in title]
    plain = {key: value for key, value in base.items() if not isinstance(value, Mapping) and key != "passes"}
    lines += _keys({k: v for k, v in plain.items() if not _is_list_of_tables(v)})
    for key, value in base.items():
        if isinstance(value, Mapping):
            lines += _table(key, value)
        elif _is_list_of_tables(value) and key != "passes":
            for entry in value:
                lines += _table(key, entry, many=True)
    for table in tables:
        lines += _table("passes", table, many=True)
    return "\n".join(lines) + "\n"


def moved(base: Mapping[str, Any], folder: Path, to: Path) -> dict[str, Any]:
    """The recipe's tables with their paths, relative to `folder`, made relative to `to`."""
    found = dict(base)
    for table, keys in PATHS.items():
        if table in found:
            found[table] = dict(found[table])
            for key in keys:
                if found[table].get(key):
                    at = (folder / found[table][key]).resolve()
                    found[table][key] = os.path.relpath(at, to.resolve())
    return found


def _table(name: str, table: Mapping[str, Any], many: bool = False) -> list[str]:
    lines = ["", f"[[{name}]]" if many else f"[{name}]"]
    lines += _keys({k: v for k, v in table.items() if not isinstance(v, Mapping)})
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            lines += _table(f"{name}.{key}", value)
    return lines


def _keys(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {toml(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else toml(key)


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
