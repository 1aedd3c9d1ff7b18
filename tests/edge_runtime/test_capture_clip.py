"""Clip files: their times, their loops, and what is said of broken ones."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.capture import LatestFrame, demo_clip, open_source
from edge_runtime.capture.replay import ClipSource
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CaptureError
from tests.builders import FakeClock

CONFIG = CameraConfig(lores_wh=(32, 32))


def write_clip(path: Path, frames: int = 10, fps: float = 10.0, size_wh: tuple[int, int] = (64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size_wh)
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.full((size_wh[1], size_wh[0], 3), i * 20 % 256, np.uint8))
    writer.release()
    return path


def read_all(source: ClipSource, limit: int = 10_000) -> list[Frame]:
    frames: list[Frame] = []
    with source:
        while len(frames) < limit and (frame := source.read()) is not None:
            frames.append(frame)
    return frames


def test_frames_carry_the_clips_own_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    frames = read_all(ClipSource(clip, CONFIG, FakeClock(), start_ns=5_000_000_000))
    assert [frame.seq for frame in frames] == list(range(10))
    assert [round(frame.media_s or 0.0, 6) for frame in frames] == [i / 10 for i in range(10)]
    assert [frame.captured_ns for frame in frames] == [5_000_000_000 + i * 100_000_000 for i in range(10)]
    assert [float(np.mean(frame.main)) for frame in frames[:4]] == pytest.approx([0, 20, 40, 60], abs=2)
    assert frames[0].size_wh == (64, 48)
    assert frames[0].lores.shape == (24, 32, 3)


def test_a_loop_restarts_the_media_time_and_never_the_capture_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=3)
    frames = read_all(ClipSource(clip, CONFIG, FakeClock(), loop=True, start_ns=0), limit=7)
    assert [frame.seq for frame in frames] == [0, 1, 2, 3, 4, 5, 6]
    assert [round(frame.media_s or 0.0, 6) for frame in frames] == [0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 0.0]
    assert [round(frame.captured_ns / 1e8) for frame in frames] == [0, 1, 2, 3, 4, 5, 6]


def test_a_paced_clip_waits_for_each_frame_and_an_unpaced_one_never(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    for paced, slept_s in ((True, 0.9), (False, 0.0)):
        clock = FakeClock(7_000_000_000)
        frames = read_all(ClipSource(clip, CONFIG, clock, paced=paced))
        assert frames[0].captured_ns == 7_000_000_000
        assert (clock.now_ns() - 7_000_000_000) / 1e9 == pytest.approx(slept_s)


def test_two_fast_runs_give_the_same_pixels_and_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    first, second = (read_all(ClipSource(clip, CONFIG, SystemClock(), start_ns=0)) for _ in range(2))
    assert [frame.captured_ns for frame in first] == [frame.captured_ns for frame in second]
    assert all(np.array_equal(a.main, b.main) for a, b in zip(first, second, strict=True))


def test_the_demo_clip_is_shipped_and_whole() -> None:
    frames = read_all(ClipSource(demo_clip(), CONFIG, FakeClock()))
    assert len(frames) == 377
    assert frames[-1].media_s == pytest.approx(30.08, abs=0.001)
    assert frames[0].size_wh == (768, 432)


def test_the_demo_loops_and_a_file_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=2)
    with open_source(CameraConfig(source=str(clip)), FakeClock(), paced=False) as source:
        assert [source.read() is None for _ in range(3)] == [False, False, True]
    demo = open_source(CameraConfig(source="demo"), FakeClock())
    assert isinstance(demo, ClipSource)
    assert demo._loop
    once = open_source(CameraConfig(source="demo"), FakeClock(), loop=False)
    assert isinstance(once, ClipSource)
    assert not once._loop


def test_a_torn_clip_gives_what_it_has_and_then_says_where_it_is_torn(tmp_path: Path) -> None:
    whole = demo_clip().read_bytes()
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(whole[: len(whole) // 2])
    frames = 0
    with ClipSource(torn, CONFIG, FakeClock()) as source:
        with pytest.raises(CaptureError, match=r"torn\.mp4: torn: ends after \d+ of 377 frames, at \d") as caught:
            while source.read() is not None:
                frames += 1
        assert 100 < frames < 300
    assert "\n" not in str(caught.value)


def test_a_clip_torn_before_its_pictures_is_refused_when_it_opens(tmp_path: Path) -> None:
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(demo_clip().read_bytes()[:4860])
    with pytest.raises(CaptureError, match=r"no picture that can be decoded|not a clip"):
        read_all(ClipSource(torn, CONFIG, FakeClock()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (os.urandom(4000), "not a clip"), (None, "no such clip")],
)
def test_what_is_no_clip_is_refused_with_its_path_and_a_remedy(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaptureError) as caught:
        read_all(ClipSource(path, CONFIG, FakeClock()))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert ";" in str(caught.value)


def test_a_folder_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="not a file"):
        read_all(ClipSource(tmp_path, CONFIG, FakeClock()))


def test_a_paced_clip_runs_through_the_mailbox_to_its_last_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=8, fps=50.0)
    clock = SystemClock()
    times: list[float] = []
    with LatestFrame(ClipSource(clip, CONFIG, clock, paced=True), clock, 0.1, 1.0, lambda _: None) as box:
        while not box.ended:
            frame = box.get(5.0)
            if frame is not None:
                times.append(frame.media_s or 0.0)
                frame.release()
    assert times[-1] == pytest.approx(0.14)
    assert box.seen == 8
    assert len(times) + box.dropped == 8
