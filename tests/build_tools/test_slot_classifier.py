"""A slot classifier is trained from a recipe on frames that are split, not on slots, and runs on the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from build_tools.cli import main
from build_tools.data.patch_light import relit
from build_tools.data.slot_patches import plain_patches, read_frames, split, varied, wide_patches
from build_tools.errors import DataError
from edge_runtime.config import SlotConfig
from edge_runtime.detection.classifier import SlotClassifier
from edge_runtime.engine import OnnxEngine

CORNERS = [(x, y) for y in (12, 66) for x in (12, 62, 112)]
CAR = (40, 40, 220)

RECIPE = """
name = "painted"
task = "classifier"
classes = ["occupied"]
size_wh = [32, 32]
[[data]]
labels = "lot/slots.json"
images = "lot"
slots = "painted"
[net]
family = "patch"
stem = 8
widths = [8, 16, 16, 16]
depths = [0, 0, 0, 0]
[train]
batch = 16
warmup = 4
average = 0.9
held_back = 0.2
held_out = 0.2
[[phases]]
epochs = 12
rate = 0.01
[input]
size_wh = [32, 32]
[evaluation]
kind = "slots"
data = "lot/slots.json"
images = "lot"
sources = ["painted"]
held_out = 0.2
[budget]
latency = 0
[[passes]]
kind = "quantize"
bits = 8
"""


def slot(x: int, y: int, occupied: bool) -> dict[str, Any]:
    return {"id": x, "polygon": [[x, y], [x + 36, y], [x + 36, y + 40], [x, y + 40]], "occupied": occupied}


def write_lot(folder: Path, frames: int = 20) -> Path:
    """Frames of six slots each, of which some hold a red car; the path of `slots.json`."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    listed = []
    for i in range(frames):
        bgr = np.full((120, 160, 3), int(rng.integers(60, 150)), np.uint8)
        slots = [slot(x, y, bool(rng.random() < 0.5)) for x, y in CORNERS]
        for s in slots:
            (x, y), _, (x2, y2), _ = s["polygon"]
            if s["occupied"]:
                cv2.rectangle(bgr, (x + 5, y + 3), (x2 - 6, y2 - 4), CAR, -1)
        cv2.imwrite(str(folder / f"{i:03}.png"), bgr)
        listed.append({"file": f"{i:03}.png", "width": 160, "height": 120, "source": "painted", "slots": slots})
    (folder / "slots.json").write_text(json.dumps({"frames": listed}))
    return folder / "slots.json"


@pytest.mark.timeout(600)
def test_a_painted_lot_is_learnt_compressed_and_told_by_the_node(tmp_path: Path) -> None:
    write_lot(tmp_path / "lot")
    recipe, out, bundle = tmp_path / "painted.toml", tmp_path / "out", tmp_path / "painted.edge"
    recipe.write_text(RECIPE)
    assert main(["train", str(recipe), "--out", str(out)]) == 0
    assert main(["compress", str(out / "painted.onnx"), "--recipe", str(recipe), "--out", str(bundle)]) == 0

    (*_, frame) = read_frames(tmp_path / "lot" / "slots.json", tmp_path / "lot", "painted")
    slots = [
        SlotConfig(str(i), tuple((x / 160, y / 120) for x, y in slot(*corner, False)["polygon"]))
        for i, corner in enumerate(CORNERS)
    ]
    classify = SlotClassifier(OnnxEngine(bundle, "classifier"), slots)
    assert (classify(frame.bgr, (160, 120)) > 0.5).tolist() == frame.occupied.tolist()
    history = json.loads((out / "history.json").read_text())
    assert history["epochs"][-1]["held_out"] == 1
    assert set(history["held_back"].values()) == {1}


def test_every_frame_is_on_one_side_for_ever(tmp_path: Path) -> None:
    labels = write_lot(tmp_path / "lot", 40)
    frames = read_frames(labels, labels.parent, "painted")
    learn, choose, report = split(frames, 0.2, 0.2)
    assert sorted(f.path.name for f in (*learn, *choose, *report)) == [f.path.name for f in frames]
    assert learn and choose and report
    again = split(frames[::-1], 0.2, 0.2)
    assert {f.path for f in report} == {f.path for f in again[2]}


def test_wide_patches_hold_the_plain_ones_in_their_middle(tmp_path: Path) -> None:
    labels = write_lot(tmp_path / "lot", 2)
    frames = read_frames(labels, labels.parent, "painted")
    plain, occupied = plain_patches(frames)
    wide, _ = wide_patches(frames)
    assert (plain.shape, wide.shape, len(occupied)) == ((12, 32, 32, 3), (12, 44, 44, 3), 12)
    assert np.abs(wide[:, 6:38, 6:38].astype(int) - plain).mean() < 3


def test_the_same_seed_gives_the_same_patches_in_the_same_light(tmp_path: Path) -> None:
    labels = write_lot(tmp_path / "lot", 4)
    wide, _ = wide_patches(read_frames(labels, labels.parent, "painted"))
    one, same, other = (relit(rng, varied(rng, wide)) for rng in map(np.random.default_rng, (1, 1, 2)))
    assert one.shape == (24, 32, 32, 3)
    assert one.dtype == np.uint8
    assert (one == same).all()
    assert (one != other).any()


def test_a_source_without_frames_is_refused(tmp_path: Path) -> None:
    labels = write_lot(tmp_path / "lot", 1)
    with pytest.raises(DataError, match="holds no frame of source other"):
        read_frames(labels, labels.parent, "other")


@pytest.mark.parametrize("text", ['{"frames": [{"source": "painted"}]}', '{"frames"', "[]", '{"frames": [3]}'])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slots.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"slots\.json: not a file of slots"):
        read_frames(path, tmp_path, "painted")
