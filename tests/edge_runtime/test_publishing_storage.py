"""What can go wrong with the outbox's disk, and its bounds by age: each failure is one line, and nothing is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_runtime.datatypes import Event
from edge_runtime.errors import StorageError
from edge_runtime.publishing.desk import EventDesk
from edge_runtime.publishing.outbox import Outbox, Row, Stamp
from tests.builders import FakeClock

NOW = datetime(2026, 11, 24, tzinfo=UTC)
BOOT = "7f3c1a52-9d0e-4b7a-8a35-0f6f1f0a2b11"


def opened(folder: Path, max_age_s: float = 1e6) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=10_000_000, max_age_s=max_age_s)


def stamp(after_s: float = 0, *, synced: bool = True) -> Stamp:
    return Stamp("porch", "front", BOOT, NOW + timedelta(seconds=after_s), synced)


def seqs(outbox: Outbox) -> list[int]:
    return [row.seq for row in outbox.pending(1000)]


def append(outbox: Outbox, n: int = 1, after_s: float = 0, *, synced: bool = True) -> None:
    for _ in range(n):
        outbox.append(Event("zone_enter", 0, zone="path"), stamp(after_s, synced=synced))


def child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `code` in another process, with an `append` of its own."""
    begin = """
        import sys
        from pathlib import Path
        from edge_runtime.errors import StorageError
        from tests.edge_runtime.test_publishing_storage import append, opened, seqs
        folder = Path(sys.argv[1])
    """
    text = textwrap.dedent(begin) + textwrap.dedent(code)
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_rows_older_than_the_bound_go_and_younger_ones_stay(tmp_path: Path) -> None:
    with opened(tmp_path, max_age_s=100) as outbox:
        for after_s in (0, 40, 80):
            append(outbox, after_s=after_s)
        assert outbox.trim(stamp(100.5)) is None
        told = outbox.trim(stamp(101.5))
        assert told is not None
        assert json.loads(told.payload)["count"] == 1
        assert seqs(outbox) == [2, 3, 4]


def test_events_of_an_unset_clock_are_not_old_when_it_is_set(tmp_path: Path) -> None:
    with opened(tmp_path, max_age_s=100) as outbox:
        append(outbox, 3, synced=False)
        assert outbox.trim(stamp(1e9)) is None
        append(outbox, after_s=1e9)
        assert outbox.trim(stamp(1e9 + 50)) is None
        assert outbox.trim(stamp(2e9, synced=False)) is None, "nor is anything old by an unset clock"
        assert seqs(outbox) == [1, 2, 3, 4]


class SetClock(FakeClock):
    """A clock that claims to be set, and is set anew now and then."""

    steps_s = 0.0

    def wall(self) -> datetime:
        return super().wall() + timedelta(seconds=self.steps_s)


class Unheard:
    """A broker that is not there."""

    durable = True

    def announce(self, row: Row) -> None:
        pass


@pytest.mark.parametrize("step_s", [10 * 86400.0, -10 * 86400.0])
def test_a_step_of_the_clock_makes_no_event_of_this_run_older_or_younger(tmp_path: Path, step_s: float) -> None:
    clock = SetClock()
    with opened(tmp_path, max_age_s=100) as outbox:
        desk = EventDesk(outbox, [Unheard()], node="porch", camera="front", clock=clock, live=True)
        desk.post([Event("zone_enter", clock.now_ns(), zone="path")] * 3)
        clock.sleep(60)
        clock.steps_s = step_s
        desk.post([Event("zone_leave", clock.now_ns(), zone="path")])
        assert seqs(outbox) == [1, 2, 3, 4]
        clock.sleep(50)
        (told,) = desk.post([])
        assert (json.loads(told)["type"], json.loads(told)["count"]) == ("events_dropped", 3)
        assert seqs(outbox) == [4, 5]
    clock.sleep(51)
    with opened(tmp_path, max_age_s=100) as outbox:
        desk = EventDesk(outbox, [Unheard()], node="porch", camera="front", clock=clock, live=True)
        clock.sleep(31)
        desk.post([])
        assert seqs(outbox) == [5, 6], "the next run takes them for as old as they are, too"


def test_a_step_of_the_clock_leaves_an_earlier_run_s_events_at_their_times(tmp_path: Path) -> None:
    clock = SetClock()
    with opened(tmp_path, max_age_s=100) as outbox:
        append(outbox, 2)
    with opened(tmp_path, max_age_s=100) as outbox:
        desk = EventDesk(outbox, [Unheard()], node="porch", camera="front", clock=clock, live=True)
        desk.post([Event("zone_enter", clock.now_ns(), zone="path")])
        clock.steps_s = 200.0
        clock.sleep(31)
        desk.post([])
        assert seqs(outbox) == [3, 4]


def test_numbers_go_on_after_everything_was_acknowledged(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        append(outbox, 3)
        for seq in (1, 2, 3):
            outbox.acknowledge(seq)
    with opened(tmp_path) as outbox:
        append(outbox)
        assert seqs(outbox) == [4]


def test_an_event_that_cannot_be_encoded_takes_no_number(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        append(outbox)
        with pytest.raises(ValueError, match="Out of range float values"):
            outbox.append(Event("dwell", 0, zone="path", dwell_s=float("nan")), stamp())
        append(outbox)
        assert seqs(outbox) == [1, 2]
        assert outbox.counts.pending == 2


def test_what_was_appended_survives_a_kill(tmp_path: Path) -> None:
    done = child(
        """
        import os, signal
        outbox = opened(folder).__enter__()
        append(outbox, 5)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert done.returncode == -9
    with opened(tmp_path) as outbox:
        assert seqs(outbox) == [1, 2, 3, 4, 5]


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path):
        done = child("opened(folder).__enter__()", tmp_path)
    assert f"in use by another process (pid {os.getpid()}); stop that one" in done.stderr


def test_a_full_disk_is_said_and_the_outbox_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: no file of the process may grow beyond it."""
    done = child(
        """
        import resource
        with opened(folder) as outbox:
            append(outbox, 10)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
            fitted = 10
            try:
                while True:
                    append(outbox)
                    fitted += 1
            except StorageError as error:
                print(error)
            assert seqs(outbox) == list(range(1, fitted + 1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            append(outbox)
            assert seqs(outbox) == list(range(1, fitted + 2)), "no number is lost"
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "outbox.sqlite" in done.stdout
    assert "disk" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_file_torn_in_its_middle_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        append(outbox, 500)
    file = tmp_path / "outbox.sqlite"
    with file.open("r+b") as torn:
        torn.seek(5 * 4096)
        torn.write(b"\xff" * 4 * 4096)
    with pytest.raises(StorageError, match=r"outbox\.sqlite: torn.*move it away"):
        opened(tmp_path).__enter__()


def test_another_program_s_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "outbox.sqlite")
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    with pytest.raises(StorageError, match="not an outbox"):
        opened(tmp_path).__enter__()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    newer = sqlite3.connect(tmp_path / "outbox.sqlite")
    newer.execute("PRAGMA user_version = 7")
    newer.close()
    with pytest.raises(StorageError, match="outbox of format 7, this program reads 1"):
        opened(tmp_path).__enter__()


def test_a_file_that_another_program_keeps_locked_is_said_in_bounded_time(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        other = sqlite3.connect(tmp_path / "outbox.sqlite")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked by another process"):
            append(outbox)
        other.rollback()
        other.close()
        append(outbox)
        assert seqs(outbox) == [1]


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        opened(tmp_path).__enter__()
    with pytest.raises(StorageError, match="cannot be written"):
        opened(tmp_path).__enter__()  # and it holds no lock after the first refusal


def test_the_state_folder_is_private(tmp_path: Path) -> None:
    with opened(tmp_path / "node" / "state"):
        assert stat.S_IMODE((tmp_path / "node" / "state").stat().st_mode) == 0o700


def test_a_closed_outbox_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        pass
    with pytest.raises(StorageError, match="closed"):
        append(outbox)
