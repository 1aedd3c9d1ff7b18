"""A clip replayed gives the same events each time, and the reasons for them; the golden files say which.

`python -m tests.golden` makes the golden files anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import jsonschema
import pytest

from edge_runtime.commands.replay import Start
from edge_runtime.config import load
from edge_runtime.publishing.payload import json_schema
from tests import golden
from tests.benchmarks import rule_truth

KARACHI = "PKT-5"
IN_TIME_S = 1.0


def command(*arguments: str, zone: str = "UTC0") -> str:
    """What `edge-runtime` prints on a machine in that time zone, as POSIX writes it."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", *arguments],
        capture_output=True, text=True, check=True, env=os.environ | {"TZ": zone},
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def replayed() -> str:
    return golden.replayed("demo", "demo")


def hold_against_golden(name: str, printed: str) -> None:
    """The same events of zones and lines in the same order, each within a second."""
    told = [d for d in map(json.loads, printed.splitlines()) if d["type"] in golden.RULES]
    expected = [json.loads(line) for line in (golden.FOLDER / f"{name}.jsonl").read_text().splitlines()]
    key = ("zone", "line", "type", "direction", "media_s")
    told.sort(key=lambda d: [str(d[k]) for k in key[:2]] + [d["media_s"]])
    expected.sort(key=lambda d: [str(d[k]) for k in key[:2]] + [d["media_s"]])
    assert [[d[k] for k in key[:4]] for d in told] == [[d[k] for k in key[:4]] for d in expected]
    for mine, its in zip(told, expected, strict=True):
        assert abs(mine["media_s"] - its["media_s"]) <= IN_TIME_S, its


@pytest.mark.timeout(600)
def test_the_demo_clip_tells_the_golden_events_within_a_second(replayed: str) -> None:
    hold_against_golden("demo", replayed)


@pytest.mark.parametrize("name", golden.NAMES)
@pytest.mark.timeout(600)
def test_a_real_clip_tells_its_golden_events_within_a_second(name: str) -> None:
    clip = golden.clip_of(name)
    if clip is None:
        pytest.skip(f"no ../shared/data/clips/{name}.mp4 here: the clips are not part of the project")
    hold_against_golden(name, golden.replayed(name, clip))


@pytest.mark.parametrize("name", golden.NAMES)
def test_the_rules_of_the_golden_events_are_those_held_against_truth(name: str) -> None:
    config = load(golden.FOLDER / f"{name}.toml")
    assert (*config.zones, *config.lines) == rule_truth.rules(f"{name}.mp4")


def test_every_line_is_an_event_of_the_schema_numbered_without_gaps(replayed: str) -> None:
    documents = [json.loads(line) for line in replayed.splitlines()]
    validator = jsonschema.Draft202012Validator(json_schema())
    for document in documents:
        validator.validate(document)
    assert [d["seq"] for d in documents] == list(range(1, len(documents) + 1))


@pytest.mark.timeout(600)
def test_a_second_replay_is_the_same_to_the_byte_in_another_time_zone_too(tmp_path: Path) -> None:
    short = ["replay", "synthetic", "--config", str(golden.FOLDER / "demo.toml"), "--set", "camera.size_wh=[640, 360]"]
    assert command(*short) == command(*short, zone=KARACHI)


@pytest.mark.timeout(600)
def test_events_and_schedules_of_a_replay_go_by_the_time_given_for_it(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(
        '[[zones]]\nname = "night"\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\nactive = "22:00-23:00"\n'
    )
    small = ["--config", str(file), "--set", "camera.size_wh=[320, 240]"]
    text = command("replay", "synthetic", *small, "--at", "2026-11-24T18:00+01:00", zone=KARACHI)
    assert '"type":"zone_enter","time":"2026-11-24T17:00:0' in text


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("given", "at_s", "local", "utc"),
    [
        ("2026-11-24T22:00", 0.5, "24 22:00:00.5", "24 21:00:00.5"),
        ("2026-11-24T22:00+05:00", 0.0, "24 18:00:00", "24 17:00:00"),
        ("2026-11-24T23:30Z", 0.0, "25 00:30:00", "24 23:30:00"),
        ("2026-10-25T02:30+02:00", 3600.0, "25 02:30:00", "25 01:30:00"),  # the clocks went back meanwhile
    ],
)
def test_a_time_with_an_offset_is_that_instant_and_one_without_is_the_node_s(
    in_berlin: None, given: str, at_s: float, local: str, utc: str
) -> None:
    wall = Start.told(given).wall(at_s)
    assert f"{wall:%d %H:%M:%S.%f}".startswith(local)
    assert f"{wall.astimezone(UTC):%d %H:%M:%S.%f}".startswith(utc)


@pytest.mark.timeout(600)
def test_the_explanation_names_each_rule_for_each_track(tmp_path: Path) -> None:
    text = command("replay", "synthetic", "--explain", "--config", str(golden.FOLDER / "demo.toml"))
    tracks = [line for line in text.splitlines() if line.startswith("track ") and "told of by no rule" not in line]
    assert tracks
    assert text.count("  zone lot: ") == text.count("  line gate: ") == len(tracks)


def test_the_explanation_says_of_slots_and_of_the_camera_how_they_end_and_why(tmp_path: Path) -> None:
    file = tmp_path / "lot.toml"
    corners = "[[0.2, 0.2], [0.5, 0.2], [0.5, 0.6], [0.2, 0.6]]"
    file.write_text(f'[parking]\nmin_dwell_s = 1\n[[slots]]\nname = "14"\npoints = {corners}\n')
    replayed = ["replay", "synthetic", "--config", str(file), "--set", "camera.size_wh=[320, 240]", "--explain"]
    lines = command(*replayed).splitlines()
    camera = lines.index("tamper covered: did not fire")
    slot = lines[lines.index(next(line for line in lines if line.startswith("slot 14: "))) : camera]
    assert slot[0].endswith(" at the end, fired once")
    assert "is likelier, p 0." in slot[1] and slot[1].endswith(": known after 1 s of it")
    assert any(line.startswith("  *") and line.endswith("; parking.min_dwell_s = 1") for line in slot)
    assert "the end; in all " in slot[-1]
    assert "no sign of it: 90% of the scene in its place" in lines[camera + 2]
    never = [*replayed, "--set", "parking.min_dwell_s=1000"]
    assert "slot 14: unknown at the end, did not fire" in command(*never)


def test_zones_are_described_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "zones.png"
    text = command("zones", "--config", str(golden.FOLDER / "demo.toml"), "--camera", "demo", "--png", str(picture))
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
        (["replay", "demo", "--at", "0001-01-01"], "--at 0001-01-01: must lie in the years 1971 to 9998"),
        (["replay", "0"], "replay is for clips"),
        (["replay", "demo", "--web", "1", "--camera", "0"], "unrecognized arguments: --web 1 --camera 0"),
        (["replay", "demo", "--broker", "none", "--profile", "edge"], "arguments: --broker none --profile edge"),
        (["zones", "--broker", "none", "--web", "1", "--state", "s"], "arguments: --broker none --web 1 --state s"),
        (["zones", "--camera", "demo"], "--camera: only --png FILE looks at it"),
        (["zones", "--config", "porch.toml", "--profile", "frigate"], "the camera has that name, and Frigate's topics"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "taken.toml").write_text('[[zones]]\nname = "slots"\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\n')
    (tmp_path / "porch.toml").write_text(
        '[camera]\nname = "porch"\n[[zones]]\nname = "porch"\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\n'
    )
    (tmp_path / "bad.toml").write_text(
        '[[zones]]\nname = "a"\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\nlabels = ["persn"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clip_that_is_not_there_is_named_as_it_was_given() -> None:
    for arguments in (["replay", "nosuch.mp4"], ["zones", "--camera", "nosuch.mp4", "--png", "zones.png"]):
        done = subprocess.run([sys.executable, "-m", "edge_runtime.cli", *arguments], capture_output=True, text=True)
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1] == "edge-runtime: nosuch.mp4: no such clip; check the path"
