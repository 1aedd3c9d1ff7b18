"""Writes a small file so that it is there whole or not at all: a temporary file beside it, fsync, rename."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Replace the file at `path`; where that fails, what was there stays.

    A file that was there keeps its rights and, as far as we may, its owner. A link to a file stays a link.

    Args:
        path: of the file.
        content: text goes as UTF-8.
        private: nobody but its owner may read it, from the first byte on.

    Raises:
        OSError: a full disk, or a folder that cannot be written.
    """
    octets = content.encode() if isinstance(content, str) else content
    target = path.resolve()
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)  # one that a power failure left may have other rights
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            if not private and target.exists():
                was = target.stat()
                os.fchmod(descriptor, was.st_mode & 0o777)
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, was.st_uid, was.st_gid)
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY)  # without this a power cut may bring the old file back
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
