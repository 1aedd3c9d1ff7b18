"""Writes annotated pictures as a video whose clock is the camera's."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import StorageError

MAX_REPEAT_S = 2.0
"""A longer pause between two pictures is cut to this, or an outage would fill the disk with one picture."""


class Recorder:
    """An MP4 (MPEG-4 part 2, which the OpenCV wheel can encode everywhere) at constant frame rate.

    Pictures are repeated or left out so that the video runs as time did. The file carries its final name only once
    it is closed, since an MP4 without its index cannot be played.

    Args:
        path: of the video.
        size_wh: of every picture.
        fps: of the video.

    Raises:
        StorageError: on entering or leaving: the file cannot be written.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        self.path, self._size_wh, self._fps = path, size_wh, fps
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix or '.mp4'}")
        self._writer: cv2.VideoWriter | None = None
        self._begun_s: float | None = None
        self._written = 0

    def __enter__(self) -> Self:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._partial), code, self._fps, self._size_wh)
        if not self._writer.isOpened():
            self._writer = None
            raise StorageError(
                f"{self.path}: the video cannot be written; the folder must exist and the name end in .mp4"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if self._partial.stat().st_size == 0:
                raise StorageError(f"{self.path}: the video is empty; is the disk full?")
            self._partial.replace(self.path)
        except OSError as failure:
            raise StorageError(
                f"{self.path}: the video cannot be kept ({failure.strerror}); is the disk full?"
            ) from None

    def write(self, bgr: BgrImage, at_s: float) -> None:
        """Add a picture taken at `at_s` seconds of a clock that does not go backwards."""
        assert self._writer is not None, "enter the recorder first"
        if self._begun_s is None:
            self._begun_s = at_s
        due = int((at_s - self._begun_s) * self._fps + 0.5) + 1
        most = int(MAX_REPEAT_S * self._fps) + 1
        if due - self._written > most:
            self._begun_s += (due - self._written - most) / self._fps
            due = self._written + most
        for _ in range(due - self._written):
            self._writer.write(bgr)
            self._written += 1
