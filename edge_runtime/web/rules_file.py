"""Rewrites the zones, lines and slots of a configuration file; every other byte, comments included, stays.

A rule that stays as it is keeps its table to the byte; one that was changed keeps its comments, those within a list of
corners or labels, too, and only the values that differ are written anew. What comes out is read back before it is
believed: where the file spells its rules in a way that is not understood here (`zones = [{...}]`), it is refused, not
guessed at. An empty list, `zones = []`, makes room for the first table.
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
from edge_runtime.web.toml_text import Cut, line_end, list_changes, past

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
    cuts: list[Cut] = []
    last_end: dict[str, int] = {}
    taken = dict.fromkeys(KINDS, 0)
    text = _without_empty(text, [e.kind for e in edits if e.was is None and old.get(e.kind) == []], newline)
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


def _without_empty(text: str, kinds: Sequence[str], newline: str) -> str:
    """The text without empty lists of these kinds, beside which no table could stand; their comments stay."""
    values = _tables(text)[0].values
    for first, end in sorted((values[kind] for kind in {*kinds} & {*values}), reverse=True):
        start, stop = text.rfind("\n", 0, first) + 1, line_end(text, end)
        comments = re.findall(r"#[^\r\n]*", text[first:stop])  # an empty list holds no text with such a sign in it
        text = text[:start] + "".join(comment + newline for comment in comments) + text[stop:]
    return text


def _changes(text: str, table: _Table, was: dict[str, Any], rule: Rule, newline: str) -> Iterator[Cut]:
    """What to replace so that a table says what `rule` says."""
    before = settings.build(type(rule), was, "file", ConfigError)
    added = []
    for f in dataclasses.fields(rule):
        value, old = getattr(rule, f.name), getattr(before, f.name)
        if value == old:
            continue
        if f.name in table.values and isinstance(value, tuple):
            yield from list_changes(text, table.values[f.name], old, value, newline)
        elif f.name in table.values:
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
            at = line_end(text, at)
        elif text[at] == "[":
            at = line_end(text, at)
            header = re.match(r"\s*\[\[\s*[\"']?([a-z]+)[\"']?\s*\]\]", text[start:at])
            tables.append(_Table(header[1] if header else None, start, at))
        else:
            equals = past(text, at, "=")
            key = text[at:equals].strip().strip("\"'")
            first = equals + 1
            while text[first] in " \t":
                first += 1
            stop = past(text, first, "\n#")
            tables[-1].values[key] = first, first + len(text[first:stop].rstrip())
            at = line_end(text, stop)
            tables[-1].end = at
    return tables
