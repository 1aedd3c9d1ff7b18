"""A clock counts as set where somebody set it since the start: not because what it says is possible."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.wall_clock import kernel_kept, was_set

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RESTORED = datetime(2026, 11, 14, 9, 0, tzinfo=UTC)
"""What fake-hwclock saved at the last shutdown, ten days ago."""


def board(root: Path, wall: datetime, *, kept: bool | None = False, machine: str = "aarch64") -> bool:
    return was_set(wall, lambda: kept, root, machine)


def hardware_clock(root: Path, says: str, name: str = "rtc0") -> None:
    folder = root / "sys/class/rtc" / name
    folder.mkdir(parents=True)
    (folder / "since_epoch").write_text(says)


def timesyncd(root: Path, *, synchronized: bool) -> None:
    folder = root / "run/systemd/timesync"
    folder.mkdir(parents=True)
    if synchronized:
        (folder / "synchronized").touch()


def test_a_time_that_was_restored_from_the_last_shutdown_is_a_guess(tmp_path: Path) -> None:
    assert not board(tmp_path, RESTORED)
    timesyncd(tmp_path, synchronized=False)
    assert not board(tmp_path, RESTORED)
    assert not board(tmp_path, RESTORED, kept=None), "also where only timesyncd tells"


def test_the_network_sets_the_clock_whoever_says_so(tmp_path: Path) -> None:
    assert board(tmp_path, NOW, kept=True)
    timesyncd(tmp_path, synchronized=True)
    assert board(tmp_path, NOW, kept=False)
    assert board(tmp_path, NOW, kept=None)


def test_a_hardware_clock_counts_where_the_two_agree(tmp_path: Path) -> None:
    hardware_clock(tmp_path, f"{int(NOW.timestamp()) + 40}\n")
    assert board(tmp_path, NOW)
    assert not board(tmp_path, RESTORED)
    assert not board(tmp_path, RESTORED, machine="x86_64")


@pytest.mark.parametrize("says", ["17\n", ""])
def test_a_hardware_clock_without_a_battery_sets_nothing(tmp_path: Path, says: str) -> None:
    hardware_clock(tmp_path, says)
    assert not board(tmp_path, RESTORED)
    hardware_clock(tmp_path, str(int(RESTORED.timestamp())), "rtc1")
    assert board(tmp_path, RESTORED), "a second one has a battery"


def test_a_pc_or_container_whose_host_keeps_the_clock_is_not_called_unset(tmp_path: Path) -> None:
    assert board(tmp_path, NOW, machine="x86_64")
    assert board(tmp_path, NOW, kept=None), "nobody tells anything"
    offset = NOW.astimezone().utcoffset()
    assert offset is not None
    hardware_clock(tmp_path, str(int(NOW.timestamp() + offset.total_seconds())))
    assert board(tmp_path, NOW, machine="x86_64"), "local time, for another system's sake"


def test_a_time_before_this_program_is_never_right(tmp_path: Path) -> None:
    assert not board(tmp_path, datetime(1970, 1, 1, tzinfo=UTC), kept=True, machine="x86_64")


def test_a_clock_that_was_set_once_stays_set_and_one_that_was_not_is_asked_again() -> None:
    answers = [False, True, False]
    clock = SystemClock(lambda _: answers.pop(0))
    assert [clock.synced() for _ in range(4)] == [False, True, True, True]


def test_this_machine_answers() -> None:
    assert kernel_kept() in (True, False, None)
    assert SystemClock().synced(), "whoever runs these tests has set the clock"
