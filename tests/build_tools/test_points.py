"""A landmark head is taught five points on crops that are moved, turned and mirrored with their points, and runs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from build_tools import recipe as recipes
from build_tools.cli import main
from build_tools.data.aligned_faces import face_box, open_landmarks
from build_tools.data.face_crops import (
    CROP_PX,
    WIDE_PX,
    FaceCrops,
    FacePack,
    is_held_back,
    plain,
    read_faces,
    shrunk,
    varied,
)
from build_tools.data.key_points import MIRRORED, MOSTLY, PointTeacher, mirror_points
from build_tools.data.pictures import read_picture
from build_tools.errors import ModelError, RecipeError
from build_tools.evaluation.points import point_errors
from build_tools.nets.centre import NetConfig
from build_tools.nets.points import PointsNet, nearest_cells
from build_tools.training.points_trainer import PointsTrainer, faces_file, keep_faces
from edge_runtime.identity.landmarks import LandmarkHead
from edge_runtime.imaging.part import square_bgr

FIVE = np.array([[38, 42], [66, 42], [52, 54], [42, 68], [62, 68]], np.float32)
"""Of an upright face, in pixels of a wide crop."""
SHARED = Path(__file__).resolve().parents[3] / "shared"
YUNET = SHARED / "peers" / "yunet_n.onnx"

RECIPE = """
name = "painted"
task = "landmarks"
classes = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]
size_wh = [64, 64]
[[data]]
labels = "labels.json"
images = "."
[[teachers]]
model = "yunet.onnx"
decoder = "yunet"
labels = ["face"]
[net]
family = "points"
stem = 8
widths = [16, 16, 16, 16]
depths = [0, 0, 0, 0]
neck = 16
[train]
batch = 16
warmup = 10
average = 0.9
[[phases]]
epochs = 12
rate = 0.01
[evaluation]
kind = "none"
[budget]
latency = 0
[[passes]]
kind = "quantize"
bits = 8
"""


def painted(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """A wide crop with eyes of one colour, a nose of another and a mouth of a third, on a dark ground."""
    bgr = np.full((WIDE_PX, WIDE_PX, 3), int(rng.integers(0, 40)), np.uint8)
    for (x, y), colour in zip(points, ((255, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 255)), strict=True):
        cv2.circle(bgr, (round(float(x) * 16 - 8), round(float(y) * 16 - 8)), 3 * 16, colour, -1, cv2.LINE_AA, 4)
    return bgr


def painted_faces(count: int, seed: int = 0) -> FaceCrops:
    rng = np.random.default_rng(seed)
    points = FIVE + rng.normal(0, 3, (count, 1, 2)).astype(np.float32) + rng.normal(0, 1, (count, 5, 2))
    points = points.astype(np.float32)
    return FaceCrops(np.stack([painted(rng, five) for five in points]), points, np.full(count, 50, np.float32))


def centre_of(bgr: np.ndarray, channel: int) -> np.ndarray:
    """The middle of what is bright in one channel only, as fractions of the crop."""
    others = [c for c in range(3) if c != channel]
    weight = np.maximum(bgr[..., channel].astype(float) - bgr[..., others].max(2), 0)
    rows, columns = np.mgrid[0 : bgr.shape[0], 0 : bgr.shape[1]] + 0.5
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum() / bgr.shape[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_go_where_the_picture_goes(seed: int) -> None:
    faces = painted_faces(1)
    (crop,), (points,) = varied(np.random.default_rng(seed), faces, np.array([0]))
    if (crop[..., 0] == crop[..., 1]).all() or not (points > 0.15).all() or not (points < 0.85).all():
        return  # grey, or partly out of sight
    np.testing.assert_allclose(centre_of(crop, 1), points[2], atol=0.015)
    np.testing.assert_allclose(centre_of(crop, 0), points[:2].mean(0), atol=0.015)


def test_the_left_eye_of_a_mirror_image_is_what_was_the_right_one() -> None:
    mirrored = mirror_points(FIVE, 104)
    assert MIRRORED == (1, 0, 2, 4, 3)
    np.testing.assert_allclose(mirrored[0], [104 - 66, 42])
    np.testing.assert_allclose(mirror_points(mirrored, 104), FIVE)


def test_a_plain_crop_is_the_middle_of_a_wide_one() -> None:
    faces = painted_faces(3)
    crops, points = plain(faces)
    assert crops.shape == (3, CROP_PX, CROP_PX, 3)
    np.testing.assert_allclose(centre_of(crops[1], 1), points[1, 2], atol=0.02)


def test_a_small_face_keeps_its_place() -> None:
    crops, points = plain(painted_faces(2))
    small = shrunk(crops, 20)
    assert small.shape == crops.shape
    assert (small != crops).any()
    np.testing.assert_allclose(centre_of(small[0], 1), points[0, 2], atol=0.03)


def test_the_cells_around_a_point_share_it() -> None:
    place = torch.tensor([[[0.25, 0.5], [0.4375, 0.0625], [-0.2, 1.3]]])
    shares = nearest_cells(place)
    middles = (torch.arange(8) + 0.5) / 8
    columns, rows = shares.reshape(1, 3, 8, 8).sum(2), shares.reshape(1, 3, 8, 8).sum(3)
    np.testing.assert_allclose(shares.sum(2).numpy(), 1, atol=1e-6)
    np.testing.assert_allclose((columns @ middles)[0].numpy(), [0.25, 0.4375, 0.0625], atol=1e-6)
    np.testing.assert_allclose((rows @ middles)[0].numpy(), [0.5, 0.0625, 0.9375], atol=1e-6)


def test_errors_are_shares_of_the_distance_between_the_eyes() -> None:
    truth = FIVE[None]
    assert point_errors(truth + np.float32([2.8, 0]), truth).tolist() == pytest.approx([0.1])


def test_an_untrained_network_takes_every_point_to_be_in_the_middle() -> None:
    net = PointsNet(5, NetConfig(8, (16, 16, 16, 16), (0, 0, 0, 0), 16)).eval()
    with torch.no_grad():
        said = net(torch.full((2, 3, 64, 64), 128.0))
    assert said.shape == (2, 10, 1, 1)
    np.testing.assert_allclose(said.numpy(), 0.5, atol=0.2)


@pytest.mark.timeout(600)
def test_painted_faces_are_learnt_compressed_and_found_by_the_node(tmp_path: Path) -> None:
    path, out, bundle = tmp_path / "painted.toml", tmp_path / "runs" / "painted", tmp_path / "painted.edge"
    path.write_text(RECIPE)
    (tmp_path / "labels.json").write_text("{}")
    recipe = recipes.load(path)
    for held_back, faces in ((False, painted_faces(320)), (True, painted_faces(24, seed=9))):
        keep_faces(faces_file(recipe, tmp_path, out.parent / "teachers", held_back=held_back), faces)
    assert main(["train", str(path), "--out", str(out)]) == 0
    assert main(["compress", str(out / "painted.onnx"), "--recipe", str(path), "--out", str(bundle)]) == 0

    frame = np.zeros((400, 600, 3), np.uint8)
    frame[100:204, 200:304] = painted_faces(1, seed=5).wide[0]
    expected = painted_faces(1, seed=5).points[0] + (200, 100)
    found = LandmarkHead(bundle).points(frame, (252 - 25, 152 - 25, 252 + 25, 152 + 25))
    assert np.linalg.norm(found - expected, axis=1).mean() < 4


def test_landmarks_of_another_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(RECIPE.replace('"nose"', '"chin"'))
    with pytest.raises(RecipeError, match="classes must be left_eye"):
        PointsTrainer(path, tmp_path / "out")


def test_a_teacher_without_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"teacher\.onnx: not a usable model"):
        PointTeacher(path, 0.5)


def test_a_person_is_on_one_side_whatever_its_pictures_are_called() -> None:
    sides = {name: is_held_back(name, 0.3) for name in (f"train_{i:03}" for i in range(200))}
    assert 30 < sum(sides.values()) < 90
    assert all(is_held_back(name, 0.3) == side for name, side in sides.items())


@pytest.mark.skipif(not YUNET.is_file(), reason="needs ../shared: YuNet and faces are not part of this repository")
def test_yunet_finds_the_eyes_above_the_mouth_on_a_real_face() -> None:
    pack = FacePack(SHARED / "data/identity/split.json", SHARED / "data/identity", "train")
    faces = read_faces([pack], PointTeacher(YUNET, 0.6), lambda name: name == "train_001")
    assert len(faces) >= 6
    eyes, mouth = faces.points[:, :2].mean(1), faces.points[:, 3:].mean(1)
    assert (eyes[:, 1] < faces.points[:, 2, 1]).all()
    assert (faces.points[:, 2, 1] < mouth[:, 1]).all()
    assert (faces.points[:, 0, 0] < faces.points[:, 1, 0]).all()
    assert square_bgr(faces.wide[0], (0, 0, WIDE_PX, WIDE_PX), CROP_PX).shape == (CROP_PX, CROP_PX, 3)


@pytest.mark.skipif(not YUNET.is_file(), reason="needs ../shared: YuNet and faces are not part of this repository")
def test_yunet_stands_in_for_a_landmark_head_and_guesses_where_it_sees_no_face() -> None:
    head = open_landmarks(YUNET)
    bgr = read_picture(SHARED / "data/identity/train_001/01.jpg")
    points = head.points(bgr, face_box(bgr))
    assert (points[:2, 1] < points[2, 1]).all()
    assert (points[2, 1] < points[3:, 1]).all()
    guessed = head.points(np.full((90, 90, 3), 127, np.uint8), (10, 20, 60, 80))
    np.testing.assert_allclose(guessed, np.array(MOSTLY) * (50, 60) + (10, 20), atol=1e-4)
