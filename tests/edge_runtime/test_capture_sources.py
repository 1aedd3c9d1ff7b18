"""Which source a setting means, cameras and streams that are not there, made-up scenes, the small picture."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.capture import LatestFrame, demo_clip, open_source
from edge_runtime.capture.opencv import StreamSource, V4l2Source, video_devices
from edge_runtime.capture.picamera import PicameraSource
from edge_runtime.capture.replay import ClipSource
from edge_runtime.capture.source import masked
from edge_runtime.capture.synthetic import SyntheticSource
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import Yuv420
from edge_runtime.errors import CaptureError, ConfigError
from edge_runtime.imaging.colour import bgr_from_yuv
from edge_runtime.imaging.lores import lores_size, make_lores
from edge_runtime.shipped import shipped
from tests.builders import FakeClock

SMALL = CameraConfig(size_wh=(160, 120), fps=10.0, lores_wh=(80, 80))


class FakeDevice:
    """What `cv2.VideoCapture` is to the reader: grabs, stamps and pictures by script."""

    def __init__(self, opens: bool = True, stamps_ms: tuple[float, ...] = (0.0,), torn: int = 0) -> None:
        self.settings: dict[int, float] = {}
        self.released = False
        self._opens = opens
        self._stamps_ms = list(stamps_ms)
        self._torn = torn

    def __call__(self, name: str, backend: int, parameters: list[int]) -> FakeDevice:
        assert backend == cv2.CAP_V4L2
        return self

    def isOpened(self) -> bool:
        return self._opens

    def set(self, key: int, value: float) -> None:
        self.settings[key] = value

    def get(self, key: int) -> float:
        assert key == cv2.CAP_PROP_POS_MSEC
        return self._stamp_ms

    def grab(self) -> bool:
        if not self._stamps_ms:
            return False
        self._stamp_ms = self._stamps_ms.pop(0)
        return True

    def retrieve(self) -> tuple[bool, Any]:
        if self._torn:
            self._torn -= 1
            return False, None
        return True, np.zeros((120, 160, 3), np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    for name in ("video0", "video2", "video10", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("0", V4l2Source, "camera 0"),
        ("/dev/video2", V4l2Source, "/dev/video2"),
        ("picamera", PicameraSource, "picamera"),
        ("rtsp://me:secret@cam/live", StreamSource, "rtsp://***@cam/live"),
        ("http://cam/video.mjpg", StreamSource, "http://cam/video.mjpg"),
        ("synthetic", SyntheticSource, "synthetic scene"),
        ("some/clip.mp4", ClipSource, "some/clip.mp4"),
        ("demo", ClipSource, str(demo_clip())),
    ],
)
def test_the_setting_names_its_source(source: str, kind: type, name: str) -> None:
    opened = open_source(CameraConfig(source=source), FakeClock())
    assert type(opened) is kind
    assert opened.name == name


@pytest.mark.parametrize("source", ["", "gopher://u:p@host/x"])
def test_a_setting_that_names_nothing_is_refused(source: str) -> None:
    with pytest.raises(CaptureError) as caught:
        open_source(CameraConfig(source=source), FakeClock())
    assert "u:p" not in str(caught.value)


def test_a_missing_camera_is_refused_with_the_list_of_those_there(dev: Path) -> None:
    with pytest.raises(CaptureError) as caught, V4l2Source("9", SMALL, FakeClock(), folder=dev):
        pass
    assert str(caught.value) == (f"camera 9: no {dev}/video9; cameras here: {dev}/video0, {dev}/video2, {dev}/video10")
    assert [path.name for path in video_devices(dev)] == ["video0", "video2", "video10"]


def test_without_any_camera_the_demo_is_offered(tmp_path: Path) -> None:
    source = V4l2Source("0", SMALL, FakeClock(), folder=tmp_path)
    with pytest.raises(CaptureError, match="no camera is there: plug one in, or try --camera demo"), source:
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every file")
def test_a_camera_without_permission_names_the_group(dev: Path) -> None:
    (dev / "video0").chmod(0)
    with pytest.raises(CaptureError, match="group video"), V4l2Source("0", SMALL, FakeClock(), folder=dev):
        pass


def test_a_device_that_is_no_camera_is_refused_in_one_line(dev: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be opened as a camera") as caught:
        V4l2Source("0", SMALL, FakeClock(), folder=dev).__enter__()
    assert "\n" not in str(caught.value)


def test_a_camera_is_asked_for_mjpg_before_its_size_and_for_one_buffer(dev: Path) -> None:
    device = FakeDevice()
    with V4l2Source("0", SMALL, FakeClock(), folder=dev, open_device=device):
        pass
    assert list(device.settings) == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
        cv2.CAP_PROP_BUFFERSIZE,
    ]
    assert list(device.settings.values())[1:] == [160, 120, 10.0, 1]
    assert device.released


def test_a_plausible_driver_stamp_is_taken_and_any_other_is_not(dev: Path) -> None:
    device = FakeDevice(stamps_ms=(9_950.0, 0.0, 50.0, 10_500.0))
    clock = FakeClock(10_000_000_000)
    with V4l2Source("0", SMALL, clock, folder=dev, open_device=device) as source:
        frames = [source.read() for _ in range(4)]
        times = [frame.captured_ns for frame in frames if frame is not None]
        assert times == [9_950_000_000, 10_000_000_000, 10_000_000_001, 10_000_000_002]
        with pytest.raises(CaptureError, match="camera 0: no more pictures"):
            source.read()


def test_one_torn_picture_is_passed_over(dev: Path) -> None:
    device = FakeDevice(stamps_ms=(0.0, 0.0, 0.0), torn=2)
    with V4l2Source("0", SMALL, FakeClock(), folder=dev, open_device=device) as source:
        frame = source.read()
        assert frame is not None
        assert frame.seq == 0


@pytest.mark.skipif(not video_devices(), reason="no /dev/video* here (v4l2loopback would make one)")
def test_a_real_camera_gives_a_frame() -> None:
    index = str(video_devices()[0]).removeprefix("/dev/video")
    with V4l2Source(index, SMALL, SystemClock()) as source:
        assert source.read() is not None


def test_a_refused_stream_is_told_quickly_and_without_its_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    before = time.monotonic()
    source = StreamSource(f"rtsp://me:hunter2@127.0.0.1:{port}/live?token=hunter2", SMALL, SystemClock())
    with pytest.raises(CaptureError) as caught, source:
        pass
    assert time.monotonic() - before < 5
    assert str(caught.value).startswith(f"rtsp://***@127.0.0.1:{port}/live: no stream within 5 s; check")
    assert "hunter2" not in str(caught.value)


def test_opencv_and_ffmpeg_write_nothing_of_their_own(tmp_path: Path) -> None:
    # In a process of its own: FFmpeg's level is fixed when a process first uses it.
    (tmp_path / "video0").touch()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 16)
    script = f"""
from pathlib import Path
from edge_runtime.capture.opencv import StreamSource, V4l2Source
from edge_runtime.capture.replay import ClipSource
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig
from edge_runtime.errors import CaptureError
config, clock, folder = CameraConfig(), SystemClock(), Path({str(tmp_path)!r})
for source in (
    V4l2Source("0", config, clock, folder=folder),
    ClipSource(folder / "noise.mp4", config, clock),
    StreamSource("rtsp://127.0.0.1:1/live", config, clock),
):
    try:
        source.__enter__()
    except CaptureError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3


def test_a_stream_that_never_answers_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        before = time.monotonic()
        source = StreamSource(f"rtsp://127.0.0.1:{port}/live", SMALL, SystemClock(), timeout_ms=300)
        with pytest.raises(CaptureError, match=r"no stream within 0\.3 s"), source:
            pass
        assert time.monotonic() - before < 5


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def clip_url() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(demo_clip().parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/demo.mp4"
        server.shutdown()
        thread.join()


def test_a_network_stream_is_read_and_reopened_by_the_mailbox_when_it_breaks_off(clip_url: str) -> None:
    problems: list[str] = []
    source = StreamSource(clip_url, SMALL, SystemClock())
    with LatestFrame(source, SystemClock(), 0.01, 0.1, problems.append) as box:
        deadline = time.monotonic() + 60
        while box.reopened < 1 and time.monotonic() < deadline:
            frame = box.get(1.0)
            if frame is not None:
                assert frame.size_wh == (768, 432)
                assert frame.lores.shape == (44, 80, 3) or frame.lores.shape == (46, 80, 3)
                frame.release()
    assert box.reopened >= 1
    assert box.seen > 377
    assert problems[0] == f"{clip_url}: the stream broke off; check the network and the camera; trying again"
    assert problems[1].startswith(f"{clip_url}: back after ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("rtsp://user:pass@host:554/live", "rtsp://***@host:554/live"),
        ("rtsp://user:p@s/s@host/live", "rtsp://***@host/live"),
        ("http://host/snap?user=a&pwd=b", "http://host/snap"),
        ("rtsp://host/user=a&password=b&channel=1", "rtsp://host/user=a&password=***&channel=1"),
    ],
)
def test_secrets_are_cut_out_of_addresses(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(user=st.text(min_size=1), password=st.text("abc/@:?#%é", min_size=3))
def test_no_password_survives_masking(user: str, password: str) -> None:
    assert masked(f"rtsp://{user}:{password}@host/live") == "rtsp://***@host/live"


def test_a_synthetic_scene_is_the_same_each_time_and_another_for_another_seed() -> None:
    with SyntheticSource(SMALL, FakeClock(), seed=3, frames=3) as source:
        frames = [source.read() for _ in range(4)]
    assert frames[3] is None
    again, other = SyntheticSource(SMALL, FakeClock(), seed=3), SyntheticSource(SMALL, FakeClock(), seed=4)
    assert frames[2] is not None
    assert np.array_equal(frames[2].main, again.picture(2))
    assert not np.array_equal(frames[2].main, other.picture(2))
    assert [frame.media_s for frame in frames if frame is not None] == [0.0, 0.1, 0.2]


def test_a_synthetic_scene_moves_only_inside_its_true_boxes() -> None:
    source = SyntheticSource(CameraConfig(size_wh=(320, 240), fps=15.0), FakeClock(), seed=1)
    labels: set[str] = set()
    for seq in range(0, 400, 7):
        inside = np.zeros((240, 320), np.bool_)
        truth = source.truth(seq)
        for label, (x1, y1, x2, y2) in truth:
            assert 0 <= x1 < x2 <= 320
            assert 0 <= y1 < y2 <= 240
            inside[int(y1) : int(y2), int(x1) : int(x2)] = True
            labels.add(label)
        painted = (source.picture(seq) != source._ground).any(axis=2)
        assert not (painted & ~inside).any()
        if truth:
            assert painted[inside].mean() > 0.4
    assert labels == {"car", "person"}


def test_the_small_picture_keeps_the_aspect_and_never_grows() -> None:
    assert lores_size((1280, 720), (320, 240)) == (320, 180)
    assert lores_size((720, 1280), (320, 240)) == (136, 240)
    assert lores_size((160, 120), (320, 240)) == (160, 120)
    picture = np.full((120, 160, 3), 77, np.uint8)
    small = make_lores(picture, (320, 240))
    picture[:] = 0
    assert (small == 77).all()


@given(
    main_w=st.integers(2, 5000),
    main_h=st.integers(2, 5000),
    into_w=st.integers(32, 1000),
    into_h=st.integers(32, 1000),
)
def test_the_small_picture_is_even_and_fits(main_w: int, main_h: int, into_w: int, into_h: int) -> None:
    width, height = lores_size((main_w, main_h), (into_w, into_h))
    assert width % 2 == height % 2 == 0
    assert 2 <= width <= min(into_w, main_w)
    assert 2 <= height <= min(into_h, main_h)


def test_full_range_yuv_views_become_their_colour() -> None:
    wide = np.full((4, 16), 200, np.uint8)
    wide[:, :8] = 76
    u, v = np.full((2, 4), 85, np.uint8), np.full((2, 8), 255, np.uint8)
    picture = bgr_from_yuv(Yuv420(wide[:, :8], u, v[:, ::2]))
    assert picture.shape == (4, 8, 3)
    assert np.abs(picture.astype(int) - (0, 0, 254)).max() <= 2


def test_a_file_that_is_not_shipped_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "a.onnx").touch()
    assert shipped("a.onnx", (tmp_path, tmp_path / "second")) == tmp_path / "second" / "a.onnx"
    with pytest.raises(ConfigError, match=r"b\.onnx: not shipped"):
        shipped("b.onnx", (tmp_path,))
