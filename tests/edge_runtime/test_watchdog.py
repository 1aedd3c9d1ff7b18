"""systemd hears of processed frames, over a real datagram socket, and of nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.watchdog import Watchdog

SECOND = 1_000_000_000


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_the_first_frame_makes_the_node_ready_and_the_end_is_told(manager: socket.socket) -> None:
    with Watchdog({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "8000000"}) as watchdog:
        assert heard(manager) == [], "not ready before a frame was processed"
        watchdog.fed(0)
        assert heard(manager) == ["READY=1\nWATCHDOG=1"]
    assert heard(manager) == ["STOPPING=1"]


def test_frames_feed_the_watchdog_four_times_a_period_and_silence_does_not(manager: socket.socket) -> None:
    with Watchdog({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "8000000"}) as watchdog:
        for frame in range(8 * 15):  # eight seconds at 15 frames a second
            watchdog.fed(frame * SECOND // 15)
        assert heard(manager) == ["READY=1\nWATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
        assert heard(manager) == []
        watchdog.fed(60 * SECOND)
        assert heard(manager) == ["WATCHDOG=1"]


def test_without_a_watchdog_period_only_readiness_is_told(manager: socket.socket) -> None:
    for period in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}):
        with Watchdog({"NOTIFY_SOCKET": manager.getsockname(), **period}) as watchdog:
            for second in range(100):
                watchdog.fed(second * SECOND)
        assert heard(manager) == ["READY=1\nWATCHDOG=1", "STOPPING=1"]


def test_an_abstract_name_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # Linux gives it an abstract name
        listener.setblocking(False)
        name = "@" + listener.getsockname()[1:].decode()
        with Watchdog({"NOTIFY_SOCKET": name}) as watchdog:
            watchdog.fed(0)
        assert heard(listener) == ["READY=1\nWATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "vsock:2:1234", "notify"])
def test_a_manager_that_is_not_there_stops_nothing(address: str) -> None:
    with Watchdog({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}) as watchdog:
        for second in range(3):
            watchdog.fed(second * SECOND)


def test_a_manager_that_reads_nothing_blocks_no_frame(manager: socket.socket) -> None:
    with Watchdog({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"}) as watchdog:
        for second in range(2000):  # far more than the socket's queue holds
            watchdog.fed(second * SECOND)
    assert len(heard(manager)) < 2000
