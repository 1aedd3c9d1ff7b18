"""Keeps what a network should answer to a view of a picture, for the next time that the same view comes.

Asking teachers for the answer at every cell costs several times what learning it costs. In a file and not in memory:
pictures are prepared by processes that end with the epoch, and an interrupted training goes on with what is known.
"""

from __future__ import annotations

import io
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import DataError

Arrays = tuple[NDArray[Any], ...]


class TargetMemory:
    """Arrays by view number, rounded to 16 bits, so that the first time is as every other.

    Both verbs raise DataError when the file is torn or cannot be written.

    Args:
        path: the file, made when the first arrays come; other parts of the training may keep theirs in it, too.
        part: the name of this part.
    """

    def __init__(self, path: Path, part: str) -> None:
        self.path, self._part = path, part
        self._opened: tuple[int, sqlite3.Connection] | None = None

    def get(self, view: int, picture: NDArray[np.uint8]) -> Arrays | None:
        """What was put for the view, or None; floating-point arrays come back as float32.

        Args:
            view: its number.
            picture: as it looks. Answers to one that looked otherwise, as another version of this program cut it, are
                none to this.
        """
        asked = "SELECT arrays FROM targets WHERE part = ? AND view = ? AND picture = ?"
        row = self._asked(asked, (self._part, view, _sum(picture)))
        return None if row is None else _unpacked(row[0])

    def put(self, view: int, picture: NDArray[np.uint8], arrays: Arrays) -> Arrays:
        """Keep the arrays; as they will come back."""
        packed = _packed(arrays)
        self._asked("INSERT OR REPLACE INTO targets VALUES (?, ?, ?, ?)", (self._part, view, _sum(picture), packed))
        return _unpacked(packed)

    def _asked(self, statement: str, values: tuple[Any, ...]) -> tuple[bytes] | None:
        """The first row of the statement's answer, if there is one."""
        try:
            with self._connection() as connection:
                row: tuple[bytes] | None = connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise DataError(
                f"{self.path}: what teachers said cannot be kept ({error}); free some space, or delete the file and "
                "add --resume: it will be made again"
            ) from error
        return row

    def _connection(self) -> sqlite3.Connection:
        """This process's own: a connection must not be carried through a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            connection = sqlite3.connect(self.path, timeout=60)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut loses is worked out again
            connection.execute(
                "CREATE TABLE IF NOT EXISTS targets "
                "(part TEXT, view INTEGER, picture INTEGER, arrays BLOB, PRIMARY KEY (part, view))"
            )
            self._opened = os.getpid(), connection
        return self._opened[1]


def _sum(picture: NDArray[np.uint8]) -> int:
    return zlib.crc32(picture.tobytes())


def _packed(arrays: Arrays) -> bytes:
    whole = io.BytesIO()
    np.savez(whole, *[a.astype(np.float16) if a.dtype.kind == "f" else a for a in arrays])
    return zlib.compress(whole.getvalue(), 1)


def _unpacked(packed: bytes) -> Arrays:
    with np.load(io.BytesIO(zlib.decompress(packed))) as kept:
        arrays = [kept[f"arr_{i}"] for i in range(len(kept.files))]
    return tuple(a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays)
