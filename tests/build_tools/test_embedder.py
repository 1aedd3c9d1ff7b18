"""A face embedder learns what a larger one says of faces, from poorer pictures of them, and runs on the node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from build_tools.cli import main
from build_tools.data.upright_faces import EDGE_SHARE, UprightFaces, poorer
from build_tools.model import save_onnx
from build_tools.nets.centre import NetConfig
from build_tools.nets.embedder import EmbedderNet, distance
from build_tools.training.embedder_trainer import EmbedderTrainer
from edge_runtime.identity.embedder import OnnxEmbedder
from tests.build_tools.onnx_models import model_of

SIDE = 40
WIDE = SIDE + 2 * round(EDGE_SHARE * SIDE)
ADAPTER = """
input_px = {side}
template = [[12, 12], [28, 12], [20, 20], [14, 28], [26, 28]]
metric = "euclidean"
threshold = 0.3
colour = "bgr"
"""
RECIPE = """
name = "small"
task = "embedder"
size_wh = [32, 32]
[[data]]
labels = "labels.json"
images = "."
[[teachers]]
model = "yunet.onnx"
decoder = "yunet"
labels = ["face"]
[embedding]
teacher = "large.onnx"
teacher_adapter = "large.adapter.toml"
[net]
family = "embedder"
stem = 8
widths = [16, 16, 16, 16]
depths = [0, 0, 0, 0]
neck = 3
[train]
batch = 8
warmup = 4
average = 0.8
[[phases]]
epochs = 6
rate = 0.01
views = 2
"""


def faces(count: int, seed: int = 0) -> UprightFaces:
    """Plain squares of a colour each, with a darker left half."""
    rng = np.random.default_rng(seed)
    wide = np.repeat(rng.integers(60, 255, (count, 1, 1, 3)), WIDE, 1).repeat(WIDE, 2)
    wide[:, :, : WIDE // 2] //= 2
    return UprightFaces(wide.astype(np.uint8), SIDE)


def teacher(folder: Path) -> None:
    """Says a face's mean colour: input `face` [n, 3, SIDE, SIDE], output [n, 3]."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "scale"], ["embedding"]),
    ]
    weights = {"scale": np.full(3, 1 / 255, np.float32)}
    shape = ["n", 3, SIDE, SIDE]
    save_onnx(model_of(nodes, weights, {"face": shape}, {"embedding": ["n", 3]}), folder / "large.onnx")
    (folder / "large.adapter.toml").write_text(ADAPTER.format(side=SIDE))


def trainer(folder: Path, out: str, recipe: str = RECIPE, *, resume: bool = False) -> EmbedderTrainer:
    """A training whose faces have been turned upright already."""
    teacher(folder)
    (folder / "labels.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    (folder / "small.toml").write_text(recipe)
    made = EmbedderTrainer(folder / "small.toml", folder / out, resume)
    for held_back, count in ((False, 32), (True, 8)):
        file = made.faces_file(held_back=held_back)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, faces(count, int(held_back)).wide)
    return made


def test_it_learns_what_the_teacher_says_and_runs_on_the_node(tmp_path: Path) -> None:
    path = trainer(tmp_path, "out", RECIPE.replace("epochs = 6", "epochs = 24")).run()
    told = json.loads((tmp_path / "out" / "history.json").read_text())["epochs"]
    assert told[-1]["held_out"] < 0.5 * told[0]["held_out"]
    assert (tmp_path / "out" / "curves.png").stat().st_size > 5000
    (tmp_path / "out" / "small.adapter.toml").write_text(ADAPTER.format(side=32))
    embedder = OnnxEmbedder(path)
    grey = np.full((32, 32, 3), 128, np.uint8)
    assert embedder(grey).shape == (3,)
    net = EmbedderNet(32, NetConfig(8, (16, 16, 16, 16), (0, 0, 0, 0), 3)).eval()
    net.load_state_dict(torch.load(next((tmp_path / "out").glob("checkpoint-*.pt")), weights_only=True)["average"])
    with torch.no_grad():
        wanted = net(torch.full((1, 3, 32, 32), 128.0)).flatten().numpy()
    np.testing.assert_allclose(embedder(grey), wanted, atol=1e-4)


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def ended(out: str) -> dict[str, torch.Tensor]:
        (file,) = (tmp_path / out).glob("checkpoint-*.pt")
        weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["net"]
        return weights

    trainer(tmp_path, "whole").run()
    cut = trainer(tmp_path, "cut")
    asked = []

    def stops(faces: UprightFaces, teacher: object, view: int) -> np.ndarray:  # type: ignore[type-arg]
        asked.append(view)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return answers(faces, teacher, view)

    answers = cut._answers
    cut._answers = stops  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    assert asked == [0, 1, 0, 1]
    trainer(tmp_path, "cut", resume=True).run()
    once, again = ended("whole"), ended("cut")
    assert [name for name in once if not torch.equal(once[name], again[name])] == []


def test_a_training_that_is_there_is_not_begun_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, "out").run()
    assert main(["train", str(tmp_path / "small.toml"), "--out", str(tmp_path / "out")]) == 1
    assert "a training is here already; add --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size_wh = [32, 32]", "size_wh = [40, 40]", "multiple of 32"),
        ('teacher = "large.onnx"', "", "embedding.teacher, which it learns from"),
        ('teacher = "large.onnx"', 'teacher = "none.onnx"', "none.onnx: no such embedder; check embedding.teacher"),
        ("neck = 3", "neck = 5", "net.neck = 5: the teacher says 3 numbers"),
        ("batch = 8", "batch = 64", "32 faces to learn from are fewer than train.batch"),
        ('decoder = "yunet"', 'decoder = "yolox"', "one of teachers with decoder yunet"),
    ],
)
def test_a_mistaken_recipe_is_refused_with_the_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        trainer(tmp_path, "out", RECIPE.replace(old, new)).run()


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


def test_the_distance_is_euclidean() -> None:
    mine, wanted = torch.tensor([[3.0, 0.0], [0.0, 0.0]]).reshape(2, 2, 1, 1), torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    assert float(distance(mine, wanted)) == pytest.approx(2.5, abs=1e-3)
