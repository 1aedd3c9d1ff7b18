"""V4L2 cameras and network streams, through OpenCV."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from edge_runtime.capture.source import masked
from edge_runtime.clock import Clock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CaptureError
from edge_runtime.imaging.lores import make_lores

OpenDevice = Callable[[str, int, list[int]], Any]
"""`cv2.VideoCapture`: name, backend, parameters."""

STREAM_TIMEOUT_MS = 5000
MAX_TORN_PICTURES = 10
"""Broken JPEGs in a row before a camera counts as lost; cheap webcams send one now and then."""
MAX_STAMP_AGE_NS = 2_000_000_000


def quieten_opencv() -> None:
    """Stop OpenCV and FFmpeg from writing to stderr: every failure comes back as one CaptureError instead.

    FFmpeg's level can be set only by this variable, read when OpenCV first uses it; one that is set stays.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def video_devices(folder: Path = Path("/dev")) -> list[Path]:
    """The V4L2 device files there are, in numeric order."""
    found = [path for path in folder.glob("video*") if path.name.removeprefix("video").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("video")))


class V4l2Source:
    """A USB or other V4L2 camera.

    Args:
        device: an index, or `/dev/videoN`.
        config: size, rate and lores size asked for; the camera may settle on others near them.
        clock: where times come from.
        folder: where the device files are.
        open_device: opens it; a seam for tests.
    """

    def __init__(
        self,
        device: str,
        config: CameraConfig,
        clock: Clock,
        *,
        folder: Path = Path("/dev"),
        open_device: OpenDevice = cv2.VideoCapture,
    ) -> None:
        self.name = f"camera {device}" if device.isdecimal() else device
        self.live = True
        self._path = folder / f"video{int(device)}" if device.isdecimal() else Path(device)
        self._folder = folder
        self._config = config
        self._open_device = open_device
        self._reader = _Reader(self.name, config.lores_wh, clock, stamped=True)

    def __enter__(self) -> Self:
        if not self._path.exists():
            found = ", ".join(map(str, video_devices(self._folder)))
            there = f"cameras here: {found}" if found else "no camera is there: plug one in, or try --camera demo"
            raise CaptureError(f"{self.name}: no {self._path}; {there}")
        if not os.access(self._path, os.R_OK | os.W_OK):
            raise CaptureError(
                f"{self.name}: no permission for {self._path}; join the group video: "
                "sudo usermod -aG video $USER, then log in again"
            )
        quieten_opencv()
        device = self._open_device(str(self._path), cv2.CAP_V4L2, [])
        if not device.isOpened():
            device.release()
            raise CaptureError(
                f"{self.name}: {self._path} cannot be opened as a camera; another program may hold it "
                f"(fuser {self._path}), or it is one of a camera's side devices: try the other numbers"
            )
        # MJPG before the size: uncompressed USB 2 video does not carry 1280x720 at more than 10 fps.
        device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        device.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.size_wh[0])
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.size_wh[1])
        device.set(cv2.CAP_PROP_FPS, self._config.fps)
        device.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._reader.device = device
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def read(self) -> Frame | None:
        return self._reader.read(f"no more pictures from {self._path}; check its cable and power")


class StreamSource:
    """A network stream that FFmpeg reads: `rtsp://`, `http://` and the like.

    Args:
        url: with user and password where the camera wants them; messages never show those.
        config: the lores size; a stream has its own size and rate.
        clock: where times come from.
        timeout_ms: longest wait for the connection, and for a frame.
    """

    def __init__(self, url: str, config: CameraConfig, clock: Clock, *, timeout_ms: int = STREAM_TIMEOUT_MS) -> None:
        self.name = masked(url)
        self.live = True
        self._url = url
        self._timeout_ms = timeout_ms
        self._reader = _Reader(self.name, config.lores_wh, clock, stamped=False)

    def __enter__(self) -> Self:
        quieten_opencv()
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            self._timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            self._timeout_ms,
        ]
        device = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, timeouts)
        if not device.isOpened():
            device.release()
            raise CaptureError(
                f"{self.name}: no stream within {self._timeout_ms / 1000:g} s; check host, port, path, "
                "user and password, and that the camera is on"
            )
        self._reader.device = device
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def read(self) -> Frame | None:
        return self._reader.read("the stream broke off; check the network and the camera")


class _Reader:
    """Reads an open `cv2.VideoCapture`; numbering goes on when it is opened again."""

    def __init__(self, name: str, lores_wh: tuple[int, int], clock: Clock, *, stamped: bool) -> None:
        self.device: Any = None
        self._name = name
        self._lores_wh = lores_wh
        self._clock = clock
        self._stamped = stamped
        self._seq = 0
        self._latest_ns = -1

    def read(self, lost: str) -> Frame:
        """The next frame; `lost` says why there may be none."""
        if self.device is None:
            raise CaptureError(f"{self._name}: read before it was opened")
        for _ in range(MAX_TORN_PICTURES):
            try:
                if not self.device.grab():
                    break
                captured_ns = self._captured_ns()
                whole, picture = self.device.retrieve()
            except cv2.error as error:
                raise CaptureError(f"{self._name}: {lost} ({error.err})") from None
            if whole and picture is not None and picture.ndim == 3:
                main = np.asarray(picture, np.uint8)
                seq, self._seq, self._latest_ns = self._seq, self._seq + 1, captured_ns
                return Frame(main, make_lores(main, self._lores_wh), captured_ns, seq)
        raise CaptureError(f"{self._name}: {lost}")

    def _captured_ns(self) -> int:
        """The driver's time stamp where it has a monotonic one, else the time at which the frame came.

        A stream's stamps count from its own start, and would pass for monotonic ones just after boot.
        """
        now_ns = self._clock.now_ns()
        stamp_ns = round(self.device.get(cv2.CAP_PROP_POS_MSEC) * 1e6) if self._stamped else 0
        plausible = stamp_ns > 0 and now_ns - MAX_STAMP_AGE_NS <= stamp_ns <= now_ns
        return max(stamp_ns if plausible else now_ns, self._latest_ns + 1)

    def close(self) -> None:
        if self.device is not None:
            self.device.release()
            self.device = None
