"""The shipped plate finder and reader: small enough, run without anything that only builds models, and read plates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from build_tools.data.plate_drawing import draw
from build_tools.evaluation.plates import evaluate_plates
from edge_runtime.adapters import read_adapter
from edge_runtime.engine import open_model
from edge_runtime.plates.adapter import WANTS, ReaderAdapter
from edge_runtime.plates.finder import open_finder, plate_in
from edge_runtime.plates.reader import open_reader
from edge_runtime.shipped import shipped

PLATES = Path(__file__).resolve().parents[3] / "shared" / "data" / "plate_text"
needs_plates = pytest.mark.skipif(not PLATES.is_dir(), reason="needs ../shared: plates are not part of this repository")


def test_both_keep_to_their_bytes() -> None:
    assert shipped("plate_finder.edge").stat().st_size <= 44_000
    assert shipped("plate_reader.edge").stat().st_size <= 150_000


def test_both_run_without_torch_and_onnx() -> None:
    code = """
import sys
for name in ("torch", "onnx", "scipy", "build_tools"):
    sys.modules[name] = None
import numpy as np
from edge_runtime.config import PlatesConfig
from edge_runtime.plates.looker import PlateNetworks
networks = PlateNetworks.of(PlatesConfig())
grey = np.full((100, 160, 3), 90, np.uint8)
print(len(networks.finder(grey)[0]), repr(networks.reader(grey).text))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 ''"


def test_the_reader_s_adapter_is_what_it_says_of_itself() -> None:
    engine = open_model("plate_reader", "reader")
    adapter = read_adapter(ReaderAdapter, shipped("plate_reader.edge"), WANTS)
    assert tuple(adapter.alphabet) == engine.facts.classes
    assert adapter.input_wh == engine.facts.size_wh


def test_drawn_plates_are_read() -> None:
    reader, rng = open_reader("plate_reader"), np.random.default_rng(2026)
    plates = [draw(rng) for _ in range(60)]
    right = sum(reader(bgr).text == text for bgr, text in plates)
    assert right >= 48


def test_a_plate_on_a_vehicle_s_front_is_found_and_a_front_without_one_has_none() -> None:
    finder, plate = open_finder("plate_finder"), draw(np.random.default_rng(12))[0]
    scene = np.full((400, 600, 3), 60, np.uint8)
    vehicle = (150, 60, 450, 340)
    scene[60:340, 150:450] = (120, 120, 125)
    assert plate_in(scene, vehicle, finder) is None
    h, w = 100 * plate.shape[0] // plate.shape[1], 100
    scene[280 : 280 + h, 250 : 250 + w] = cv2.resize(plate, (w, h), interpolation=cv2.INTER_AREA)
    found = plate_in(scene, vehicle, finder)
    assert found is not None
    x, y = (found[0][:2] + found[0][2:]) / 2
    assert 250 <= x < 250 + w
    assert 280 <= y < 280 + h


@needs_plates
def test_photos_of_plates_are_read_as_well_as_the_card_says() -> None:
    path = shipped("plate_reader.edge")
    by_source = evaluate_plates(path, PLATES, read_adapter(ReaderAdapter, path, WANTS))["by_source"]
    assert by_source["cn"]["whole"] >= 0.90
    assert by_source["ar"]["whole"] >= 0.85
