"""An embedder learns what its larger self says of faces, from poorer pictures of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from build_tools import recipe as recipes
from build_tools.bundle.export import open_any
from build_tools.cli import main
from build_tools.data.recipe_faces import RecipeFaces
from build_tools.data.upright_faces import EDGE_SHARE, UprightFaces, poorer
from build_tools.model import load_model, save_onnx
from build_tools.passes.activations import session
from tests.build_tools.onnx_models import model_of

SIDE = 40
WIDE = SIDE + 2 * round(EDGE_SHARE * SIDE)
ADAPTER = """
input_px = 40
template = [[12, 12], [28, 12], [20, 20], [14, 28], [26, 28]]
metric = "euclidean"
threshold = 0.3
colour = "bgr"
"""
RECIPE = """
name = "small"
task = "embedder"
[[data]]
labels = "labels.json"
images = "."
[[teachers]]
model = "yunet.onnx"
decoder = "yunet"
labels = ["face"]
[embedding]
adapter = "small.adapter.toml"
[evaluation]
kind = "none"
[budget]
latency = 0
[[passes]]
kind = "train"
data = "faces"
held_out = 0.2
epochs = 30
batch = 8
rate = 0.0005
average = 0.5
[passes.distill]
teacher = "teacher.onnx"
form = "features"
features = ["embedding"]
"""


def faces(count: int, seed: int = 0) -> UprightFaces:
    """Plain squares of a colour each, with a darker left half."""
    rng = np.random.default_rng(seed)
    wide = np.repeat(rng.integers(60, 255, (count, 1, 1, 3)), WIDE, 1).repeat(WIDE, 2)
    wide[:, :, : WIDE // 2] //= 2
    return UprightFaces(wide.astype(np.uint8), SIDE)


def colour_teller(path: Path, weight: np.ndarray) -> None:  # type: ignore[type-arg]
    """Says a face's mean colour, turned by a matrix: input `face` [n, 3, SIDE, SIDE], output [n, 3]."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["embedding"], transB=1),
    ]
    shape = ["n", 3, SIDE, SIDE]
    save_onnx(model_of(nodes, {"weight": weight.astype(np.float32)}, {"face": shape}, {"embedding": ["n", 3]}), path)


def prepared(folder: Path, recipe: str = RECIPE) -> Path:
    """A recipe whose faces have been turned upright already, a teacher, and a student that is far from it."""
    colour_teller(folder / "teacher.onnx", np.eye(3) / 255)
    colour_teller(folder / "student.onnx", np.full((3, 3), 0.001))
    (folder / "labels.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    (folder / "small.adapter.toml").write_text(ADAPTER)
    path = folder / "small.toml"
    path.write_text(recipe)
    asked = RecipeFaces(recipes.read(path), folder)
    for held_back, count in ((False, 40), (True, 8)):
        file = asked.file(0.2, folder / "work" / "teachers", held_back=held_back)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, faces(count, int(held_back)).wide)
    return path


def compressed(folder: Path) -> int:
    return main([
        "compress", str(folder / "student.onnx"), "--recipe", str(folder / "small.toml"),
        "--work", str(folder / "work"), "--out", str(folder / "small.edge"),
    ])  # fmt: skip


def test_it_learns_to_say_of_poor_pictures_what_its_teacher_says_of_clear_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path)
    assert compressed(tmp_path) == 0
    told = capsys.readouterr()
    first, last = (told.out + told.err).split("held-out loss ")[1].split()[0:3:2]
    assert float(last) < 0.95 * float(first)  # a colour cannot be told through all that light does
    mine = load_model(tmp_path / "student.onnx")
    assert mine.parameters() == 9  # what it was given is as it was
    plain = faces(4, 5).plain().transpose(0, 3, 1, 2).astype(np.float32)
    its = session(load_model(tmp_path / "teacher.onnx").proto).run(None, {"face": plain})[0]
    said = session(open_any(tmp_path / "small.edge").proto).run(None, {"face": plain})[0]
    before = session(mine.proto).run(None, {"face": plain})[0]
    assert np.abs(said - its).mean() < 0.7 * np.abs(before - its).mean()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('decoder = "yunet"', 'decoder = "yolox"', "faces to learn from need [[data]], and one of [[teachers]] with"),
        ("batch = 8", "batch = 64", "40 faces to learn from are fewer than train.batch = 64"),
        ('adapter = "small.adapter.toml"', "", 'data = "faces" needs an embedder of one input, and in the recipe'),
    ],
)
def test_a_mistaken_recipe_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    prepared(tmp_path)
    (tmp_path / "small.toml").write_text(RECIPE.replace(old, new))
    assert compressed(tmp_path) != 0
    assert said in capsys.readouterr().err


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_view_is_the_same_for_the_same_chance_and_keeps_its_size(seed: int) -> None:
    mine = faces(4)
    first, again = (mine.view(np.random.default_rng(seed), 2) for _ in range(2))
    assert (first.shape, first.dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert np.array_equal(first, again)


def test_plain_faces_are_the_middle_of_wide_ones() -> None:
    edge = (WIDE - SIDE) // 2
    assert np.array_equal(faces(2).plain(), faces(2).wide[:, edge:-edge, edge:-edge])


def test_poorer_faces_have_the_side_that_is_wanted_and_are_not_changed_in_place() -> None:
    plain = faces(12).plain()
    before = plain.copy()
    made = poorer(np.random.default_rng(0), plain, 32)
    assert (made.shape, made.dtype) == ((12, 32, 32, 3), np.uint8)
    assert np.array_equal(plain, before)
    assert np.array_equal(made, poorer(np.random.default_rng(0), plain, 32))
