"""`edge-runtime outbox`: what waits for the broker, looked at while a node runs and while none does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_runtime.cli import main
from edge_runtime.datatypes import Event
from edge_runtime.publishing.outbox import Outbox, Stamp


def stamp(second: int = 0, *, synced: bool = True) -> Stamp:
    at = datetime(2026, 11, 24, 12, 0, second, tzinfo=UTC)
    return Stamp("porch", "front", "3ceb458a-0f4b-4a41-9a0f-2b1d7a9a0c11", at, clock_synced=synced)


def outbox(folder: Path) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=1_000_000, max_age_s=1e6)


def test_it_looks_beside_a_node_that_runs_and_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with outbox(tmp_path) as box:
        for second in range(5):
            box.append(Event("tamper", 0, kind="moved"), stamp(second, synced=second > 0))
        box.acknowledge(2)
        sizes = [len(row.payload) for row in box.pending(9)]
        told = [row.payload.decode() for row in box.pending(9)]
        assert main(["outbox", "--state", str(tmp_path), "--list"]) == 0
        assert capsys.readouterr().out.splitlines() == told
        assert len(box.pending(9)) == 4, "nothing was taken"
        box.append(Event("tamper_clear", 0, kind="moved"), stamp(9))
    assert main(["outbox", "--state", str(tmp_path), "--set", "outbox.max_bytes=5000"]) == 0
    first, oldest, newest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path}/outbox.sqlite: 5 events wait, ")
    assert first.endswith(" bytes of 5,000; 6 told ever")
    assert oldest == "  oldest: seq 1, tamper, 2026-11-24T12:00:00.000Z (clock not set)"
    assert newest == "  newest: seq 6, tamper_clear, 2026-11-24T12:00:09.000Z"
    assert main(["outbox", "--state", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["events"], said["last_seq"], said["oldest"]["seq"], said["newest"]["seq"]) == (5, 6, 1, 6)
    assert said["bytes"] > sum(sizes)


def test_an_empty_one_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with outbox(tmp_path):
        pass
    assert main(["outbox", "--state", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"{tmp_path}/outbox.sqlite: 0 events wait, 0 bytes of 64,000,000; none told yet"
    assert main(["outbox", "--state", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out == ""


def test_what_is_no_outbox_is_refused_and_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "--state", str(tmp_path / "new")]) == 5
    assert "no outbox; no node has run with this folder, check --state" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "outbox.sqlite").write_bytes(b"SQLite format 3\0" + b"torn" * 500)
    assert main(["outbox", "--state", str(tmp_path)]) == 5
    assert "torn, or not an outbox" in capsys.readouterr().err
