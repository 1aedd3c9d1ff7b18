"""Events as JSON lines on standard output or in a file."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import BinaryIO, Self

from edge_runtime.errors import StorageError
from edge_runtime.publishing.outbox import Row


class JsonLines:
    """Writes each event as one line, as soon as it is committed.

    Args:
        target: `-` for standard output, or the path of a file, which is written anew.

    Raises:
        StorageError: on entering or announcing: the file cannot be written.
    """

    durable = False

    def __init__(self, target: str) -> None:
        self._target = target
        self._out: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._target == "-":
            self._out = sys.stdout.buffer
            return self
        try:
            self._out = open(self._target, "wb")  # noqa: PTH123 - closed by __exit__
        except OSError as error:
            raise self._unwritable(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._out is not None and self._target != "-":
            self._out.close()
        self._out = None

    def announce(self, row: Row) -> None:
        """Write one event and flush it. A reader that has gone away ends the output, not the program."""
        if self._out is None:
            return
        try:
            self._out.write(row.payload + b"\n")
            self._out.flush()
        except BrokenPipeError:
            self._out = None
            if self._target == "-":  # or the interpreter complains when it flushes at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(f"{self._target}: events cannot be written there ({error.strerror}); check --events")
