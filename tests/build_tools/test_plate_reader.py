"""A plate reader is trained from a recipe on photos and drawn plates, compressed, evaluated, and runs on the node."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_tools.cli import main
from build_tools.data.plate_drawing import STYLES, draw
from build_tools.data.plate_glyphs import ALPHABET, SHAPES, Pen, strokes, write
from build_tools.data.plate_text import INPUT_WH, is_held_out, read_plates
from build_tools.data.plate_views import varied
from build_tools.errors import DataError
from build_tools.evaluation.plates import CHARACTERS, plate_figures
from build_tools.nets.reader import ReaderNet
from edge_runtime.engine import OnnxEngine
from edge_runtime.plates.reader import PlateReader
from edge_runtime.plates.reading import Reading

RECIPE = f"""
name = "tiny"
task = "reader"
classes = {json.dumps(list(ALPHABET))}
size_wh = [128, 48]
[[data]]
labels = "pack/plates.json"
images = "pack"
plates = "drawn"
repeat = 2
[[data]]
drawn = 40
[net]
family = "reader"
stem = 8
widths = [8, 8, 16, 16]
depths = [0, 0, 0, 1]
[train]
batch = 16
warmup = 4
average = 0.9
held_out = 0.2
[[phases]]
epochs = 2
rate = 0.01
[input]
size_wh = [128, 48]
[evaluation]
kind = "plates"
data = "pack/plates.json"
images = "pack"
held_out = 0.2
[budget]
latency = 0
loss = 1
[[passes]]
kind = "quantize"
bits = 8
"""
ADAPTER = f'input_wh = [128, 48]\nalphabet = "{ALPHABET}"\ncolour = "bgr"\n'


def write_pack(folder: Path, plates: int = 20) -> Path:
    """Plates of our own as a pack, half of them to learn from."""
    (folder / "crops").mkdir(parents=True)
    rng, rows = np.random.default_rng(1), []
    for i in range(plates):
        bgr, text = draw(rng)
        cv2.imwrite(str(folder / f"crops/{i:02}.png"), bgr)
        split = ("train", "dev")[i % 2]
        rows.append({"file": f"crops/{i:02}.png", "text": "皖" + text, "source": "drawn", "split": split})
    (folder / "plates.json").write_text(json.dumps(rows))
    return folder


@given(st.sampled_from(ALPHABET), st.floats(0.38, 0.68), st.floats(0, 1), st.integers(1, 3))
def test_every_character_fills_its_place_and_none_beyond(sign: str, width: float, choice: float, rounds: int) -> None:
    points = np.concatenate(strokes(sign, Pen(width, 0.1, 0.0, rounds, choice)))
    assert points[:, 0].min() >= -0.01 and points[:, 0].max() <= width * 1.06
    assert points[:, 1].min() >= -0.01 and points[:, 1].max() <= 1.06
    assert np.ptp(points[:, 1]) > 0.9


def test_no_two_characters_look_alike_in_one_hand_but_the_round_ones() -> None:
    drawings: dict[bytes, str] = {}
    for sign in ALPHABET:
        canvas = np.zeros((40, 40), np.uint8)
        write(canvas, sign, (8.0, 4.0), 30.0, Pen(0.6, 0.1, 0.0, 2, 0.0))
        twin = drawings.setdefault(canvas.tobytes(), sign)
        assert twin == sign or {twin, sign} == {"0", "O"}
    assert set(SHAPES) == set(ALPHABET)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, len(STYLES) - 1))
def test_a_seed_draws_one_plate_in_the_letters_of_its_land(seed: int, style: int) -> None:
    (bgr, text), (again, same) = (draw(np.random.default_rng(seed), (STYLES[style],)) for _ in range(2))
    assert text == same
    np.testing.assert_array_equal(bgr, again)
    lengths = {sum(sign in "LDA" for sign in pattern) for pattern in STYLES[style].patterns}
    assert len(text) in lengths
    letters = STYLES[style].letters + "0123456789"
    assert set(text) <= set(letters)
    seen = [varied(np.random.default_rng(seed), bgr, INPUT_WH, 1.0) for _ in range(2)]
    assert seen[0].shape == (48, 128, 3) and (seen[0] == seen[1]).all()


def test_signs_of_other_scripts_are_no_part_of_a_text(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack")
    plates = read_plates(pack / "plates.json", pack, "train", "drawn")
    assert len(plates) == 10
    assert all(set(p.text) <= set(ALPHABET) for p in plates)
    twin = [is_held_out(p, 0.5) for p in plates]
    assert twin == [is_held_out(p, 0.5) for p in plates] and 0 < sum(twin) < 10


def test_a_pack_without_such_plates_is_refused(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack")
    with pytest.raises(DataError, match="holds no plate of split train of xx"):
        read_plates(pack / "plates.json", pack, "train", "xx")
    (pack / "plates.json").write_text('[{"file": "a"}]')
    with pytest.raises(DataError, match="not a list of plates: KeyError"):
        read_plates(pack / "plates.json", pack, "train")


def test_figures_count_wrong_characters_and_whole_plates(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack")
    plates = read_plates(pack / "plates.json", pack, "dev")
    right = [Reading(p.text, (1.0,) * len(p.text)) for p in plates]
    assert plate_figures(right, plates) == {"error": 0.0, "whole": 1.0, "plates": 10.0}
    right[0] = Reading(plates[0].text[1:], right[0].sure[1:])
    figures = plate_figures(right, plates)
    assert figures["whole"] == 0.9
    assert figures["error"] == 1 / sum(len(p.text) for p in plates)


def test_the_network_answers_at_each_step_along_the_plate() -> None:
    import torch

    from build_tools.nets.centre import NetConfig

    said = ReaderNet(len(ALPHABET), NetConfig(8, (8, 8, 16, 16), (0, 0, 0, 1)))(torch.zeros(2, 3, 48, 128))
    assert said.shape == (2, len(CHARACTERS), 1, 32)


@pytest.mark.timeout(300)
def test_a_reader_goes_from_recipe_to_bundle_to_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = write_pack(tmp_path / "pack")
    recipe, out = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    assert main(["train", str(recipe), "--out", str(out)]) == 0
    history = json.loads((out / "history.json").read_text())["epochs"]
    assert history[1]["loss"] < history[0]["loss"]
    edge = out / "tiny.edge"
    assert main(["compress", str(out / "tiny.onnx"), "--recipe", str(recipe), "--out", str(edge)]) == 0
    assert OnnxEngine(edge, "reader").facts.decoding == "steps"
    adapter = out / "tiny.adapter.toml"
    adapter.write_text(ADAPTER)
    assert isinstance(PlateReader(edge)(draw(np.random.default_rng(0))[0]).text, str)
    capsys.readouterr()
    assert main(["evaluate", str(edge), "--plates", str(pack), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model_bytes"] == edge.stat().st_size
    assert found["by_source"]["drawn"]["plates"] == found["plates"] == 10
    assert main(["evaluate", str(edge), "--plates", str(pack), "--adapter", str(adapter)]) == 0
    assert "of 10 plates wholly right" in capsys.readouterr().out
    recipe.write_text(RECIPE.replace('"A", ', ""))
    assert main(["train", str(recipe), "--out", str(out)]) == 2
    assert "classes must be the characters" in capsys.readouterr().err
