"""The row of VGG-16's shape: the paper's network, its shares and bits, and a verdict that needs every goal."""

from __future__ import annotations

import numpy as np
import pytest

from build_tools.papers import vgg

FIGURES = {
    "fp32_bytes": 553_430_176,
    "file_bytes": {"huffman": 10_808_777, "rans": 10_731_663},
    "weights_bytes": {"huffman": 10_807_649, "rans": 10_730_529},
    "floor_bytes": 10_723_347.8,
    "cpu_seconds": 85.0,
    "seconds": 90.0,
    "decode_seconds": {"huffman": 1.4, "rans": 1.2},
    "peak_gib": 4.2,
}


def test_the_network_has_the_papers_weights() -> None:
    sizes = {name: int(np.prod(shape)) for name, shape in vgg.shapes().items()}
    assert list(sizes) == list(vgg.KEPT)
    assert sum(sizes.values()) + sum(shape[0] for shape in vgg.shapes().values()) == 138_357_544
    kept = sum(size * vgg.KEPT[name] for name, size in sizes.items())
    assert kept / sum(sizes.values()) == pytest.approx(0.075, abs=0.002)  # the table's last line


def test_a_row_within_all_goals_is_reached_and_says_that_its_weights_are_random() -> None:
    row = vgg._row(FIGURES)
    assert row.reached
    assert (row.bytes, row.ratio, row.error) == (10_808_777, 51.2, None)
    assert "random weights: bytes and time only" in row.note
    assert "entropy = 0.001" in row.note


@pytest.mark.parametrize(
    "worse",
    [
        {"file_bytes": {"huffman": 11_300_001, "rans": 10_731_663}},
        {"file_bytes": {"huffman": 10_808_777, "rans": 10_808_777}},
        {"cpu_seconds": 180.0},
        {"peak_gib": 6.0},
    ],
)
def test_a_row_that_misses_one_goal_is_not_reached(worse: dict[str, object]) -> None:
    assert not vgg._row(FIGURES | worse).reached
