"""HTML that cannot be broken by what it shows: every text is escaped unless this module made it."""

from __future__ import annotations

import re
from html import escape


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float | bool | None) -> Safe:
    """An element; children that are not `Safe` are escaped, and so are attributes.

    Args:
        name: of the element.
        children: texts or elements.
        attributes: `class_` is class, `data_sort` is data-sort; False and None leave the attribute out, True is bare.
    """
    given = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            given.append(f" {key}")
        elif value is not None and value is not False:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            given.append(f' {key}="{escape(text)}"')
    opening = f"<{name}{''.join(given)}>"
    if name in EMPTY and not children:
        return Safe(opening)
    return Safe(f"{opening}{join(*children)}</{name}>")


EMPTY = ("br", "hr", "meta", "col")
"""Elements that have no end."""


def join(*children: str) -> Safe:
    """Texts and elements one after the other."""
    return Safe("".join(child if isinstance(child, Safe) else escape(child) for child in children))


def breakable(name: str) -> Safe:
    """A dotted name that may be broken behind its dots, slashes and underscores."""
    return Safe(re.sub(r"([./_])(?=[^./_])", r"\1<wbr>", escape(name)))


def page(title: str, style: str, script: str, *body: str) -> str:
    """A whole document that asks nothing of the network: style and script are our own constants, put in as they are."""
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        # Even a name that slipped through unescaped could load nothing.
        Safe(
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        ),
        tag("title", title),
        Safe(f"<style>{style}</style>"),
    )
    content = f"<head>{head}</head>\n<body>{join(*body)}<script>{script}</script></body>"
    return f'<!doctype html>\n<html lang="en">\n{content}</html>\n'
