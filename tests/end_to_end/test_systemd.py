"""The node as a service of systemd's: ready with its first frame, alive by its frames, and by nothing else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy/systemd/edge-runtime.service"
START_S = 120.0
"""A node starts within seconds; a busy machine takes its time."""
SILENT_S = 4.0
"""Eight times as long as the watchdog waits between two messages in these tests."""


class Camera(ThreadingHTTPServer):
    """A network camera (MJPEG over HTTP) whose pictures can be held back while its connections stay open."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pictures)
        self.flowing, self.closing = threading.Event(), False
        noise = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
        self.jpegs = [
            bytes(cv2.imencode(".jpg", np.roll(noise, 8 * i, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 60])[1])
            for i in range(20)
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video.mjpg"


class _Pictures(BaseHTTPRequestHandler):
    server: Camera

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        n = 0
        while not self.server.closing:
            if not self.server.flowing.wait(0.1):
                continue
            jpeg, n = self.server.jpegs[n % len(self.server.jpegs)], n + 1
            try:
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")
            except OSError:
                return
            time.sleep(1 / 15)


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.closing = True
        server.shutdown()


class Manager:
    """What systemd is to a service: the socket it speaks to, and what was heard there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait(self, timeout_s: float) -> str | None:
        """The next message."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return None

    def drain(self) -> None:
        """Forget what has come so far."""
        while self.wait(0.01) is not None:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


@pytest.mark.timeout(400)
def test_a_service_is_ready_with_its_first_frame_and_alive_while_frames_flow(
    camera: Camera, manager: Manager, tmp_path: Path
) -> None:
    node = subprocess.Popen(
        [
            sys.executable, "-m", "edge_runtime.cli", "--camera", camera.url, "--state", str(tmp_path / "state"),
            "--set", "camera.retry_max_s=0.5",
        ],
        env=os.environ | {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert manager.wait(SILENT_S) is None, "no frame, not ready"
        camera.flowing.set()
        assert manager.wait(START_S) == "READY=1\nWATCHDOG=1"
        assert [manager.wait(START_S) for _ in range(4)] == ["WATCHDOG=1"] * 4

        camera.flowing.clear()
        time.sleep(2.0)  # what is under way
        manager.drain()
        assert manager.wait(SILENT_S) is None, "the program lives, its camera is connected, no frame comes"
        assert node.poll() is None

        camera.flowing.set()
        assert [manager.wait(START_S) for _ in range(3)] == ["WATCHDOG=1"] * 3

        node.send_signal(signal.SIGTERM)
        _, said = node.communicate(timeout=60)
        assert node.returncode == 0, said
        heard = list(iter(lambda: manager.wait(0.5), None))
        assert heard[-1] == "STOPPING=1" and set(heard) <= {"WATCHDOG=1", "STOPPING=1"}
    finally:
        node.kill()
        node.wait()


@pytest.mark.timeout(400)
def test_a_loop_that_hangs_feeds_nothing_though_the_program_lives(manager: Manager, tmp_path: Path) -> None:
    """The frame loop is held up in the middle of a frame: nobody reads the pipe that it writes its events to."""
    os.mkfifo(tmp_path / "events")
    node = subprocess.Popen(
        [
            sys.executable, "-m", "edge_runtime.cli", "--camera", "demo", "--set", "mqtt.broker=none", "--set",
            "web.listen=", "--state", str(tmp_path / "state"), "--events", str(tmp_path / "events"), "--set",
            "events.update_s=0.1",
        ],
        env=os.environ | {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    reader = os.open(tmp_path / "events", os.O_RDONLY)
    try:
        assert manager.wait(START_S) == "READY=1\nWATCHDOG=1"
        deadline = time.monotonic() + START_S
        while manager.wait(SILENT_S) is not None:  # until the pipe is full
            assert time.monotonic() < deadline
        assert node.poll() is None
        os.set_blocking(reader, False)
        while manager.wait(0.2) is None:  # read on, and frames go on
            assert time.monotonic() < deadline
            try:
                os.read(reader, 1 << 20)
            except BlockingIOError:
                continue
    finally:
        node.kill()
        node.wait()
        os.close(reader)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    (program,) = re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)
    there = tmp_path / "edge-runtime"
    there.write_text("#!/bin/sh\n")
    there.chmod(0o755)
    (tmp_path / UNIT.name).write_text(text.replace(program, str(there)))
    done = subprocess.run(["systemd-analyze", "verify", str(tmp_path / UNIT.name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_waits_longer_than_a_camera_takes_to_come_back_and_its_options_are_known() -> None:
    from edge_runtime import cli, config
    from edge_runtime.capture.opencv import STREAM_TIMEOUT_MS
    from edge_runtime.runner import DRAIN_S

    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    camera = config.Config().camera
    assert float(settings["WatchdogSec"]) > camera.retry_max_s + 2 * STREAM_TIMEOUT_MS / 1000
    assert float(settings["TimeoutStopSec"]) > DRAIN_S + 2
    cli._parser().parse_args(settings["ExecStart"].split()[1:])
    assert settings["Type"] == "notify"
