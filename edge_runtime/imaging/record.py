"""Writes annotated pictures as a video whose clock is the camera's."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import StorageError

MAX_REPEAT_S = 2.0
"""A longer pause between two pictures is cut to this, or an outage would fill the disk with one picture."""
RESERVE_BYTES = 32_000_000
"""Recording stops while this much is left on the disk: OpenCV does not tell of a failed write, and the file's index,
without which nothing of it can be played, is written last."""


class Recorder:
    """An MP4 at constant frame rate.

    MPEG-4 part 2, since that is what the OpenCV wheel encodes everywhere: H.264 needs hardware that is seldom there.
    Pictures are repeated or left out so that the video runs as time did. The file carries its final name only once it
    is closed and read back, since an MP4 without its index cannot be played; until then it is `NAME.partial.mp4`. An
    error or interrupt inside the `with` block closes it all the same, and what was recorded until then is kept.

    Args:
        path: of the video, ending in .mp4; a file of that name is replaced at the end.
        size_wh: of the video; a picture of another size (a camera that came back in another mode) is stretched to it.
        fps: of the video.

    Raises:
        StorageError: on entering, writing or leaving: the file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        self.path, self._size_wh, self._fps = path, size_wh, fps
        self._partial = path.with_name(f"{path.stem}.partial.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._begun_s = self._last_s = 0.0
        # The picture that is due next and its number in the video: it is written when it is known how long it stood.
        self._pending: BgrImage | None = None
        self._number = 0
        self._written = 0
        self._checked = 0

    def __enter__(self) -> Self:
        if self.path.suffix.lower() != ".mp4" or self.path.is_dir():
            raise StorageError(f"{self.path}: a recording is an MP4 file; give a name that ends in .mp4")
        try:
            self._partial.touch()
        except OSError as failure:
            raise StorageError(
                f"{self.path}: the video cannot be written ({failure.strerror}); "
                "the folder must exist and be writable, choose another with --record"
            ) from None
        self._check_space()
        writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size_wh)
        if not writer.isOpened():
            self._partial.unlink()
            width, height = self._size_wh
            raise StorageError(
                f"{self.path}: OpenCV cannot encode {width}x{height} pictures at {self._fps:g} fps; "
                "choose another camera.size_wh or camera.fps"
            )
        self._writer = writer
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        try:
            self._write_pending(1)
        finally:
            self._writer.release()
            self._writer = None
        try:
            if self._written == 0:
                self._partial.unlink()
                return
            if _frames_in(self._partial) == self._written:
                self._partial.replace(self.path)
                return
            self._partial.unlink()
            reason = "it could not be written whole"
        except OSError as failure:
            reason = str(failure.strerror)
        if error is None:  # what ended the recording is told first
            raise StorageError(f"{self.path}: the video is lost ({reason}); is the disk full?")

    def write(self, bgr: BgrImage, at_s: float) -> None:
        """Add a picture, which must not be changed afterwards.

        Args:
            bgr: uint8 [h, w, 3].
            at_s: when it was taken, in seconds. After a jump back, or a pause of more than `MAX_REPEAT_S`, the video
                goes on without the jump or the rest of the pause.

        Raises:
            StorageError: the disk is nearly full. What was recorded so far is kept.
        """
        assert self._writer is not None, "enter the recorder first"
        if self._pending is None:
            self._begun_s = self._last_s = at_s
        passed_s = at_s - self._last_s
        self._begun_s += max(passed_s - MAX_REPEAT_S, 0.0) + min(passed_s, 0.0)
        self._last_s = at_s
        number = int((at_s - self._begun_s) * self._fps + 0.5)
        if self._pending is not None and number > self._number:
            if self._written - self._checked >= self._fps:  # once a second is often enough
                self._check_space()
            self._write_pending(number - self._number)
            self._number = number
        if bgr.shape[1::-1] != self._size_wh:
            bgr = cv2.resize(bgr, self._size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        self._pending = bgr

    def _write_pending(self, times: int) -> None:
        if self._pending is None:
            return
        assert self._writer is not None
        for _ in range(times):
            self._writer.write(self._pending)
        self._written += times

    def _check_space(self) -> None:
        self._checked = self._written
        try:
            free = shutil.disk_usage(self._partial.parent).free
        except OSError as failure:
            raise StorageError(
                f"{self.path}: its folder is gone ({failure.strerror}); choose another with --record"
            ) from None
        if free >= RESERVE_BYTES:
            return
        kept = ""
        if self._writer is None:
            self._partial.unlink()
        else:
            kept = "what was recorded so far is kept, "
        raise StorageError(
            f"{self.path}: only {free // 1_000_000} MB are left on the disk; {kept}"
            "free some space or choose another with --record"
        )


def _frames_in(path: Path) -> int:
    """How many pictures the file's index lists; 0 for a torn file."""
    video = cv2.VideoCapture(str(path))
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    finally:
        video.release()
