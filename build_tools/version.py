"""The version of the tools, as bundles carry it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """`1.2.3`, or `0` in a checkout that is not installed."""
    try:
        return version("edge-runtime")
    except PackageNotFoundError:
        return "0"
