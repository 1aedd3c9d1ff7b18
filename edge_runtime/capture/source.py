"""What a camera, stream or clip is to the rest of the program, and which one a setting means."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from edge_runtime.clock import Clock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CaptureError, ConfigError
from edge_runtime.shipped import shipped

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "udp", "tcp")
SYNTHETIC_ONCE_FRAMES = 300


class Source(Protocol):
    """Where frames come from. It may be entered again after it was left: a lost camera is reopened so.

    Attributes:
        name: for people, without secrets: `camera 0`, the clip's path.
        live: whether frames come by themselves; false for a clip, which cannot be lost and found again.
    """

    name: str
    live: bool

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            CaptureError: it is not there or gives no picture.
        """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; never raises."""

    def read(self) -> Frame | None:
        """The next frame, after waiting for it; None when the clip has ended.

        Raises:
            CaptureError: the device is lost, or the clip is torn.
        """


def open_source(
    config: CameraConfig,
    clock: Clock,
    *,
    loop: bool | None = None,
    paced: bool = True,
    start_ns: int | None = None,
) -> Source:
    """The source that `config.source` names, not yet entered.

    Args:
        config: the camera's settings.
        clock: where times come from.
        loop: whether a clip starts again at its end; None: the demo and synthetic scenes do, a file does not.
        paced: whether a clip's frames come at their own times, or as fast as they are read.
        start_ns: the `captured_ns` of a clip's first frame; None: the moment it is read.

    Raises:
        CaptureError: `config.source` names nothing.
    """
    source = config.source.strip()
    if source.isdecimal() or re.fullmatch(r"/dev/video\d+", source):
        from edge_runtime.capture.opencv import V4l2Source

        return V4l2Source(source, config, clock)
    if source == "picamera":
        from edge_runtime.capture.picamera import PicameraSource

        return PicameraSource(config, clock)
    if source == "synthetic":
        from edge_runtime.capture.synthetic import SyntheticSource

        frames = SYNTHETIC_ONCE_FRAMES if loop is False else None
        return SyntheticSource(config, clock, frames=frames, paced=paced, start_ns=start_ns)
    scheme, separator, _ = source.partition("://")
    if separator:
        if scheme.lower() not in STREAM_SCHEMES:
            raise CaptureError(
                f"{masked(source)}: streams of this kind are not read; known: {', '.join(STREAM_SCHEMES)}"
            )
        from edge_runtime.capture.opencv import StreamSource

        return StreamSource(source, config, clock)
    if not source:
        raise CaptureError("camera.source is empty; give 0, picamera, rtsp://..., a clip or demo")
    from edge_runtime.capture.replay import ClipSource

    demo = source == "demo"
    path = demo_clip() if demo else Path(source).expanduser()
    return ClipSource(path, config, clock, loop=demo if loop is None else loop, paced=paced, start_ns=start_ns)


def demo_clip() -> Path:
    """The clip that comes with the program.

    Raises:
        CaptureError: the installation lacks it.
    """
    try:
        return shipped("demo.mp4")
    except ConfigError as error:
        raise CaptureError(str(error)) from None


def masked(url: str) -> str:
    """`url` fit for a message: user, password and query, which may hold secrets, are cut out.

    Cameras' passwords hold any character, `/` and `@` too, so all before the last `@` goes.
    """
    scheme, separator, rest = url.partition("://")
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    rest = re.sub(r"(?i)(pass\w*|pwd|token)=[^&/]*", r"\1=***", rest.partition("?")[0])
    return scheme + separator + rest
