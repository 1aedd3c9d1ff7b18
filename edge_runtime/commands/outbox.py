"""`edge-runtime outbox`: the events that wait on disk for a broker; it only looks, also beside a running node."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.config import Config
from edge_runtime.errors import StorageError
from edge_runtime.publishing.outbox_file import BUSY_S, check, mapped_errors


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an outbox holds.

    Attributes:
        file: the database.
        events: how many wait.
        bytes: of their payloads.
        max_bytes: that are kept at most, `outbox.max_bytes`.
        last_seq: number of the newest event ever told.
        oldest: the event that waits longest, as it will be sent; None: none waits.
        newest: the last one.
    """

    file: str
    events: int
    bytes: int
    max_bytes: int
    last_seq: int
    oldest: dict[str, Any] | None
    newest: dict[str, Any] | None

    def text(self) -> Iterator[str]:
        """The same in words, a line each."""
        told = f"{self.last_seq} told ever" if self.last_seq else "none told yet"
        yield f"{self.file}: {self.events} events wait, {self.bytes:,} bytes of {self.max_bytes:,}; {told}"
        for age, event in (("oldest", self.oldest), ("newest", self.newest)):
            if event is not None:
                clock = "" if event["clock_synced"] else " (clock not set)"
                yield f"  {age}: seq {event['seq']}, {event['type']}, {event['time']}{clock}"


def outbox_file(config: Config) -> Path:
    """Where the node's outbox is.

    Raises:
        StorageError: there is none.
    """
    path = Path(config.node.state).expanduser() / "outbox.sqlite"
    if not path.is_file():
        raise StorageError(f"{path}: no outbox; no node has run with this folder, check --state")
    return path


def waiting(config: Config) -> Waiting:
    """What waits in the node's outbox.

    Raises:
        StorageError: there is none, or it is torn, locked or no outbox.
    """
    path = outbox_file(config)
    with mapped_errors(path), closing(_opened(path)) as connection:
        events, size = connection.execute("SELECT count(*), coalesce(sum(length(payload)), 0) FROM events").fetchone()
        (last,) = connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()
        ends = [
            connection.execute(f"SELECT payload FROM events ORDER BY seq {order} LIMIT 1").fetchone()
            for order in ("ASC", "DESC")
        ]
    oldest, newest = (None if row is None else json.loads(row[0]) for row in ends)
    return Waiting(str(path), events, size, config.outbox.max_bytes, last, oldest, newest)


def lines(config: Config) -> Iterator[str]:
    """Each waiting event as it will be sent, oldest first.

    Raises:
        StorageError: see `waiting`.
    """
    path = outbox_file(config)
    with mapped_errors(path), closing(_opened(path)) as connection:
        # All at once: whoever reads them slowly must not keep the node from tidying up its file.
        found = connection.execute("SELECT payload FROM events ORDER BY seq").fetchall()
    for (payload,) in found:
        yield bytes(payload).decode()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
    check(connection, path)
    return connection
