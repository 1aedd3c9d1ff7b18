"""A real Mosquitto on loopback that a test can stop and start again."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

BINARY = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
DEADLINE_S = 10.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """Starts when entered, on one port for all its lives; retained messages survive a restart."""

    def __init__(self, folder: Path, more: str = "") -> None:
        assert BINARY is not None
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            # Started by root, it would become another user, who could not keep sessions in this folder.
            f"persistence_location {folder}/\nautosave_interval 1\nuser {getpass.getuser()}\n{more}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `--broker`."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return once it listens."""
        assert BINARY is not None
        self._process = subprocess.Popen([BINARY, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("Mosquitto did not start")

    def signal(self, number: signal.Signals) -> None:
        """SIGHUP: read the configuration again; SIGSTOP: hang; SIGCONT: go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Stop it, and return once it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None
