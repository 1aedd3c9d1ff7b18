"""The Raspberry Pi's camera, through picamera2: two streams of one mode, without copying the large one."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_runtime.clock import Clock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import BgrImage, Frame, Picture, Yuv420
from edge_runtime.errors import CaptureError
from edge_runtime.imaging.colour import bgr_from_yuv
from edge_runtime.imaging.lores import lores_size

BUFFERS = 6
"""One being read, one in the mailbox, one in use, one kept by picamera2, two for the camera."""
CLOSE_WAIT_S = 1.0
"""How long closing waits for frames that are still in use: their memory goes with the camera."""

_INSTALL = "sudo apt install python3-picamera2, and make the venv with --system-site-packages"
# What picamera2, libcamera's bindings and the DMA mappings raise when the camera is not as hoped.
_CAMERA_ERRORS = (RuntimeError, OSError, IndexError, KeyError, ValueError, BufferError)


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class PicameraSource:
    """A camera on the Pi's own connector.

    `Frame.main` is a view of the camera's buffer, rows padded as the hardware likes it; `Frame.release` gives
    the buffer back. `Frame.lores` is the ISP's second stream, converted to BGR.

    Args:
        config: size, rate and lores size.
        clock: where times come from.
        picamera2_module: stands for the module, which otherwise is imported when the source is opened.
        boottime_ns: reads CLOCK_BOOTTIME, which sensor time stamps are documented to count.
    """

    def __init__(
        self,
        config: CameraConfig,
        clock: Clock,
        *,
        picamera2_module: Any = None,
        boottime_ns: Callable[[], int] = _boottime_ns,
    ) -> None:
        self.name = "picamera"
        self.live = True
        self._config = config
        self._clock = clock
        self._module = picamera2_module
        self._boottime_ns = boottime_ns
        self._camera: Any = None
        self._boot_offset_ns = 0
        # A camera may be slow, never silent: three frames' time and a bit is the sign of a loose cable.
        self._timeout_s = 3.0 + 3.0 / config.fps
        self._seq = 0
        self._latest_ns = -1
        self._in_use = 0
        self._returned = threading.Condition()

    def __enter__(self) -> Self:
        module = self._import()
        try:
            self._camera = module.Picamera2()
        except _CAMERA_ERRORS as error:
            raise CaptureError(
                f"{self.name}: no camera answers ({_one_line(error)}); check the ribbon cable and that "
                "rpicam-hello --list-cameras shows it"
            ) from None
        try:
            self._camera.configure(self._configuration())
            self._camera.start()
            streams = self._camera.camera_configuration()
            for stream in ("main", "lores"):
                _check_format(streams[stream])
        except _CAMERA_ERRORS as error:
            self._close()
            raise CaptureError(
                f"{self.name}: does not start at {_size(self._config.size_wh)} ({_one_line(error)}); set "
                "camera.size_wh to a size the camera has, and close other programs that use it"
            ) from None
        self._boot_offset_ns = self._boottime_ns() - self._clock.now_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._returned:
            self._returned.wait_for(lambda: self._in_use == 0, CLOSE_WAIT_S)
        self._close()

    def read(self) -> Frame | None:
        if self._camera is None:
            raise CaptureError(f"{self.name}: read before it was opened")
        try:
            request = self._camera.capture_request(wait=self._timeout_s)
        except TimeoutError:
            # The job would stay queued, and take a buffer that nobody gives back.
            self._camera.cancel_all_and_flush()
            raise CaptureError(
                f"{self.name}: no frame for {self._timeout_s:.0f} s; check the ribbon cable at both ends"
            ) from None
        except _CAMERA_ERRORS as error:
            raise CaptureError(f"{self.name}: lost ({_one_line(error)}); check the ribbon cable") from None
        try:
            return self._frame(request)
        except _CAMERA_ERRORS as error:
            request.release()
            raise CaptureError(f"{self.name}: a frame cannot be read ({_one_line(error)})") from None

    def _import(self) -> Any:
        if self._module is None:
            try:
                self._module = importlib.import_module("picamera2")
            except ImportError as error:
                raise CaptureError(f"{self.name}: {_one_line(error)}; {_INSTALL}") from None
        return self._module

    def _configuration(self) -> dict[str, Any]:
        width, height = (side - side % 2 for side in self._config.size_wh)
        controls: dict[str, Any] = {}
        if "FrameDurationLimits" in self._camera.camera_controls:
            # What picamera2's FrameRate stands for; this name also replaces the 30 fps it sets by itself.
            period_us = round(1_000_000 / self._config.fps)
            controls["FrameDurationLimits"] = (period_us, period_us)
        configuration: dict[str, Any] = self._camera.create_video_configuration(
            main={"size": (width, height), "format": "RGB888"},  # libcamera's name for B, G, R in memory
            lores={"size": lores_size((width, height), self._config.lores_wh), "format": "YUV420"},
            # sYCC is full-range BT.601, as our YUV pictures are; the default for video would be limited-range
            # BT.709 or 601 depending on the size. It is the preview's default, taken from there so that
            # libcamera need not be imported.
            colour_space=self._camera.create_preview_configuration()["colour_space"],
            controls=controls,
            buffer_count=BUFFERS,
        )
        return configuration

    def _frame(self, request: Any) -> Frame:
        streams = request.config
        with self._module.MappedArray(request, "lores", reshape=False) as mapped_lores:
            lores = _bgr(_picture(mapped_lores.array, streams["lores"]))
        # Stays mapped while the frame is in use: leaving the context hands the memory back to the hardware.
        mapped = self._module.MappedArray(request, "main", reshape=False)
        mapped.__enter__()
        try:
            main = _picture(mapped.array, streams["main"])
            captured_ns = self._captured_ns(request.get_metadata())
        except _CAMERA_ERRORS:
            mapped.__exit__(None, None, None)
            raise
        with self._returned:
            self._in_use += 1
        seq, self._seq, self._latest_ns = self._seq, self._seq + 1, captured_ns
        return Frame(main, lores, captured_ns, seq, release=self._release_once(mapped, request))

    def _captured_ns(self, metadata: dict[str, Any]) -> int:
        """The sensor's time stamp as monotonic time.

        libcamera documents CLOCK_BOOTTIME, which runs on while a machine is suspended; some drivers stamp
        CLOCK_MONOTONIC. A stamp that lies ahead of now can only be of the former.
        """
        now_ns = self._clock.now_ns()
        stamp_ns = int(metadata.get("SensorTimestamp", now_ns))
        if stamp_ns > now_ns:
            stamp_ns = min(stamp_ns - self._boot_offset_ns, now_ns)
        return max(stamp_ns, self._latest_ns + 1)

    def _release_once(self, mapped: Any, request: Any) -> Callable[[], None]:
        """What gives a frame's buffer back; a second call does nothing."""
        pending = [(mapped, request)]

        def release() -> None:
            with self._returned:
                if not pending:
                    return
                mapping, owner = pending.pop()
            try:
                mapping.__exit__(None, None, None)
                owner.release()
            except _CAMERA_ERRORS:
                # The camera was closed under the frame. Its memory goes when the last view goes.
                pass
            finally:
                with self._returned:
                    self._in_use -= 1
                    self._returned.notify_all()

        return release

    def _close(self) -> None:
        if self._camera is None:
            return
        camera, self._camera = self._camera, None
        for shut in (camera.stop, camera.close):
            try:
                shut()
            except _CAMERA_ERRORS:
                continue  # a camera that was pulled out cannot be shut properly, and need not be


def _check_format(stream: dict[str, Any]) -> None:
    if stream["format"] not in ("RGB888", "YUV420", "NV12"):
        raise ValueError(f"it gives {stream['format']}, not RGB888, YUV420 or NV12")


def _picture(flat: NDArray[np.uint8], stream: dict[str, Any]) -> Picture:
    """Views of a stream's buffer without the padding at the end of its rows.

    Args:
        flat: uint8 [n], the whole buffer.
        stream: `format`, `size` (w, h) and `stride` in bytes, as configured.
    """
    (width, height), stride = stream["size"], stream["stride"]
    luma_bytes = stride * height
    rows = flat[:luma_bytes].reshape(height, stride)
    if stream["format"] == "RGB888":
        return rows[:, : width * 3].reshape(height, width, 3)
    chroma = flat[luma_bytes : luma_bytes + luma_bytes // 2]
    if stream["format"] == "NV12":
        pairs = chroma.reshape(height // 2, stride)[:, :width]
        return Yuv420(rows[:, :width], pairs[:, 0::2], pairs[:, 1::2])
    u, v = chroma.reshape(2, height // 2, stride // 2)[:, :, : width // 2]
    return Yuv420(rows[:, :width], u, v)


def _bgr(picture: Picture) -> BgrImage:
    return bgr_from_yuv(picture) if isinstance(picture, Yuv420) else np.array(picture)


def _size(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
