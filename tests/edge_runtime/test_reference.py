"""Models' answers to a fixed input: the shipped ones give what was noted, and what differs is told from what rounds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_tools.cli import main as build
from edge_runtime.bench import reference
from edge_runtime.bench.reference import Output, Reference, difference
from edge_runtime.cli import main
from edge_runtime.shipped import shipped

MODELS = shipped("demo.mp4").parent


def test_every_shipped_model_answers_what_was_noted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = {path.name for pattern in ("*.edge", "*.onnx") for path in MODELS.glob(pattern)}
    assert {row["model"] for row in told["models"]} == names, "edge-build reference models/*.edge models/*.onnx"
    assert max(row["difference"] for row in told["models"]) <= reference.TOLERANCE


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=16), st.floats(0.1, 100), st.integers(0, 15))
def test_rounding_passes_and_a_spread_does_not(values: list[float], spread: float, at: int) -> None:
    at %= len(values)
    there = Reference("", (Output((len(values),), spread, tuple(values)),))
    for share, passes in ((0.005, True), (1.0, False), (float("nan"), False)):
        moved = tuple(v + share * spread * (i == at) for i, v in enumerate(values))
        here = Reference("", (replace(there.outputs[0], values=moved),))
        assert (difference(here, there) <= reference.TOLERANCE) is passes
    assert difference(Reference("", ()), there) == float("inf")


def test_another_file_and_other_answers_are_told_apart_with_remedies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("face_cropper.edge", "slot_classifier.edge"):
        shutil.copy(shipped(name), tmp_path / name)
    file = tmp_path / reference.FILE
    assert build(["reference", str(tmp_path / "face_cropper.edge"), str(tmp_path / "slot_classifier.edge")]) == 0
    assert main(["doctor", "--reference", str(file)]) == 0
    capsys.readouterr()

    noted = json.loads(file.read_text())
    noted["face_cropper.edge"]["outputs"][0]["values"][3] += 2 * noted["face_cropper.edge"]["outputs"][0]["spread"]
    file.write_text(json.dumps(noted))
    assert main(["doctor", "--reference", str(file)]) == 1
    told = capsys.readouterr()
    assert "face_cropper.edge: answers otherwise here than where it was made, by 2 of an output's spread" in told.err
    assert "slot_classifier.edge" in told.out

    noted["slot_classifier.edge"]["sha256"] = "0" * 64
    file.write_text(json.dumps(noted))
    assert main(["doctor", "--reference", str(file)]) == 4
    assert "slot_classifier.edge: is not the file" in capsys.readouterr().err

    file.write_text('{"face_cropper.edge": {"sha256": 1}}')
    assert main(["doctor", "--reference", str(file)]) == 4
    assert "is no file of references" in capsys.readouterr().err
    assert main(["doctor", "--reference", str(tmp_path / "none.json")]) == 4


def test_models_of_two_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(shipped("slot_classifier.edge"), tmp_path)
    models = [str(tmp_path / "slot_classifier.edge"), str(shipped("face_cropper.edge"))]
    assert build(["reference", *models]) == 4
    assert "face_cropper.edge: must lie beside" in capsys.readouterr().err
