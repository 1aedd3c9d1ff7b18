"""Writes a small file so that it is there whole or not at all: a temporary file beside it, fsync, rename."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Replace the file at `path`; where that fails, what was there stays.

    Args:
        path: of the file.
        content: text goes as UTF-8.
        private: nobody but its owner may read it, from the first byte on.

    Raises:
        OSError: a full disk, or a folder that cannot be written.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # one that a power failure left may have other rights
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    with open(descriptor, "wb") as file:  # noqa: PTH123
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
