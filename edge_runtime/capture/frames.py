"""The frames a pipeline gets: every one of a clip, or the newest of whatever comes by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from edge_runtime.capture.latest import LatestFrame
from edge_runtime.capture.source import Source
from edge_runtime.datatypes import Frame

WAIT_S = 0.25
"""How long to wait for a frame before looking whether to stop."""


class Frames(Protocol):
    """Frames in order, to be entered, iterated once, and left. Whoever takes a frame releases it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame | None]:
        """The frames; None when a while has passed without one."""

    def counts(self) -> tuple[int, int, int]:
        """Frames seen, frames dropped, times the camera was opened again."""


class EveryFrame:
    """Reads the source itself, so that no frame is dropped and the consumer sets the pace."""

    def __init__(self, source: Source, stopping: Callable[[], bool]) -> None:
        self._source, self._stopping, self._seen = source, stopping, 0

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame | None]:
        while not self._stopping() and (frame := self._source.read()) is not None:
            self._seen += 1
            yield frame

    def counts(self) -> tuple[int, int, int]:
        """See `Frames`."""
        return self._seen, 0, 0


class NewestFrame:
    """Takes frames from the mailbox, so that a slow consumer skips old ones instead of lagging behind."""

    def __init__(self, mailbox: LatestFrame, stopping: Callable[[], bool]) -> None:
        self._mailbox, self._stopping = mailbox, stopping

    def __enter__(self) -> Self:
        self._mailbox.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mailbox.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame | None]:
        while not self._stopping() and not self._mailbox.ended:
            yield self._mailbox.get(WAIT_S)

    def counts(self) -> tuple[int, int, int]:
        """See `Frames`."""
        return self._mailbox.seen, self._mailbox.dropped, self._mailbox.reopened
