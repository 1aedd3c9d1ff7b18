"""A stand-in for picamera2 that keeps to its rules, since no Raspberry Pi is at hand.

What it keeps of the real one (0.3.22 and later): a configuration whose strides are known only after
`configure`; buffers that exist once and come back by `release`; `capture_request` that waits for a buffer and
for a frame; requests counted by references; `MappedArray` whose view is good only until it is left; sensor time
stamps. It is stricter where the real one would quietly give wrong pixels: memory of a released request is
poisoned, and a request must not be released while it is mapped.
"""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np

PADDING = 0xEE
POISON = 0xDB
STRIDE_BYTES = 64


def picamera2_module(**settings: Any) -> SimpleNamespace:
    """What `import picamera2` would give, with `settings` for `Picamera2`; `.cameras` are those opened."""
    cameras: list[Picamera2] = []

    def open_camera(camera_num: int = 0) -> Picamera2:
        camera = Picamera2(camera_num, **settings)
        cameras.append(camera)
        return camera

    return SimpleNamespace(Picamera2=open_camera, MappedArray=MappedArray, cameras=cameras)


def colour_bgr(number: int) -> tuple[int, int, int]:
    """The one colour of frame `number`."""
    return 40 + number * 7 % 100, 60 + number * 11 % 100, 80 + number * 13 % 100


class Picamera2:
    """The camera.

    Args:
        camera_num: as in picamera2.
        no_camera: opening fails as it does without a camera.
        refuse: what `configure` fails with.
        frames: how many frames come before the cable is pulled; None: no end.
        main_format: what libcamera makes of the asked format; None: grants it.
        stamps: the sensor time stamps of the frames, ns; beyond them CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        camera_num: int = 0,
        *,
        no_camera: bool = False,
        refuse: str = "",
        frames: int | None = None,
        main_format: str | None = None,
        stamps: tuple[int, ...] = (),
    ) -> None:
        if no_camera:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.camera_controls = {"FrameDurationLimits": (33333, 120000, 33333)}
        self.camera_config: dict[str, Any] | None = None
        self.started = False
        self.closed = False
        self.flushed = 0
        self.made = 0
        self._refuse = refuse
        self._frames = frames
        self._main_format = main_format
        self._stamps = stamps
        self._free: list[dict[str, np.ndarray]] = []
        self._changed = threading.Condition()

    def create_preview_configuration(self) -> dict[str, Any]:
        return {"colour_space": "sYCC"}

    def create_video_configuration(
        self,
        main: dict[str, Any],
        lores: dict[str, Any] | None = None,
        colour_space: Any = None,
        buffer_count: int = 6,
        controls: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        config = {
            "main": {"format": "XBGR8888", "size": (1280, 720)} | main,
            "lores": None if lores is None else {"format": "YUV420", "size": main["size"]} | lores,
            "colour_space": colour_space or "Rec709",
            "buffer_count": buffer_count,
            "controls": {"FrameDurationLimits": (33333, 33333)} | (controls or {}),
        }
        for stream in ("main", "lores"):
            if config[stream] is not None:
                width, height = config[stream]["size"]
                config[stream]["size"] = (width - width % 2, height - height % 2)
        return config

    def configure(self, config: dict[str, Any]) -> None:
        if self._refuse:
            raise RuntimeError(self._refuse)
        config = dict(config)
        if any(a > b for a, b in zip(config["lores"]["size"], config["main"]["size"], strict=True)):
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        config["main"] = config["main"] | {"format": self._main_format or config["main"]["format"]}
        for name in ("main", "lores"):
            stream = config[name] = dict(config[name])
            width, height = stream["size"]
            row_bytes = width * 3 if stream["format"] == "RGB888" else width
            stream["stride"] = -(-row_bytes // STRIDE_BYTES) * STRIDE_BYTES
            stream["framesize"] = stream["stride"] * height * (2 if stream["format"] == "RGB888" else 3) // 2
        self.camera_config = config

    def camera_configuration(self) -> dict[str, Any]:
        assert self.camera_config is not None
        return self.camera_config

    def start(self) -> None:
        assert self.camera_config is not None, "start needs configure"
        sizes = {name: self.camera_config[name]["framesize"] for name in ("main", "lores")}
        for _ in range(self.camera_config["buffer_count"]):
            self._free.append({name: np.full(size, POISON, np.uint8) for name, size in sizes.items()})
        self.started = True

    def stop(self) -> None:
        self.started = False

    def close(self) -> None:
        self.closed = True

    def cancel_all_and_flush(self) -> None:
        self.flushed += 1

    @property
    def free_buffers(self) -> int:
        with self._changed:
            return len(self._free)

    def capture_request(self, wait: float | None = None) -> Request:
        """The next frame; waits for a free buffer, for ever unless `wait` gives seconds."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: self._free and (self._frames is None or self.made < self._frames), wait
            )
            if not arrived:
                raise TimeoutError
            if not self.started:
                raise RuntimeError("Camera is not started")
            buffers = self._free.pop(0)
            number, self.made = self.made, self.made + 1
        assert self.camera_config is not None
        for name, memory in buffers.items():
            _fill(memory, self.camera_config[name], number)
        boottime_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        stamp = self._stamps[number] if number < len(self._stamps) else boottime_ns
        return Request(self, buffers, stamp)

    def recycle(self, buffers: dict[str, np.ndarray]) -> None:
        for memory in buffers.values():
            memory[:] = POISON
        with self._changed:
            self._free.append(buffers)
            self._changed.notify_all()


class Request:
    """A completed request: one frame's buffers, held until its references are released."""

    def __init__(self, camera: Picamera2, buffers: dict[str, np.ndarray], stamp_ns: int) -> None:
        self.ref_count = 1
        self.mapped = 0
        self.config: dict[str, Any] | None = dict(camera.camera_configuration())
        self._camera = camera
        self._buffers = buffers
        self._stamp_ns = stamp_ns
        self._lock = threading.Lock()

    def acquire(self) -> None:
        with self._lock:
            if self.ref_count == 0:
                raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
            self.ref_count += 1

    def release(self) -> None:
        with self._lock:
            self.ref_count -= 1
            if self.ref_count < 0:
                raise AssertionError("released more often than acquired")
            if self.ref_count == 0:
                assert self.mapped == 0, "released while still mapped"
                self.config = None
                self._camera.recycle(self._buffers)

    def get_metadata(self) -> dict[str, Any]:
        self.check_held()
        return {"SensorTimestamp": self._stamp_ns, "ExposureTime": 10_000, "Lux": 120.0}

    def memory(self, stream: str) -> np.ndarray:
        self.check_held()
        return self._buffers[stream]

    def make_buffer(self, stream: str) -> np.ndarray:
        return self.memory(stream).copy()

    def check_held(self) -> None:
        if self.ref_count == 0:
            raise AssertionError("a released request was used")


class MappedArray:
    """A stream's memory without a copy; `.array` is flat, or shaped by the stream's format."""

    def __init__(self, request: Request, stream: str, reshape: bool = True, write: bool = True) -> None:
        request.check_held()
        self._request = request
        self._stream = stream
        self._reshape = reshape
        self.array: np.ndarray | None = None

    def __enter__(self) -> MappedArray:
        array = self._request.memory(self._stream)
        self._request.mapped += 1
        if self._reshape:
            assert self._request.config is not None
            stream = self._request.config[self._stream]
            (width, height), stride = stream["size"], stream["stride"]
            if stream["format"] == "RGB888":
                array = array[: height * stride].reshape(height, stride)[:, : width * 3]
                array = array.reshape(height, width, 3)
            elif stream["format"] == "YUV420":
                array = array.reshape(height * 3 // 2, stride)
            else:
                raise RuntimeError(f"Format {stream['format']} not supported")
        self.array = array
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request.check_held()
        self._request.mapped -= 1
        self.array = None


def _fill(memory: np.ndarray, stream: dict[str, Any], number: int) -> None:
    """Paint the frame's colour, row by row, and leave `PADDING` at the end of each row."""
    (width, height), stride = stream["size"], stream["stride"]
    blue, green, red = colour_bgr(number)
    memory[:] = PADDING
    rows = memory[: height * stride].reshape(height, stride)
    if stream["format"] == "RGB888":  # libcamera's name for B, G, R in memory
        rows[:, : width * 3] = np.tile((blue, green, red), width)
        return
    # JFIF, equations of ITU-T T.871: full range.
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    u, v = 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402
    rows[:, :width] = round(luma)
    chroma = memory[height * stride : height * stride * 3 // 2]
    if stream["format"] == "NV12":
        chroma.reshape(height // 2, stride)[:, :width] = np.tile((round(u), round(v)), width // 2)
    else:
        for plane, value in zip(chroma.reshape(2, height // 2, stride // 2), (u, v), strict=True):
            plane[:, : width // 2] = round(value)
