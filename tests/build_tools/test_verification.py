"""Error rates of a verification: known sets of distances, and a plain count over all thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from build_tools.data.persons import read_persons
from build_tools.errors import DataError
from build_tools.evaluation.verification import pair_distances, verification_curve

DISTANCES = st.lists(st.integers(0, 12).map(lambda n: n / 8), min_size=1, max_size=24)


def rates_reference(same: list[float], other: list[float]) -> list[tuple[float, float]]:
    """(FAR, FRR) at every threshold that matters, counted pair by pair."""
    thresholds = [-np.inf, *sorted({*same, *other})]
    return [(sum(d <= t for d in other) / len(other), sum(d > t for d in same) / len(same)) for t in thresholds]


def test_pairs_that_are_told_apart_have_no_error() -> None:
    curve = verification_curve(np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.8]))
    assert curve.eer == 0
    assert curve.frr_at(0.01) == 0
    assert 0.3 <= curve.threshold < 0.7


def test_one_pair_in_four_on_the_wrong_side_is_an_error_of_a_quarter() -> None:
    curve = verification_curve(np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.5, 0.7, 0.8, 0.9]))
    assert curve.eer == 0.25
    assert curve.frr_at(0.01) == 0.25
    assert curve.frr_at(0.25) == 0


def test_distances_that_know_nothing_err_in_half_of_all_pairs() -> None:
    alike = np.linspace(0, 1, 1001)
    assert verification_curve(alike, alike).eer == pytest.approx(0.5, abs=0.001)


@given(DISTANCES, DISTANCES)
def test_the_rates_are_those_of_a_plain_count(same: list[float], other: list[float]) -> None:
    curve = verification_curve(np.array(same), np.array(other))
    expected = rates_reference(same, other)
    np.testing.assert_allclose(np.stack([curve.far, curve.frr], 1), expected)
    nearest = min(abs(far - frr) for far, frr in expected)
    meetings = [(far + frr) / 2 for far, frr in expected if abs(far - frr) <= nearest + 1e-12]
    assert any(curve.eer == pytest.approx(m) for m in meetings)
    for far_max in (0.0, 0.01, 0.3, 1.0):
        assert curve.frr_at(far_max) == pytest.approx(min(frr for far, frr in expected if far <= far_max))


@given(arrays.arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=16)))
def test_every_pair_is_compared_once(embeddings: np.ndarray) -> None:
    persons, strangers = np.array([0, 0, 1, 1]), embeddings[4:]
    same, other = pair_distances(embeddings[:4], persons, strangers)
    expected = [np.linalg.norm(embeddings[i] - embeddings[j]) for i, j in ((0, 1), (2, 3))]
    np.testing.assert_allclose(same, expected, atol=1e-6)
    assert len(other) == 4 + 4  # between the two persons, and each picture with the stranger


def write_pack(folder: Path, split: object) -> Path:
    folder.mkdir()
    (folder / "split.json").write_text(json.dumps(split))
    for name in ("train_001/01.jpg", "train_001/02.jpg", "strangers/01.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_persons_come_with_their_pictures_and_strangers_one_by_one(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "pack", {"train": {"train_001": 2}, "strangers": ["strangers/01.jpg"]})
    (person,) = read_persons(folder, "train")
    assert person.name == "train_001"
    assert [p.name for p in person.pictures] == ["01.jpg", "02.jpg"]
    (stranger,) = read_persons(folder, "strangers")
    assert stranger.pictures == (folder / "strangers/01.jpg",)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": {"train_001": 3}}, "train_001 should have 3 pictures"),
        ({"calibration": {}}, "has no part train"),
        ([], "has no part train"),
        ({"train": 3}, "must map persons"),
        ({"train": ["strangers/09.jpg"]}, "should have 1 pictures"),
    ],
)
def test_a_pack_that_is_not_whole_is_refused(tmp_path: Path, split: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_persons(write_pack(tmp_path / "pack", split), "train")


def test_a_folder_without_split_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split\.json: cannot be read"):
        read_persons(tmp_path, "train")
