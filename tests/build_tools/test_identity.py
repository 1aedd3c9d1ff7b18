"""`edge-build evaluate --identity` on a tiny pack of painted faces, and what the gate and calibration see of faces."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from build_tools.cli import main
from build_tools.data.aligned_faces import face_box, open_adapter, person_faces
from build_tools.data.calibration import open_calibration
from build_tools.data.persons import read_persons
from build_tools.errors import DataError, ModelError, RecipeError
from build_tools.evaluation.identity import Persons, embeddings
from build_tools.model import Model, save_onnx
from build_tools.recipe import CalibrationEntry, EmbeddingEntry, EvaluationEntry, InputEntry, Recipe
from edge_runtime.identity.landmarks import NAMES, LandmarkHead
from tests.build_tools.onnx_models import model_of

ADAPTER = """
input_px = 32
template = [[10, 10], [22, 10], [16, 16], [11, 22], [21, 22]]
metric = "euclidean"
threshold = 0.5
colour = "bgr"
"""
PICTURE_PX = 56
COLOURS = {"one": (200, 40, 40), "two": (40, 200, 40), "three": (40, 40, 200)}


def embedder() -> Model:
    """The mean colour of a face: input `face` [n, 3, 32, 32], output [n, 3]."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "scale"], ["embedding"]),
    ]
    weights = {"scale": np.full(3, 1 / 255, np.float32)}
    return model_of(nodes, weights, {"face": ["n", 3, 32, 32]}, {"embedding": ["n", 3]})


def landmark_head(folder: Path) -> Path:
    """A head that sees the points of an upright face where they mostly are, whatever is on the picture."""
    points = np.array([0.35, 0.4, 0.65, 0.4, 0.5, 0.55, 0.38, 0.7, 0.62, 0.7], np.float32).reshape(1, 10, 1, 1)
    nodes = [
        helper.make_node("GlobalAveragePool", ["bgr"], ["mean"]),
        helper.make_node("ReduceMean", ["mean"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["one", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "where"], ["points"]),
    ]
    weights = {"nothing": np.zeros((1, 1, 1, 1), np.float32), "where": points}
    model = model_of(nodes, weights, {"bgr": ["n", 3, "h", "w"]}, {"points": ["n", 10, 1, 1]})
    entry = model.proto.metadata_props.add()
    entry.key = "edge"
    entry.value = json.dumps(
        {
            "format": 1, "name": "still", "task": "landmarks", "classes": list(NAMES), "size_wh": [64, 64],
            "size_multiple": 64, "strides": [64], "decoding": "points",
        }
    )  # fmt: skip
    path = folder / "still.onnx"
    save_onnx(model, path)
    return path


def write_pack(folder: Path) -> Path:
    """Known persons of one colour each, in other light on each picture, and two strangers of other colours."""
    rng = np.random.default_rng(0)
    split: dict[str, object] = {"strangers": ["strangers/01.jpg", "strangers/02.jpg"]}
    strangers = {"strangers/01": (200, 200, 40), "strangers/02": (40, 200, 200)}
    for part, count in (("train", 3), ("calibration", 4)):
        split[part] = {f"{part}_{name}": count for name in COLOURS}
    pictures = {f"{part}_{n}/{i:02}": c for part in ("train", "calibration") for n, c in COLOURS.items()
                for i in range(1, 4 if part == "train" else 5)}  # fmt: skip
    for name, colour in (pictures | strangers).items():
        path = folder / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        bgr = np.clip(np.array(colour) * rng.uniform(0.9, 1.1) + rng.normal(0, 4, (PICTURE_PX, PICTURE_PX, 3)), 0, 255)
        cv2.imwrite(str(path), bgr.astype(np.uint8))
    (folder / "split.json").write_text(json.dumps(split))
    return folder


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Path:
    """A folder with a pack, a landmark head, and an embedder with its adapter."""
    write_pack(tmp_path / "pack")
    landmark_head(tmp_path)
    save_onnx(embedder(), tmp_path / "colour.onnx")
    (tmp_path / "colour.adapter.toml").write_text(ADAPTER)
    return tmp_path


def test_persons_of_their_own_colour_are_told_apart_by_it(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(desk / "colour.onnx"), "--identity", str(desk / "pack"), "--json"]
    plot = desk / "curve.png"
    assert main([*command, "--landmarks", str(desk / "still.onnx"), "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eer"] == 0
    assert found["frr_at_far1"] == 0
    assert found["model_bytes"] == (desk / "colour.onnx").stat().st_size
    assert found["pairs_same"] == 3 * 6
    assert found["pairs_other"] == 3 * 16 + 12 * 2
    assert set(found["by_face_px"]) == {"20", "40", "80"}
    assert cv2.imread(str(plot)) is not None


def test_an_embedder_that_sees_nothing_errs_in_half_of_all_pairs(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = embedder()
    blind.set_weight("scale", np.zeros(3, np.float32))
    save_onnx(blind, desk / "colour.onnx")
    command = ["evaluate", str(desk / "colour.onnx"), "--identity", str(desk / "pack"), "--json"]
    assert main([*command, "--landmarks", str(desk / "still.onnx")]) == 0
    assert json.loads(capsys.readouterr().out)["eer"] == 0.5


def test_without_json_a_person_reads_the_same(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(desk / "colour.onnx"), "--identity", str(desk / "pack")]
    assert main([*command, "--landmarks", str(desk / "still.onnx")]) == 0
    told = capsys.readouterr().out
    assert "as they are  equal error rate 0.0000" in told
    assert "18 pairs of one person, 72 of two" in told


def test_a_folder_that_is_no_identity_pack_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(desk / "colour.onnx"), "--identity", str(desk)]
    assert main([*command, "--landmarks", str(desk / "still.onnx")]) == DataError.exit_code
    assert "give the folder of an identity pack" in capsys.readouterr().err


def test_a_model_that_gives_no_row_of_numbers_is_no_embedder(desk: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["face"], ["mean"], axes=[0, 1, 2, 3], keepdims=0)]
    lone = model_of(nodes, {}, {"face": [1, 3, 32, 32]}, {"mean": []})
    faces = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ModelError, match="an embedder gives one row of numbers"):
        embeddings(lone.proto, open_adapter(desk / "colour.adapter.toml"), faces)


def test_the_gate_judges_on_persons_of_the_train_part(desk: Path) -> None:
    recipe = Recipe(
        name="colour",
        input=InputEntry(size_wh=(32, 32)),
        embedding=EmbeddingEntry("colour.adapter.toml", "still.onnx"),
        evaluation=EvaluationEntry(kind="identity", data="pack"),
    )
    score = Persons(recipe, desk)(embedder())
    assert (score.metric, score.value, score.higher_is_better) == ("eer", 0, False)


def test_faces_of_a_pack_are_calibration_data_as_the_embedder_sees_them(desk: Path) -> None:
    picture = np.full((120, 160, 3), 30, np.uint8)
    picture[20:90, 40:110] = (0, 0, 255)
    cv2.imwrite(str(desk / "a.png"), picture)
    (desk / "labels.json").write_text(
        json.dumps(
            {
                "categories": [{"id": 1, "name": "face"}],
                "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 120}],
                "annotations": [{"image_id": 1, "category_id": 1, "bbox": [40, 20, 70, 70]}],
            }
        )
    )
    entry = CalibrationEntry(kind="faces", path="labels.json", images=".")
    embedding = EmbeddingEntry("colour.adapter.toml", "still.onnx")
    feeds = open_calibration(entry, InputEntry(), embedder().proto, desk, 1, embedding)
    assert feeds is not None
    (feed,) = feeds
    assert feed["face"].shape == (1, 3, 32, 32)
    assert feed["face"][0, 2].mean() > 200 > 20 > feed["face"][0, 0].mean()


def test_a_small_picture_shows_the_same_face(desk: Path) -> None:
    adapter, head = open_adapter(desk / "colour.adapter.toml"), LandmarkHead(desk / "still.onnx")
    people = read_persons(desk / "pack", "train")
    plain, whose = person_faces(people, head, adapter)
    small, _ = person_faces(people, head, adapter, 20)
    assert plain.shape == small.shape == (9, 32, 32, 3)
    assert whose.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(plain.mean((1, 2)), small.mean((1, 2)), atol=6)
    x1, y1, x2, y2 = face_box(plain[0])
    assert 0 < x1 < x2 < 32
    assert 0 < y1 < y2 < 32


def test_an_adapter_with_a_wrong_key_is_refused_by_name(desk: Path) -> None:
    (desk / "colour.adapter.toml").write_text(ADAPTER + "colours = 3\n")
    with pytest.raises(RecipeError, match="colours"):
        open_adapter(desk / "colour.adapter.toml")
