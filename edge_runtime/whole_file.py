"""Writes a small file so that it is there whole or not at all: a temporary file beside it, fsync, rename."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace the file at `path`; where that fails, what was there stays.

    Raises:
        OSError: a full disk, or a folder that cannot be written.
    """
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
