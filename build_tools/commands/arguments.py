"""Types of arguments that several commands share."""

from __future__ import annotations

import argparse
import math


def size_wh(text: str) -> tuple[int, int]:
    """`320x240` as (320, 240)."""
    w, x, h = text.partition("x")
    if not (x and w.isdecimal() and h.isdecimal() and int(w) >= 16 and int(h) >= 16):
        raise argparse.ArgumentTypeError(f"{text}: must look like 320x240")
    return int(w), int(h)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:  # which NaN is not either
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0 to 1")
    return value
