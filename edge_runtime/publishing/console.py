"""Events as JSON lines on standard output or in a file, and as sentences for a person at the terminal."""

from __future__ import annotations

import io
import os
import sys
from types import TracebackType
from typing import Self

from edge_runtime.datatypes import Event
from edge_runtime.errors import StorageError
from edge_runtime.publishing.outbox import Row


class JsonLines:
    """Writes each event as one line, as soon as it is committed.

    Nothing is buffered: a line is the system's when `announce` returns, and no half-written rest makes the
    interpreter complain at exit.

    Args:
        target: `-` for standard output, or the path of a file, which is written anew.

    Raises:
        StorageError: on entering or announcing: the file cannot be written.
    """

    durable = False

    def __init__(self, target: str) -> None:
        self._target = target
        self._out: io.FileIO | None = None

    def __enter__(self) -> Self:
        try:
            if self._target == "-":
                if sys.stdout is None:  # closed by the shell: its number may be another file's by now
                    raise StorageError("-: standard output is closed; check --events")
                sys.stdout.flush()
                os.set_blocking(sys.stdout.fileno(), True)
                self._out = io.FileIO(sys.stdout.fileno(), "w", closefd=False)
            else:
                self._out = io.FileIO(self._target, "w")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def announce(self, row: Row) -> None:
        """Write one event. A reader that has gone away ends the output, not the program."""
        if self._out is None:
            return
        rest = memoryview(row.payload + b"\n")
        try:
            while rest:
                rest = rest[self._out.write(rest) :]
        except BrokenPipeError:
            self._out.close()
            self._out = None
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(f"{self._target}: events cannot be written there ({error.strerror}); check --events")


def sentence(event: Event) -> str:
    """An event for a person at the terminal."""
    at = "" if event.media_s is None else f" at {event.media_s:.2f} s"
    if event.kind is not None:
        return f"{event.type:<12} {event.kind}{at}"
    if event.slot is not None:
        return f"{event.type:<12} {event.slot}{at}"
    assert event.track is not None
    t = event.track
    where = ", ".join(f"{v:.0f}" for v in t.box)
    who = "" if event.confidence is None else f"{event.name or event.state} ({event.confidence:.2f}), "
    rule = " ".join(str(part) for part in (event.zone or event.line, event.direction) if part)
    by = f", {rule}" if rule else ""
    return f"{event.type:<12} {who}{t.label} {t.id}{at}{by}, score {t.score:.2f}, age {t.age_s:.1f} s, box {where}"
