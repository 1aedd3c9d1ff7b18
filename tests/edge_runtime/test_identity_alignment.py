"""Turning a face upright: a similarity transform is found again, and pixels land where the points say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.identity.alignment import align, similarity

TEMPLATE = np.array([[46.2, 44.5], [101.4, 44.1], [74.4, 73.9], [50.4, 100.7], [97.9, 100.3]], np.float32)
turns = st.floats(-180, 180)
scales = st.floats(0.05, 20)
shifts = st.floats(-2000, 2000)
noise = st.lists(st.floats(-3, 3), min_size=10, max_size=10)


def moved(points: NDArray[np.float32], degrees: float, scale: float, dx: float, dy: float) -> NDArray[np.float32]:
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T + (dx, dy), np.float32)


def umeyama(points: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """His paper's equations 38 to 43, by the singular value decomposition."""
    mean_p, mean_q = points.mean(0), template.mean(0)
    about_p, about_q = points - mean_p, template - mean_q
    u, d, vt = np.linalg.svd(about_q.T @ about_p / len(points))
    s = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / (about_p**2).sum(1).mean()
    return np.hstack([scale * rotation, (mean_q - scale * rotation @ mean_p)[:, None]])


@given(turns, scales, shifts, shifts)
def test_a_known_similarity_is_found_again(degrees: float, scale: float, dx: float, dy: float) -> None:
    points = moved(TEMPLATE, degrees, scale, dx, dy)
    matrix = similarity(points, TEMPLATE)
    back = points @ matrix[:, :2].T + matrix[:, 2]
    # The points themselves are float32: at 2000 px their last bit is 1e-4 px.
    assert np.abs(back - TEMPLATE).max() < 1e-3 * max(1.0, 1.0 / scale)
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(1 / scale, rel=1e-3)


@given(turns, noise)
def test_noisy_points_are_fitted_as_umeyama_says(degrees: float, off: list[float]) -> None:
    points = moved(TEMPLATE, degrees, 0.7, 30.0, -20.0) + np.array(off, np.float32).reshape(5, 2)
    expected = umeyama(points.astype(np.float64), TEMPLATE.astype(np.float64))
    assert similarity(points, TEMPLATE) == pytest.approx(expected, abs=1e-6)


@given(noise)
def test_a_mirrored_face_is_turned_not_mirrored(off: list[float]) -> None:
    mirrored = TEMPLATE * (-1, 1) + np.array(off, np.float32).reshape(5, 2)
    assert np.linalg.det(similarity(mirrored.astype(np.float32), TEMPLATE)[:, :2]) >= 0


def dotted(points: NDArray[np.float32], size_wh: tuple[int, int], radius: float) -> NDArray[np.uint8]:
    """A black picture with a soft white dot around each point."""
    y, x = np.mgrid[0 : size_wh[1], 0 : size_wh[0]] + 0.5
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in points.astype(float))
    return np.repeat(np.asarray(255 * np.clip(light, 0, 1), np.uint8)[..., None], 3, 2)


def centres(picture: NDArray[np.uint8], near: NDArray[np.float32], reach: int) -> NDArray[np.float64]:
    """Where the dots near these points have their middle."""
    found = []
    for px, py in near.astype(int).tolist():
        part = picture[py - reach : py + reach, px - reach : px + reach, 0].astype(float)
        y, x = np.mgrid[py - reach : py + reach, px - reach : px + reach] + 0.5
        found.append([(x * part).sum() / part.sum(), (y * part).sum() / part.sum()])
    return np.array(found)


@pytest.mark.parametrize("degrees", [0, 25, -90])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 6.0])
def test_what_stood_at_the_points_stands_at_the_templates(degrees: float, scale: float) -> None:
    points = moved(TEMPLATE - 75, degrees, scale, 500, 450)
    face = align(dotted(points, (1000, 900), 3.0 * scale), points, TEMPLATE, 150)
    assert face.shape == (150, 150, 3)
    assert centres(face, TEMPLATE, 10) == pytest.approx(TEMPLATE, abs=0.15)


def test_fine_patterns_of_large_faces_fade_instead_of_flickering() -> None:
    y, x = np.mgrid[0:1200, 0:1200]
    checks = np.repeat(np.asarray((x + y) % 2 * 255, np.uint8)[..., None], 3, 2)
    face = align(checks, moved(TEMPLATE, 10, 6, 100, 100), TEMPLATE, 150)
    assert face.std() < 6


def test_beyond_the_picture_its_border_is_repeated() -> None:
    grey = np.full((60, 60, 3), 90, np.uint8)
    assert (align(grey, moved(TEMPLATE, 0, 0.4, 20, 20), TEMPLATE, 150) == 90).all()
    for far in (-5000, 5000):
        assert (align(grey, moved(TEMPLATE, 0, 4, far, far), TEMPLATE, 150) == 90).all()


def test_a_strided_view_is_taken_as_it_is() -> None:
    wide = np.random.default_rng(1).integers(0, 256, (200, 400, 3), dtype=np.uint8)
    view, points = wide[:, 100:300], moved(TEMPLATE, 5, 1, 10, 20)
    assert (align(view, points, TEMPLATE, 150) == align(view.copy(), points, TEMPLATE, 150)).all()
    assert cv2.absdiff(align(wide, points + np.float32([100, 0]), TEMPLATE, 150)[40:, 40:110],
                       align(view, points, TEMPLATE, 150)[40:, 40:110]).max() <= 1  # fmt: skip


def test_points_that_are_all_one_are_refused() -> None:
    with pytest.raises(ValueError, match="all of them are one point"):
        similarity(np.full((5, 2), 7, np.float32), TEMPLATE)
