"""The newest frame of a source, for a consumer that may be slower than the camera."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from edge_runtime.capture.source import Source
from edge_runtime.clock import Clock
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CaptureError

STOP_S = 2.0
"""How long leaving waits for a read that is under way; after that the thread ends by itself."""
NAP_S = 0.2
"""A pause is slept in pieces of this length, so that leaving does not wait for its end."""


class LatestFrame:
    """A mailbox for one frame: a thread reads the source, a newer frame replaces one that nobody took.

    A live source that fails is closed and opened again, waiting `retry_s`, then twice that and so on; a clip
    that fails raises its error from `get` once its frames were taken. Frames are numbered here, so that `seq`
    goes on when the source is opened again.

    Args:
        source: entered and left by the mailbox.
        clock: what the pauses are slept by.
        retry_s: first pause before a lost source is opened again.
        retry_max_s: longest pause.
        on_problem: told, from the thread, of each outage once and of its end.
        on_frame: called, from the thread, after each frame that it has read.

    Attributes:
        seen: frames read.
        dropped: frames released because a newer one came, or because nobody took them before the end.
        reopened: outages survived.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        retry_s: float,
        retry_max_s: float,
        on_problem: Callable[[str], None],
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = source.name
        self.live = source.live
        self.seen = 0
        self.dropped = 0
        self.reopened = 0
        self._source = source
        self._clock = clock
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._on_problem = on_problem
        self._on_frame = on_frame
        self._changed = threading.Condition()
        self._stop = False
        self._finished = False
        self._unread: Frame | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Self:
        """Open the source and start reading.

        Raises:
            CaptureError: it cannot be opened; the first time that is final.
        """
        self._source.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stop = True
            self._drop_unread()
        self._thread.join(STOP_S)

    @property
    def ended(self) -> bool:
        """Whether the source has ended and `get` has nothing left to give or to raise."""
        with self._changed:
            return self._finished and self._unread is None and self._failure is None

    def get(self, timeout_s: float) -> Frame | None:
        """The newest frame not yet taken; None after `timeout_s` without one, or when the source has ended.

        Raises:
            CaptureError: the clip is torn; its last frame was given before.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._unread is not None or self._finished, timeout_s)
            frame, self._unread = self._unread, None
            if frame is None and self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            return frame

    def _run(self) -> None:
        """The thread: read until the end, then close."""
        try:
            self._read_all()
        except Exception as error:  # outermost loop of the thread: the consumer raises it again
            self._failure = error
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def _read_all(self) -> None:
        opened = True
        pause_s: float | None = None  # during an outage: the pause before the next try
        lost_ns = 0
        try:
            while not self._stop:
                try:
                    if not opened:
                        self._source.__enter__()
                        opened = True
                    frame = self._source.read()
                except CaptureError as error:
                    if not self.live:
                        raise
                    if opened:
                        self._source.__exit__(None, None, None)
                        opened = False
                    if pause_s is None:
                        lost_ns = self._clock.now_ns()
                        pause_s = self._retry_s
                        self._on_problem(f"{error}; trying again")
                    else:
                        pause_s = min(pause_s * 2, self._retry_max_s)
                    self._pause(pause_s)
                    continue
                if frame is None:
                    return
                if pause_s is not None:
                    # Only a frame ends an outage: a half-dead camera opens well and then gives nothing.
                    self.reopened += 1
                    pause_s = None
                    away_s = (self._clock.now_ns() - lost_ns) / 1e9
                    self._on_problem(f"{self.name}: back after {away_s:.1f} s")
                self._put(frame)
                self._on_frame()
        finally:
            if opened:
                self._source.__exit__(None, None, None)

    def _put(self, frame: Frame) -> None:
        with self._changed:
            numbered = replace(frame, seq=self.seen)
            self.seen += 1
            self._drop_unread()
            self._unread = numbered
            if self._stop:
                self._drop_unread()
            self._changed.notify_all()

    def _drop_unread(self) -> None:
        if self._unread is not None:
            self._unread.release()
            self._unread = None
            self.dropped += 1

    def _pause(self, seconds: float) -> None:
        while seconds > 0 and not self._stop:
            self._clock.sleep(min(seconds, NAP_S))
            seconds -= NAP_S
