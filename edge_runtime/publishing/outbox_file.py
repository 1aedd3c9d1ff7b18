"""The outbox's SQLite file: made, opened, checked, and its errors put into words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_runtime.errors import StorageError

APPLICATION_ID = 0x65644F42
"""Marks the file as an outbox in SQLite's header, so that no other database is taken for one."""
VERSION = 1
BUSY_S = 2.0
"""How long a call waits for another process that reads or writes the file: frames wait meanwhile."""
TORN_REMEDY = "move it away: a new one begins again at seq 1, and events not yet sent are lost"

TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    wall_s REAL,                  -- NULL: the clock was not set, the row has no known age
    stands_for INTEGER NOT NULL,  -- events lost with this row: 1, and what an events_dropped tells of
    payload BLOB NOT NULL
);
INSERT INTO meta VALUES ('seq', 0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


@contextmanager
def open_outbox(path: Path) -> Iterator[sqlite3.Connection]:
    """The database at `path`, made if there is none, in autocommit, usable from any thread.

    Raises:
        StorageError: torn, not an outbox, of another format, not writable, no room, locked.
    """
    with mapped_errors(path):
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    with closing(connection):
        with mapped_errors(path):
            _prepare(connection, path)
        yield connection


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line that names the file and the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise _storage_error(path, error) from error


def shift_times(connection: sqlite3.Connection, *, after_seq: int, by_s: float) -> None:
    """Say of rows numbered above `after_seq` that they came so much later; those of no known age have none still."""
    connection.execute("UPDATE events SET wall_s = wall_s + ? WHERE seq > ? AND wall_s IS NOT NULL", (by_s, after_seq))


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Set the connection up; make the tables in a new file, check those of an old one."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 256")
    connection.execute("PRAGMA journal_size_limit = 1048576")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application == 0 and version == 0 and tables == 0:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
    check(connection, path)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is none of ours, or torn.

    Raises:
        StorageError: so it is.
        sqlite3.Error: it cannot be read.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StorageError(f"{path}: a database, but not an outbox; move it away, or give another --state")
    if version != VERSION:
        raise StorageError(
            f"{path}: an outbox of format {version}, this program reads {VERSION}; "
            "use the program that wrote it, or move it away"
        )
    verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if verdict != "ok":
        raise StorageError(f"{path}: torn ({verdict.splitlines()[-1]}); {TORN_REMEDY}")


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    """What SQLite's error means to whoever runs the node (codes: sqlite.org/rescode.html)."""
    # The low byte is the primary code; above it stands the detail.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StorageError(f"{path}: no room left on the disk; free some, or lower outbox.max_bytes")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StorageError(f"{path}: torn, or not an outbox ({error}); {TORN_REMEDY}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return StorageError(f"{path}: cannot be written ({error}); check its permissions, or give another --state")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(f"{path}: locked by another process; close what has it open")
        case _:
            return StorageError(f"{path}: cannot be used ({error}); check the disk it is on")
