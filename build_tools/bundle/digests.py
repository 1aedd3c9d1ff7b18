"""Digests in facts and provenance: hexadecimal for other tools, in the manifest base64url, a third shorter."""

from __future__ import annotations

import base64
import re
from typing import Any

from edge_runtime.bundle.reader import base64url

_HEXADECIMAL = re.compile("[0-9a-f]{64}")
_BASE64URL = re.compile("[A-Za-z0-9_-]{43}")
_SUFFIX = "sha256"
"""Only what stands under a key with this end is taken for a digest."""


def short_digests(table: Any) -> Any:
    """The same table, hexadecimal sha256 digests in it in base64url."""
    return _replace(table, _shorten)


def long_digests(table: Any) -> Any:
    """The reverse of `short_digests`."""
    return _replace(table, _lengthen)


def _replace(value: Any, change: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _replace(inner, change, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replace(inner, change, key) for inner in value]
    return change(value) if isinstance(value, str) and key.endswith(_SUFFIX) else value


def _shorten(text: str) -> str:
    return base64url(bytes.fromhex(text)) if _HEXADECIMAL.fullmatch(text) else text


def _lengthen(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=").hex() if _BASE64URL.fullmatch(text) else text
