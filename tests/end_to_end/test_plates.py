"""A car drives up with a plate of ours on its front: through the shipped networks to the event, once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edge_runtime.publishing.payload import json_schema
from tests.gate_clip import our_plate, write_clip

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    plate, text = our_plate()
    return write_clip(tmp_path_factory.mktemp("gate") / "gate.mp4", plate), text


def replay(clip: Path, *settings: str, explain: bool = False) -> str:
    arguments = [a for setting in ("plates.enabled=true", *settings) for a in ("--set", setting)]
    command = [sys.executable, "-m", "edge_runtime.cli", "replay", str(clip), *arguments]
    return subprocess.run(command + ["--explain"] * explain, capture_output=True, text=True, check=True).stdout


def told(printed: str) -> list[tuple[str, str | None]]:
    documents = [json.loads(line) for line in printed.splitlines()]
    validator = jsonschema.Draft202012Validator(json_schema())
    for document in documents:
        validator.validate(document)
    return [(d["state"], d["name"]) for d in documents if d["type"] == "plate"]


def another(text: str) -> str:
    """The text with one character changed."""
    return text[:-1] + ("K" if text[-1] != "K" else "M")


def test_a_plate_on_the_list_is_allowed_once(gate: tuple[Path, str]) -> None:
    clip, text = gate
    listed = f"{text[:2]} {text[2:]}"
    printed = replay(clip, f'plates.allow=["{listed}", "ZZ 000 ZZ"]')
    assert told(printed) == [("allowed", text)]
    assert [json.loads(line)["track"]["label"] for line in printed.splitlines() if '"type":"plate"' in line] == ["car"]


def test_one_character_off_is_told_as_such_and_a_stranger_s_plate_stays_with_him(gate: tuple[Path, str]) -> None:
    clip, text = gate
    assert told(replay(clip, f'plates.allow=["{another(text)}"]')) == [("near", another(text))]
    stranger = replay(clip, 'plates.allow=["ZZ000ZZ"]')
    assert told(stranger) == [("unknown", None)]
    assert text not in stranger + replay(clip, 'plates.allow=["ZZ000ZZ"]', explain=True)
    assert told(replay(clip, 'plates.tell="read"')) == [("unknown", text)]


def test_the_explanation_says_what_was_read_and_why_it_counts(gate: tuple[Path, str]) -> None:
    clip, text = gate
    explained = replay(clip, f'plates.allow=["{text}"]', explain=True)
    assert "  plate: fired once" in explained
    assert "make 7 characters at " in explained and f"on the list: {text}" in explained
    assert f"make {text} at " in replay(clip, f'plates.allow=["{text}"]', 'plates.tell="read"', explain=True)


def test_without_a_reader_the_rule_is_refused(gate: tuple[Path, str]) -> None:
    command = [sys.executable, "-m", "edge_runtime.cli", "replay", str(gate[0]), "--set", "plates.enabled=true"]
    done = subprocess.run([*command, "--set", "plates.reader="], capture_output=True, text=True)
    assert done.returncode == 2
    assert "plates.reader is empty: plates cannot be read without one" in done.stderr
    assert "Traceback" not in done.stderr
