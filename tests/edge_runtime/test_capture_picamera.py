"""The Pi camera against a stand-in of picamera2 that is strict about buffers."""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np
import pytest

from edge_runtime.capture import LatestFrame
from edge_runtime.capture.picamera import PicameraSource
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import Yuv420
from edge_runtime.errors import CaptureError
from tests.builders import FakeClock
from tests.picamera2_standin import PADDING, POISON, colour_bgr, picamera2_module

# 300 x 3 bytes and 100 lores columns are no multiples of 64: both streams' rows are padded.
CONFIG = CameraConfig(source="picamera", size_wh=(300, 200), fps=30.0, lores_wh=(100, 80))


def test_main_is_an_unpadded_view_of_the_cameras_buffer_in_bgr() -> None:
    module = picamera2_module()
    with PicameraSource(CONFIG, SystemClock(), picamera2_module=module) as source:
        frame = source.read()
        assert frame is not None
        assert isinstance(frame.main, np.ndarray)
        assert frame.main.shape == (200, 300, 3)
        assert frame.main.strides == (960, 3, 1)
        assert (frame.main == colour_bgr(0)).all()
        frame.release()
        assert (frame.main == POISON).all(), "the view shares the camera's memory"


def test_lores_is_the_second_stream_in_bgr_at_the_frames_aspect() -> None:
    module = picamera2_module()
    with PicameraSource(CONFIG, SystemClock(), picamera2_module=module) as source:
        frame = source.read()
        assert frame is not None
        frame.release()
    assert frame.lores.shape == (66, 100, 3)
    assert np.abs(frame.lores.astype(int) - colour_bgr(0)).max() <= 2
    assert (frame.lores != PADDING).any()


@pytest.mark.parametrize("pixel_format", ["YUV420", "NV12"])
def test_a_yuv_main_stream_comes_as_plane_views(pixel_format: str) -> None:
    module = picamera2_module(main_format=pixel_format)
    with PicameraSource(CONFIG, SystemClock(), picamera2_module=module) as source:
        frame = source.read()
        assert frame is not None
        assert isinstance(frame.main, Yuv420)
        assert frame.size_wh == (300, 200)
        assert frame.main.u.shape == frame.main.v.shape == (100, 150)
        planes = [np.unique(plane).tolist() for plane in frame.main]
        frame.release()
    # Of B, G, R = 40, 60, 80: Y = 64; U = 128 - 24/1.772; V = 128 + 16/1.402.
    assert planes == [[64], [115], [140]]


def test_both_streams_are_asked_for_in_one_mode_at_full_range() -> None:
    module = picamera2_module()
    with PicameraSource(CONFIG, SystemClock(), picamera2_module=module):
        config = module.cameras[0].camera_configuration()
    assert config["main"]["format"] == "RGB888"
    assert config["main"]["size"] == (300, 200)
    assert config["lores"]["format"] == "YUV420"
    assert config["lores"]["size"] == (100, 66)
    assert config["controls"]["FrameDurationLimits"] == (33333, 33333)
    assert config["colour_space"] == "sYCC"


def test_releasing_gives_the_buffer_back_once() -> None:
    module = picamera2_module()
    with PicameraSource(CONFIG, SystemClock(), picamera2_module=module) as source:
        frames = [source.read() for _ in range(3)]
        assert module.cameras[0].free_buffers == 3
        for frame in frames:
            assert frame is not None
            frame.release()
            frame.release()
        assert module.cameras[0].free_buffers == 6


def test_many_more_frames_than_buffers_pass_through_the_mailbox() -> None:
    module = picamera2_module()
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=module)
    with LatestFrame(source, SystemClock(), 0.1, 1.0, lambda problem: None) as box:
        for _ in range(10):
            frame = box.get(5.0)
            assert frame is not None
            assert (frame.main == colour_bgr(frame.seq)).all()
            frame.release()
            deadline = time.monotonic() + 5
            while box.seen < frame.seq + 4 and time.monotonic() < deadline:  # three newer ones at least
                time.sleep(0.001)
    assert box.seen >= 30
    assert module.cameras[0].free_buffers == 6
    assert module.cameras[0].closed


def stamps_taken(count: int, stamps: tuple[int, ...], suspended_ns: int) -> list[int]:
    clock = FakeClock(1_000_000_000)
    source = PicameraSource(
        CONFIG,
        clock,
        picamera2_module=picamera2_module(stamps=stamps),
        boottime_ns=lambda: suspended_ns + clock.now_ns(),
    )
    taken: list[int] = []
    with source:
        for _ in range(count):
            frame = source.read()
            assert frame is not None
            taken.append(frame.captured_ns)
            frame.release()
    return taken


def test_a_boottime_stamp_becomes_monotonic_time() -> None:
    hour_ns = 3_600_000_000_000
    taken = stamps_taken(2, (hour_ns + 960_000_000, hour_ns + 990_000_000), suspended_ns=hour_ns)
    assert taken == [960_000_000, 990_000_000]


def test_a_stamp_that_is_monotonic_already_stays() -> None:
    assert stamps_taken(1, (960_000_000,), suspended_ns=3_600_000_000_000) == [960_000_000]


def test_a_missing_camera_is_one_line_with_the_remedy() -> None:
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=picamera2_module(no_camera=True))
    with pytest.raises(CaptureError, match=r"^picamera: no camera answers .*ribbon cable") as caught, source:
        pass
    assert "\n" not in str(caught.value)


def test_a_refused_mode_closes_the_camera_and_names_the_setting() -> None:
    module = picamera2_module(refuse="Invalid camera configuration")
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=module)
    with pytest.raises(CaptureError, match=r"300x200 .*camera\.size_wh"), source:
        pass
    assert module.cameras[0].closed


def test_a_format_we_cannot_read_is_refused_when_it_opens() -> None:
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=picamera2_module(main_format="MJPEG"))
    with pytest.raises(CaptureError, match="MJPEG"), source:
        pass


def test_a_camera_that_falls_silent_is_lost_and_no_request_stays_queued() -> None:
    module = picamera2_module(frames=1)
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=module)
    source._timeout_s = 0.05
    with source:
        frame = source.read()
        assert frame is not None
        frame.release()
        with pytest.raises(CaptureError, match="no frame for"):
            source.read()
    assert module.cameras[0].flushed == 1


def test_a_frame_may_outlive_its_camera() -> None:
    module = picamera2_module()
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=module)
    with source:
        frame = source.read()
    assert frame is not None
    assert (frame.main == colour_bgr(0)).all()
    frame.release()


def test_numbers_and_times_go_on_when_it_is_opened_again() -> None:
    source = PicameraSource(CONFIG, SystemClock(), picamera2_module=picamera2_module())
    frames = []
    for _ in range(2):
        with source:
            frame = source.read()
            assert frame is not None
            frame.release()
            frames.append(frame)
    assert [frame.seq for frame in frames] == [0, 1]
    assert frames[0].captured_ns < frames[1].captured_ns


@pytest.mark.skipif(find_spec("picamera2") is not None, reason="picamera2 is installed here")
def test_without_picamera2_the_message_says_how_to_install_it() -> None:
    source = PicameraSource(CONFIG, SystemClock())
    remedy = r"apt install python3-picamera2.*--system-site-packages"
    with pytest.raises(CaptureError, match=remedy), source:
        pass
