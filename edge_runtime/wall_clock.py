"""Whether somebody set the wall clock since the machine started: the network, a battery-backed clock, or a host."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""Nothing of ours ran before."""
RTC_OFF_S = 300.0
"""Farther from each other the wall clock and the hardware clock are not of one mind."""
TIME_ERROR = 5
"""What adjtimex(2) returns while nobody keeps the kernel's clock (STA_UNSYNC)."""
PC = ("x86_64", "AMD64", "i686", "i386")
"""Their kernel takes the time from the firmware, or in a virtual machine from the host, whenever it starts."""


def kernel_kept() -> bool | None:
    """Whether the kernel's clock is kept by the network; None: it does not tell, as in some sandboxes.

    https://man7.org/linux/man-pages/man2/adjtimex.2.html
    """
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    asked = (ctypes.c_long * 64)()  # struct timex (208 bytes or fewer); its first field, `modes`, is 0: nothing is set
    state = adjtimex(asked)
    return None if state < 0 else state != TIME_ERROR


def was_set(
    wall: datetime,
    kept: Callable[[], bool | None] = kernel_kept,
    root: Path = Path("/"),
    machine: str | None = None,
) -> bool:
    """Whether the wall clock was set since the machine started, by the first of these that knows:

    1. Before 2026 it was not.
    2. It was where the kernel's clock is kept by the network, or systemd-timesyncd has left its mark in /run.
    3. Where there is a hardware clock, it was if the two agree. One without a battery (a Pi 5's) begins in 1970, and
       what systemd or fake-hwclock restore is the time of the last shutdown.
    4. A PC's was, and so was that of a virtual machine or container on one: see `PC`.
    5. It was not, if the kernel or systemd-timesyncd say that nobody set it yet.
    6. Where nobody tells, nothing speaks against it.

    What is not found out: that a person set the clock of a board by hand, and that the battery was changed without the
    hardware clock being set.

    Args:
        wall: what the wall clock says, aware.
        kept: whether the kernel's clock is kept by the network; None where it does not tell.
        root: of the file system.
        machine: its architecture; None: this one's.
    """
    if wall < EARLIEST:
        return False
    told, timesync = kept(), root / "run/systemd/timesync"
    if told or (timesync / "synchronized").exists():
        return True
    if hardware := _hardware_s(root):
        # Beside another system on the same PC the hardware clock may hold local time.
        offset = wall.astimezone().utcoffset()
        offsets_s = 0.0, 0.0 if offset is None else offset.total_seconds()
        return any(abs(at_s - off_s - wall.timestamp()) <= RTC_OFF_S for at_s in hardware for off_s in offsets_s)
    if (machine or platform.machine()) in PC:
        return True
    return told is None and not timesync.exists()


def _hardware_s(root: Path) -> list[int]:
    """What the hardware clocks say, in seconds since 1970."""
    found = []
    for file in (root / "sys/class/rtc").glob("*/since_epoch"):
        try:
            found.append(int(file.read_text()))
        except (OSError, ValueError):  # one that stood still says nothing, until it is set
            continue
    return found
