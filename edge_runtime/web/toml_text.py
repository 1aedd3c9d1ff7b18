"""Finds things in a valid TOML text and changes a list in its place, so that the comments between its items stay.

`tomllib` reads values without telling where they stand; what is done by this here is read back by the caller.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from edge_runtime.settings import toml

Span = tuple[int, int]
Cut = tuple[int, int, str]
"""Characters from, up to, and what takes their place."""


def line_end(text: str, at: int) -> int:
    """Past the line break after `at`."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def past(text: str, at: int, ends: str) -> int:
    """Where one of `ends` stands from `at` on, outside of texts, brackets and comments."""
    depth = 0
    while at < len(text):
        here = text[at]
        if depth == 0 and here in ends:
            return at
        if here in "\"'":
            at = _quoted_end(text, at)
            continue
        if here == "#":
            at = line_end(text, at)
            continue
        depth += (here in "[{") - (here in "]}")
        at += 1
    return at


def list_changes(text: str, span: Span, old: Sequence[Any], new: Sequence[Any], newline: str) -> Iterator[Cut]:
    """What to replace so that the list at `span`, brackets included, says `new` instead of `old`.

    Items in the same place are changed where they stand, lists among them number by number. Where some are added or
    removed, those before and after them stay as they are, and one that is added to a list of one item a line has its
    own line. The comment beside one that is removed stays; one between its numbers goes with it. A comment belongs to
    a place in the list: when items change places, as the ends of a line that is turned, it does not follow.
    """
    spans = _items(text, span)
    if len(old) == len(new):
        steps = [("replace", 0, len(old), 0, len(new))]
    else:
        steps = list(difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
    gone: list[int] = []
    for kind, i, i_end, j, j_end in steps:
        if kind == "equal":
            continue
        both = min(i_end - i, j_end - j)
        for before, was, wanted in zip(spans[i : i + both], old[i : i + both], new[j : j + both], strict=True):
            yield from _item_change(text, before, was, wanted, newline)
        gone += range(i + both, i_end)
        if fresh := [toml(value) for value in new[j + both : j_end]]:
            yield from _insertion(text, span, spans, i + both, fresh, newline)
    for i in gone:
        yield from _removal(text, spans[i])
    if gone and gone[-1] == len(spans) - 1:
        last = next((i for i in reversed(range(len(spans))) if i not in gone), None)
        if last is not None and text[past(text, spans[-1][1], ",]")] == "]":
            yield _without_comma(text, spans[last])


def _item_change(text: str, span: Span, old: Any, new: Any, newline: str) -> Iterator[Cut]:
    if old == new:
        return
    if isinstance(old, list | tuple) and text[span[0]] == "[":
        yield from list_changes(text, span, old, new, newline)
    else:
        yield (*span, toml(new))


def _insertion(
    text: str, span: Span, spans: Sequence[Span], at: int, fresh: Sequence[str], newline: str
) -> Iterator[Cut]:
    """New items before item `at`, or at the end: then after the comment of the last one."""
    if at < len(spans):
        start = spans[at][0]
        indent = _indent(text, start)
        between = ", " if indent is None else f",{newline}{indent}"
        yield start, start, between.join([*fresh, ""])
        return
    if not spans:
        yield span[0] + 1, span[0] + 1, ", ".join(fresh)
        return
    after, close = spans[-1][1], span[1] - 1
    end = after + len(text[after:close].rstrip())
    comma = past(text, after, ",]") < close
    indent = _indent(text, spans[-1][0])
    if indent is None and "#" in text[after:end]:
        indent = ""
    between = " " if indent is None else newline + indent
    if not comma:
        yield after, after, ","
    yield end, end, between + f",{between}".join(fresh) + ("," if comma else "")


def _removal(text: str, span: Span) -> Iterator[Cut]:
    """One item with its comma, and its line where nothing else stands on it."""
    start, end = span
    comma = past(text, end, ",]")
    if text[comma] == ",":
        if text[end:comma].strip():  # a comment stands between the two
            yield comma, comma + 1, ""
        else:
            end = comma + 1
    while text[end] in " \t":
        end += 1
    alone = text[end] in "\r\n" and _indent(text, start) is not None
    yield (text.rfind("\n", 0, start) + 1, line_end(text, end), "") if alone else (start, end, "")


def _without_comma(text: str, span: Span) -> Cut:
    """The comma after what is the last item now, and the blanks that led to the next."""
    comma = past(text, span[1], ",]")
    end = comma + 1
    while text[end] in " \t":
        end += 1
    return comma, comma + 1 if text[end] == "#" else end, ""


def _indent(text: str, at: int) -> str | None:
    """The blanks before `at` where they begin its line; None: something else stands before it."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return before if not before.strip() else None


def _items(text: str, span: Span) -> list[Span]:
    """Where the items of the list at `span` stand, without blanks and comments around them."""
    at, close = span[0] + 1, span[1] - 1
    found: list[Span] = []
    while True:
        while at < close and text[at] in " \t\r\n,#":
            at = line_end(text, at) if text[at] == "#" else at + 1
        if at >= close:
            return found
        stop = past(text, at, ",\n#]")
        found.append((at, at + len(text[at:stop].rstrip())))
        at = stop


def _quoted_end(text: str, at: int) -> int:
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
