"""A car drives up with a plate of ours on its front: through the shipped networks to the event, once.

The car is that of the demo clip (Intel IoT DevKit sample videos, CC BY 4.0), twice as large, as if it came nearer and a
third as fast; the plate is drawn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from build_tools.data.plate_drawing import STYLES, draw
from edge_runtime.publishing.payload import json_schema
from edge_runtime.shipped import shipped

pytestmark = pytest.mark.timeout(600)

FRAMES = range(312, 338)
PLATE_AT = {320: (235, 72), 326: (216, 201), 332: (204, 357)}
"""Where the middle of the car's own plate is in some frames of the clip."""
PLATE_PX = 104
"""A third of the car's width, as plates are."""
SLOWER = 3
STYLE = STYLES[4]
"""Dark on white, of many lands in Europe."""


def our_plate() -> tuple[np.ndarray, str]:
    bgr, text = draw(np.random.default_rng(12), (STYLE,))
    return bgr, text


def write_clip(path: Path, plate: np.ndarray) -> Path:
    """The car, with a plate over its own."""
    across = [np.polyfit(list(PLATE_AT), [xy[axis] for xy in PLATE_AT.values()], 2) for axis in (0, 1)]
    small = cv2.resize(
        plate, (PLATE_PX, round(PLATE_PX * plate.shape[0] / plate.shape[1])), interpolation=cv2.INTER_AREA
    )
    source = cv2.VideoCapture(str(shipped("demo.mp4")))
    clip = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (1536, 864))
    for number in range(FRAMES.stop):
        ok, frame = source.read()
        assert ok
        if number not in FRAMES:
            continue
        large = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        x, y = (round(2 * float(np.polyval(curve, number))) for curve in across)
        x, y = x - small.shape[1] // 2, y - small.shape[0] // 2
        if 0 <= y < large.shape[0] - small.shape[0]:
            large[y : y + small.shape[0], x : x + small.shape[1]] = small
        for _ in range(SLOWER):
            clip.write(large)
    clip.release()
    return path


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
