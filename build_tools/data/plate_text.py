"""Reads a pack of plate crops with their texts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.data.pictures import read_picture
from build_tools.data.plate_glyphs import ALPHABET
from build_tools.errors import DataError

INPUT_WH = (128, 48)
"""What our reader sees of a plate, stretched to it."""


@dataclass(frozen=True, slots=True, eq=False)
class PlateCrop:
    """A plate that was cut out of a photo.

    Attributes:
        bgr: uint8 [h, w, 3].
        text: A-Z and 0-9 alone.
        source: where it comes from.
    """

    bgr: NDArray[np.uint8]
    text: str
    source: str


def read_plates(labels_json: Path, images: Path, split: str, source: str = "") -> list[PlateCrop]:
    """The plates of a split, in the order of the file.

    Signs that are neither a Latin letter nor a digit, as the first of a Chinese plate, are left out of the text: they
    are not read.

    Args:
        labels_json: list of `file`, `text`, `source`, `split`.
        images: folder of the files.
        split: train or dev.
        source: only plates of it; empty: all.

    Raises:
        DataError: unreadable file or picture, a missing field, or no plate of that split and source.
    """
    try:
        rows = json.loads(labels_json.read_text(encoding="utf-8"))
        chosen = [r for r in rows if r["split"] == split and source in ("", r["source"])]
        found = [(images / r["file"], "".join(c for c in r["text"] if c in ALPHABET), r["source"]) for r in chosen]
    except OSError as error:
        raise DataError(f"{labels_json}: cannot be read ({error.strerror}); check the path") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{labels_json}: not a list of plates: {type(error).__name__} {error}") from None
    if not found:
        raise DataError(f"{labels_json}: holds no plate of split {split}{' of ' + source if source else ''}")
    return [PlateCrop(read_picture(path), text, its_source) for path, text, its_source in found]


def is_held_out(plate: PlateCrop, share: float) -> bool:
    """Whether a plate is for validation: by a digest of its text, as some plates were photographed more than once."""
    digest = hashlib.sha256(plate.text.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share
