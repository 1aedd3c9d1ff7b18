"""The shipped landmark head and face embedders: small enough, and run without anything that only builds models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.identity.alignment import align
from edge_runtime.identity.embedder import open_embedder
from edge_runtime.identity.landmarks import LandmarkHead, face_window
from edge_runtime.shipped import shipped

FACES = Path(__file__).resolve().parents[3] / "shared" / "data" / "identity"
BOX = (18, 11, 94, 108)
"""Where the face is on most of the pack's pictures of 112 px."""

needs_faces = pytest.mark.skipif(not FACES.is_dir(), reason="needs ../shared: faces are not part of this repository")


def test_they_keep_to_their_bytes() -> None:
    assert shipped("face_landmarks.edge").stat().st_size <= 30_000
    assert shipped("face_embedder_tiny.edge").stat().st_size <= 600_000
    assert shipped("face_embedder.edge").stat().st_size <= 2_000_000


def test_the_landmark_head_runs_without_torch_and_onnx() -> None:
    code = """
import sys
for name in ("torch", "onnx", "scipy", "build_tools"):
    sys.modules[name] = None
import numpy as np
from edge_runtime.identity.landmarks import LandmarkHead
from edge_runtime.shipped import shipped
print(LandmarkHead(shipped("face_landmarks.edge")).points(np.full((90, 90, 3), 90, np.uint8), (20, 20, 70, 80)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(5, 2)"


def test_points_of_anything_lie_on_the_crop() -> None:
    head = LandmarkHead(shipped("face_landmarks.edge"))
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    for picture in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        x1, y1, x2, y2 = face_window((10, 10, 70, 70))
        points = head.points(picture, (10, 10, 70, 70))
        assert (points > (x1, y1)).all()
        assert (points < (x2, y2)).all()


@needs_faces
def test_points_of_a_real_face_move_with_its_box_and_its_mirror_image() -> None:
    head = LandmarkHead(shipped("face_landmarks.edge"))
    bgr = cv2.imread(str(FACES / "train_001" / "01.jpg"))
    points = head.points(bgr, BOX)
    assert (points[:2, 1] < points[2, 1]).all()
    assert (points[2, 1] < points[3:, 1]).all()
    assert points[0, 0] < points[2, 0] < points[1, 0]
    moved = head.points(bgr, tuple(side + 5 for side in BOX))
    assert np.linalg.norm(moved - points, axis=1).mean() < 4
    mirrored = head.points(np.ascontiguousarray(bgr[:, ::-1]), (112 - BOX[2], BOX[1], 112 - BOX[0], BOX[3]))
    back = mirrored[[1, 0, 2, 4, 3]] * (-1, 1) + (112, 0)
    assert np.linalg.norm(back - points, axis=1).mean() < 4


@needs_faces
@pytest.mark.parametrize("name", ["face_embedder", "face_embedder_tiny"])
def test_two_pictures_of_a_person_are_nearer_than_those_of_two(name: str) -> None:
    head, embed = LandmarkHead(shipped("face_landmarks.edge")), open_embedder(name)
    assert embed.config.metric == "euclidean"

    def embedding(name: str) -> np.ndarray:
        bgr = cv2.imread(str(FACES / name))
        face = align(bgr, head.points(bgr, BOX), embed.template, embed.config.input_px)
        return embed(face)

    one, again, other = (embedding(f"train_{n}.jpg") for n in ("001/01", "001/02", "002/01"))
    assert np.linalg.norm(one - again) < embed.config.threshold < np.linalg.norm(one - other)
