"""Reads TOML tables into frozen dataclasses: unknown keys, wrong types and values out of range are refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Refusal = type[Exception]


def setting(default: Any, doc: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A field with its default, its line of documentation and its range (inclusive)."""
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


def required(doc: str, *, example: Any) -> Any:
    """A field without a default, for the tables of a list; `example` stands in the commented file."""
    return dataclasses.field(metadata={"doc": doc, "example": example})


def read_toml(path: Path, refusal: Refusal) -> dict[str, Any]:
    """The tables of a TOML file; `refusal` with the file's name when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise refusal(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:  # also a number of more digits than Python reads (sys.int_info)
        raise refusal(f"{path}: not valid TOML: {error}") from None


def build(kind: type[T], table: Any, origin: str, refusal: Refusal, prefix: str = "") -> T:
    """An instance of the dataclass `kind` from a TOML table.

    Args:
        kind: a dataclass whose fields are settings, other such dataclasses, or tuples of them.
        table: what TOML gave.
        origin: where the table stands, for messages.
        refusal: the error class to raise.
        prefix: the table's own dotted name, with a dot at its end.
    """
    if not isinstance(table, dict):
        raise refusal(f"{origin}: {prefix.rstrip('.')} must be a table, not {toml(table)}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise refusal(f"{origin}: unknown key {prefix}{key}{nearest(key, hints, prefix)}")
        values[key] = _value(hints[key], value, fields[key].metadata, origin, refusal, f"{prefix}{key}")
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise refusal(f"{origin}: {prefix}{name} is missing: {f.metadata.get('doc', 'required')}")
    try:
        return kind(**values)
    except ValueError as error:  # what the dataclass itself refuses: "key = value: why; remedy"
        raise refusal(f"{origin}: {prefix}{error}") from None


def default_file(kind: type, title: str) -> str:
    """A commented TOML file of sections with every setting at its default; lists of tables as commented examples."""
    lines = [f"# {title}", ""]
    hints = typing.get_type_hints(kind)
    for section in dataclasses.fields(kind):
        table = item_kind(hints[section.name])
        if table is None:
            lines += [f"# {hints[section.name].__doc__}", f"[{section.name}]", *_settings_of(hints[section.name])]
        else:
            lines += [f"# {table.__doc__} None by default; one such table for each:", f"# [[{section.name}]]"]
            lines += [f"# {line}" for line in _settings_of(table)]
        lines.append("")
    return "\n".join(lines)


def item_kind(hint: Any) -> type | None:
    """The dataclass of which `hint` is a tuple: what a list of tables `[[...]]` holds; None for anything else."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and args[-1] is Ellipsis and dataclasses.is_dataclass(args[0]):
        return typing.cast(type, args[0])
    return None


def _settings_of(kind: type) -> list[str]:
    """A line for each setting, with its default or example and its documentation."""
    return [
        f"{key.name} = {toml(key.metadata.get('example', key.default))}  # {key.metadata['doc']}"
        for key in dataclasses.fields(kind)
    ]


def toml(value: Any) -> str:
    """A value as TOML; JSON's spelling of texts, numbers, booleans and lists is TOML's."""
    return json.dumps(value, default=str)


def nearest(key: str, known: typing.Iterable[str], prefix: str) -> str:
    """The end of a message about an unknown key: the nearest valid name, or all of them."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known here: {', '.join(known)}"


def _value(kind: Any, value: Any, rule: Any, origin: str, refusal: Refusal, name: str) -> Any:
    args = typing.get_args(kind)
    where = f"{origin}: {name} = {toml(value)}"
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, origin, refusal, f"{name}.")
    if typing.get_origin(kind) is Literal:
        if value not in args:
            raise refusal(f"{where}: must be one of {', '.join(map(str, args))}")
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise refusal(f"{where}: must be a list")
        if args[-1] is Ellipsis:
            items = enumerate(value)
            return tuple(_value(args[0], v, rule, origin, refusal, f"{name}[{i}]") for i, v in items)
        if len(value) != len(args):
            raise refusal(f"{where}: must be a list of {len(args)} numbers")
        return tuple(_value(a, v, rule, origin, refusal, name) for a, v in zip(args, value, strict=True))
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise refusal(f"{where}: must be a table")
        return {k: _value(args[1], v, rule, origin, refusal, f"{name}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:  # beyond 1.8e308
            value = math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
        raise refusal(f"{where}: must be {names[kind]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal(f"{where}: must be a finite number")
    low, high = rule.get("low"), rule.get("high")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"at least {low}" if high is None else f"between {low} and {high}"
        raise refusal(f"{where}: must be {span}")
    return value
