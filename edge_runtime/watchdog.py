"""Tells systemd that the node is up and goes on: sd_notify(3) over NOTIFY_SOCKET, fed by processed frames alone.

A timer would go on feeding while no frame is processed. So a node whose camera or network hangs is restarted by
systemd after WatchdogSec (a minute, say: longer than a camera takes to come back by itself), and one whose first frame
never comes is not up (`Type=notify`).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Self

FEEDS_A_PERIOD = 4
"""Messages in each WatchdogSec; systemd asks for two at the least (sd_watchdog_enabled(3))."""


class Watchdog:
    """One verb: `fed`, with every processed frame. Does nothing where no service manager listens.

    Args:
        environment: NOTIFY_SOCKET says where systemd listens, WATCHDOG_USEC how long it waits.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte with which Linux's abstract names begin; other families are for containers.
        self._address = "\0" + address[1:] if address.startswith("@") else address if address.startswith("/") else ""
        period = environment.get("WATCHDOG_USEC", "")
        self._every_ns = int(period) * 1000 // FEEDS_A_PERIOD if period.isdecimal() and int(period) else None
        self._fed_ns: int | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send("STOPPING=1")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fed(self, now_ns: int) -> None:
        """A frame was processed: the first makes the node ready, each after that keeps it alive."""
        if self._fed_ns is None:
            self._send("READY=1\nWATCHDOG=1")
        elif self._every_ns is None or now_ns - self._fed_ns < self._every_ns:
            return
        else:
            self._send("WATCHDOG=1")
        self._fed_ns = now_ns

    def _send(self, message: str) -> None:
        """Send it, or lose it: a manager that is away or busy must not stop the frames."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(message.encode(), self._address)
