"""Clip files, at their own pace or as fast as they are read."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from edge_runtime.capture.opencv import quieten_opencv
from edge_runtime.capture.timeline import Timeline
from edge_runtime.clock import Clock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import BgrImage, Frame
from edge_runtime.errors import CaptureError
from edge_runtime.imaging.lores import make_lores

FALLBACK_FPS = 25.0
MAX_FPS = 1000.0
MAX_GAP_S = 60.0
"""A longer jump between two time stamps is damage, not a pause of the recorder."""
MISSING_SHARE = 0.05
MISSING_FRAMES = 2
"""Containers that only estimate their length promise a few frames too many; beyond this the clip is torn."""


class ClipSource:
    """A clip on disk. `seq` counts on over loops, `media_s` starts again, `captured_ns` always grows.

    Args:
        path: the clip.
        config: the lores size; a clip has its own size and rate.
        clock: where times come from.
        loop: start again at the end instead of ending.
        paced: frames come when they are due; false: at once.
        start_ns: `captured_ns` of the clip's beginning; None: when its first frame is read.
    """

    def __init__(
        self,
        path: Path,
        config: CameraConfig,
        clock: Clock,
        *,
        loop: bool = False,
        paced: bool = False,
        start_ns: int | None = None,
    ) -> None:
        self.name = str(path)
        self.live = False
        self._path = path
        self._lores_wh = config.lores_wh
        self._clock = clock
        self._loop = loop
        self._paced = paced
        self._start_ns = start_ns
        self._seq = 0
        self._timeline = Timeline(clock, paced, start_ns)
        self._reset()

    def _reset(self) -> None:
        self._device: cv2.VideoCapture | None = None
        self._first: BgrImage | None = None
        self._promised = 0
        self._decoded = 0
        self._period_s = 1 / FALLBACK_FPS
        self._media_s = 0.0
        self._stamp_start_s = 0.0
        self._loop_start_s = 0.0

    def __enter__(self) -> Self:
        self._reset()
        self._seq = 0
        self._timeline = Timeline(self._clock, self._paced, self._start_ns)
        self._check_file()
        self._rewind()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device is not None:
            self._device.release()
            self._device = None

    def read(self) -> Frame | None:
        picture = self._next_picture()
        if picture is None:
            self._check_whole()
            if not self._loop:
                return None
            self._loop_start_s += self._media_s + self._period_s
            self._rewind()
            picture = self._next_picture()
            assert picture is not None, "rewinding reads the first picture or raises"
        media_s = self._media_s
        lores = make_lores(picture, self._lores_wh)
        captured_ns = self._timeline.reach(self._loop_start_s + media_s)
        seq, self._seq = self._seq, self._seq + 1
        return Frame(picture, lores, captured_ns, seq, media_s)

    def _check_file(self) -> None:
        """Say what is wrong with the path itself, which OpenCV would not."""
        if not self._path.exists():
            raise CaptureError(f"{self.name}: no such clip; check the path")
        if not self._path.is_file():
            raise CaptureError(f"{self.name}: not a file; give the path of a clip")
        try:
            with self._path.open("rb") as clip:
                empty = not clip.read(1)
        except OSError as error:
            raise CaptureError(f"{self.name}: cannot be read ({error.strerror}); check its permissions") from None
        if empty:
            raise CaptureError(f"{self.name}: the file is empty; record or copy it again")

    def _rewind(self) -> None:
        """Open the clip anew and decode its first picture, which proves that there is one."""
        if self._device is not None:
            self._device.release()
        quieten_opencv()
        self._device = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not self._device.isOpened():
            raise CaptureError(
                f"{self.name}: not a clip that can be read, or torn before its index was written; "
                "try it in another player, record or copy it again"
            )
        fps = self._device.get(cv2.CAP_PROP_FPS)
        if math.isfinite(fps) and 0 < fps <= MAX_FPS:
            self._period_s = 1 / fps
        promised = self._device.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised = int(promised) if math.isfinite(promised) and promised > 0 else 0
        self._decoded = 0
        self._first = self._decode()
        if self._first is None:
            raise CaptureError(f"{self.name}: holds no picture that can be decoded; record or copy it again")

    def _next_picture(self) -> BgrImage | None:
        picture, self._first = self._first, None
        return picture if picture is not None else self._decode()

    def _decode(self) -> BgrImage | None:
        """The next picture, with `_media_s` set to its time; None when there is no other."""
        if self._device is None:
            raise CaptureError(f"{self.name}: read before it was opened")
        whole, picture = self._device.read()
        if not whole:
            return None
        stamp_s = self._device.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._decoded == 0:
            self._media_s = 0.0
            self._stamp_start_s = stamp_s if math.isfinite(stamp_s) else 0.0
        else:
            step_s = stamp_s - self._stamp_start_s - self._media_s
            # NaN fails this too: then the rate alone tells the time.
            self._media_s += step_s if 0 < step_s <= MAX_GAP_S else self._period_s
        self._decoded += 1
        return np.asarray(picture, np.uint8)

    def _check_whole(self) -> None:
        """Raise if the clip ended clearly before the end that its container promised."""
        missing = self._promised - self._decoded
        if missing > MISSING_FRAMES + MISSING_SHARE * self._promised:
            raise CaptureError(
                f"{self.name}: torn: ends after {self._decoded} of {self._promised} frames, "
                f"at {self._media_s:.1f} s; copy or record it again"
            )
