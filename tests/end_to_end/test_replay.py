"""A clip replayed gives the same events each time, and the reasons for them; the golden file says which."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edge_runtime.publishing.payload import json_schema

GOLDEN = Path(__file__).parent / "golden"
RULES = ("zone_enter", "zone_leave", "dwell", "line_cross")
IN_TIME_S = 1.0


def command(*arguments: str) -> str:
    """What `edge-runtime` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def replayed() -> str:
    return command("replay", "demo", "--config", str(GOLDEN / "demo.toml"))


@pytest.mark.timeout(600)
def test_the_demo_clip_tells_the_golden_events_within_a_second(replayed: str) -> None:
    documents = [json.loads(line) for line in replayed.splitlines()]
    golden = [json.loads(line) for line in (GOLDEN / "demo.jsonl").read_text().splitlines()]
    told = [d for d in documents if d["type"] in RULES]
    key = ("zone", "line", "type", "direction", "media_s")
    told.sort(key=lambda d: [str(d[k]) for k in key[:2]] + [d["media_s"]])
    golden.sort(key=lambda d: [str(d[k]) for k in key[:2]] + [d["media_s"]])
    assert [[d[k] for k in key[:4]] for d in told] == [[d[k] for k in key[:4]] for d in golden]
    for mine, its in zip(told, golden, strict=True):
        assert abs(mine["media_s"] - its["media_s"]) <= IN_TIME_S, its


def test_every_line_is_an_event_of_the_schema_numbered_without_gaps(replayed: str) -> None:
    documents = [json.loads(line) for line in replayed.splitlines()]
    validator = jsonschema.Draft202012Validator(json_schema())
    for document in documents:
        validator.validate(document)
    assert [d["seq"] for d in documents] == list(range(1, len(documents) + 1))


@pytest.mark.timeout(600)
def test_a_second_replay_is_the_same_to_the_byte(tmp_path: Path) -> None:
    short = ["replay", "synthetic", "--config", str(GOLDEN / "demo.toml"), "--set", "camera.size_wh=[640, 360]"]
    assert command(*short) == command(*short)


@pytest.mark.timeout(600)
def test_the_explanation_names_each_rule_for_each_track(tmp_path: Path) -> None:
    text = command("replay", "synthetic", "--explain", "--config", str(GOLDEN / "demo.toml"))
    tracks = [line for line in text.splitlines() if line.startswith("track ") and "told of by no rule" not in line]
    assert tracks
    assert text.count("  zone lot: ") == text.count("  line gate: ") == len(tracks)


def test_zones_are_described_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "zones.png"
    text = command("zones", "--config", str(GOLDEN / "demo.toml"), "--camera", "demo", "--png", str(picture))
    assert "zone lot: vehicle, 50% of the frame, always; enter_s = 0.3, leave_s = 0.5, dwell_s = 0.5" in text
    assert "line gate: vehicle, always; in: to the bottom" in text
    assert "768 x 432" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zones", "--config", "bad.toml"], 'zones[0].labels: no model in use knows "persn"; did you mean person?'),
        (["zones", "--config", "taken.toml"], 'zones[0].name = "slots": its topics are taken by other things; choose'),
        (["replay", "demo", "--config", "bad.toml"], "zones[0].labels: no model in use knows"),
        (["replay", "demo", "--at", "tonight"], "--at tonight: must be a local time, as in 2026-11-24T22:00"),
        (["replay", "0"], "replay is for clips"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "taken.toml").write_text('[[zones]]\nname = "slots"\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\n')
    (tmp_path / "bad.toml").write_text(
        '[[zones]]\nname = "a"\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\nlabels = ["persn"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
