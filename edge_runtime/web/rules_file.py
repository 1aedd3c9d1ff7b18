"""Rewrites the zones, lines and slots of a configuration file; every other byte, comments included, stays.

A rule that stays as it is keeps its table to the byte; one that was changed keeps its comments, and only the values
that differ are written anew. What comes out is read back before it is believed: where the file spells its rules in a
way that is not understood here (`zones = [{...}]`), it is refused, not guessed at.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_runtime import settings
from edge_runtime.errors import ConfigError
from edge_runtime.rules import LineConfig, SlotConfig, ZoneConfig
from edge_runtime.settings import toml

Rule = ZoneConfig | LineConfig | SlotConfig
KINDS: dict[str, type[Rule]] = {"zones": ZoneConfig, "lines": LineConfig, "slots": SlotConfig}


@dataclass(frozen=True, slots=True)
class Edited:
    """A rule as it is to be.

    Attributes:
        kind: `zones`, `lines` or `slots`.
        rule: all its settings.
        was: its name in the file until now; None: it is new.
    """

    kind: str
    rule: Rule
    was: str | None = None


@dataclass(slots=True)
class _Table:
    """A header and its settings: character positions in the text."""

    name: str | None
    start: int
    end: int
    values: dict[str, tuple[int, int]] = field(default_factory=dict)


def rewritten(text: str, edits: Sequence[Edited]) -> str:
    """The file `text` with exactly the rules of `edits`; rules that are not among them are removed.

    Raises:
        ConfigError: the rules are not written as `[[zones]]`, `[[lines]]`, `[[slots]]` tables.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    old = tomllib.loads(text)
    wanted = {(e.kind, e.was): e.rule for e in edits if e.was is not None}
    cuts: list[tuple[int, int, str]] = []
    last_end: dict[str, int] = {}
    taken = dict.fromkeys(KINDS, 0)
    for table in _tables(text):
        if table.name not in KINDS:
            continue
        was = old[table.name][taken[table.name]]
        taken[table.name] += 1
        last_end[table.name] = table.end
        rule = wanted.get((table.name, was["name"]))
        cuts += [(table.start, table.end, "")] if rule is None else _changes(text, table, was, rule, newline)
    for kind in KINDS:
        fresh = "".join(written(e, newline) for e in edits if e.kind == kind and e.was is None)
        at = last_end.get(kind, len(text))
        if fresh:
            gap = "" if at == 0 else newline if text[at - 1] == "\n" else 2 * newline
            cuts.append((at, at, gap + fresh.removesuffix(newline) if at < len(text) else gap + fresh))
            if at < len(text):
                cuts.append((at, at, newline))
    out, done = [], 0
    for start, end, put in sorted(cuts, key=lambda cut: cut[:2]):
        out += [text[done:start], put]
        done = end
    result = "".join(out) + text[done:]
    _prove(old, result, edits)
    return result


def written(edit: Edited, newline: str = "\n") -> str:
    """One rule as a table of its own, with the settings that differ from their defaults."""
    lines = [f"[[{edit.kind}]]"]
    for f in dataclasses.fields(edit.rule):
        value = getattr(edit.rule, f.name)
        if f.default is dataclasses.MISSING or value != f.default:
            lines.append(f"{f.name} = {toml(value)}")
    return newline.join([*lines, ""])


def _changes(text: str, table: _Table, was: dict[str, Any], rule: Rule, newline: str) -> Iterator[tuple[int, int, str]]:
    """What to replace so that a table says what `rule` says."""
    before = settings.build(type(rule), was, "file", ConfigError)
    added = []
    for f in dataclasses.fields(rule):
        value = getattr(rule, f.name)
        if value == getattr(before, f.name):
            continue
        if f.name in table.values:
            yield (*table.values[f.name], toml(value))
        else:
            added.append(f"{f.name} = {toml(value)}{newline}")
    if added:
        yield table.end, table.end, ("" if text[table.end - 1] == "\n" else newline) + "".join(added)


def _prove(old: dict[str, Any], result: str, edits: Sequence[Edited]) -> None:
    """Refuse a text that does not read back as what was wanted."""
    try:
        new = tomllib.loads(result)
    except tomllib.TOMLDecodeError:
        new = {}
    rest = [{k: v for k, v in tables.items() if k not in KINDS} for tables in (old, new)]
    rules = {
        (kind, settings.build(of, table, "file", ConfigError))
        for kind, of in KINDS.items()
        for table in new.get(kind, [])
    }
    if rest[0] != rest[1] or rules != {(e.kind, e.rule) for e in edits}:
        raise ConfigError("the file's rules cannot be edited here; write each as a table of its own, as [[zones]]")


def _tables(text: str) -> list[_Table]:
    """The tables of a valid TOML file in order; a table ends with its last setting's line, before later comments."""
    tables = [_Table(None, 0, 0)]
    at = 0
    while at < len(text):
        start = at
        while at < len(text) and text[at] in " \t":
            at += 1
        if at >= len(text) or text[at] in "\r\n#":
            at = _line_end(text, at)
        elif text[at] == "[":
            at = _line_end(text, at)
            header = re.match(r"\s*\[\[\s*[\"']?([a-z]+)[\"']?\s*\]\]", text[start:at])
            tables.append(_Table(header[1] if header else None, start, at))
        else:
            equals = _past(text, at, "=")
            key = text[at:equals].strip().strip("\"'")
            first = equals + 1
            while text[first] in " \t":
                first += 1
            stop = _past(text, first, "\n#")
            tables[-1].values[key] = first, first + len(text[first:stop].rstrip())
            at = _line_end(text, stop)
            tables[-1].end = at
    return tables


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _past(text: str, at: int, ends: str) -> int:
    """Where one of `ends` stands from `at` on, outside of texts and brackets."""
    depth = 0
    while at < len(text):
        here = text[at]
        if depth == 0 and here in ends:
            return at
        if here in "\"'":
            at = _text_end(text, at)
            continue
        if here == "#":
            at = _line_end(text, at)
            continue
        depth += (here in "[{") - (here in "]}")
        at += 1
    return at


def _text_end(text: str, at: int) -> int:
    """Past the TOML text that begins with the quote at `at`."""
    quote = text[at]
    close = 3 * quote if text.startswith(3 * quote, at) else quote
    at += len(close)
    while not text.startswith(close, at):
        at += 2 if text[at] == "\\" and quote == '"' else 1
    at += len(close)
    while len(close) == 3 and text.startswith(quote, at):  # a text may end with quotes of its own
        at += 1
    return at
