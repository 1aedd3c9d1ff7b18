"""The folder that holds a node's state: private to its owner, used by one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_runtime.errors import StorageError

LOCK_NAME = "lock"
PRIVATE = 0o700


class StateFolder:
    """Holds the folder's lock for as long as it is entered; makes the folder (mode 0700) if there is none.

    The lock is flock(2): the kernel drops it when the process ends, however it ends, so none is ever stale.

    Args:
        path: the folder.

    Raises:
        StorageError: on entering: it cannot be made or written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            lock = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"{self.path}: the state folder cannot be used ({error.strerror}); "
                "give a folder that can be written, with --state"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise StorageError(
                f"{self.path}: the state folder is in use by another process (pid {owner or 'unknown'}); "
                "stop that one, or give this one its own folder with --state"
            ) from None
        except OSError as error:
            os.close(lock)
            raise StorageError(
                f"{self.path}: the state folder cannot be locked ({error.strerror}); put it on a local disk"
            ) from error
        try:
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
        except OSError:
            pass  # a full disk: the lock holds all the same, only its owner stays unnamed
        self._lock = lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
