"""The leaderboard: measured once, forgotten when a file changes, written between its markers and nowhere else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import onnx
import pytest
from matplotlib.text import Annotation
from onnx import TensorProto, helper, numpy_helper

from build_tools.model import Model
from edge_runtime.shipped import shipped
from tests.benchmarks.contestants import OurContestant, contestants, digest, multiplications
from tests.benchmarks.leaderboard import Board
from tests.benchmarks.leaderboard_page import BEGIN, END, page, rewrite
from tests.benchmarks.leaderboard_plots import FILES, drawn, extent, gap, plot

FIGURES = {"truths": 5, "ap8": 0.5, "ap16": 0.625, "ap32": 0.75, "crop_recall8": 0.875, "crop_recall16": 1.0}


def row(name: str, ours: bool = False, size: int = 1234) -> dict[str, Any]:
    sizes = {f"{what} {at}": value for at in ("320x240", "160x120") for what, value in (
        ("macs", 68_844_800), ("time", {"": 1.25}), ("faces", FIGURES))}  # fmt: skip
    halves = {half: {"person": FIGURES, "vehicle": {"truths": 0}} for half in ("COCO val2017", "Level2-FSD")}
    return {"name": name, "ours": ours, "bytes": size, "parameters": 53112, "scenes": halves, **sizes}


@dataclass
class Counted:
    """A contestant that counts how often it is asked."""

    name: str
    files: list[Path]
    ours: bool = False
    fixed: bool = True
    sets: set[str] = field(default_factory=set)
    asked: int = 0

    def parameters(self) -> int:
        self.asked += 1
        return 7

    def macs(self, size_wh: tuple[int, int]) -> int:
        return 9

    def runs(self, size_wh: tuple[int, int]) -> dict[str, Any]:
        return {"": lambda: None}

    def figures(self, *_: object) -> dict[str, Any]:
        return {"per_class": {"face": {**FIGURES, "ap8": 0.38849}}}


@pytest.fixture
def one(tmp_path: Path) -> Counted:
    (tmp_path / "one.onnx").write_bytes(b"one")
    return Counted("yunet_s", [tmp_path / "one.onnx"])


def asked_again(one: Counted, folder: Path, again: list[str]) -> int:
    """How often a second run asks."""
    Board(folder / "board.json").measure(one, [one], folder)  # type: ignore[arg-type]
    before = one.asked
    second = Board(folder / "board.json")
    second.keep_only([one], again)  # type: ignore[list-item]
    second.measure(one, [one], folder)  # type: ignore[arg-type]
    return one.asked - before


def test_what_was_measured_is_not_measured_again_unless_asked(one: Counted, tmp_path: Path) -> None:
    assert asked_again(one, tmp_path, []) == 0
    assert asked_again(one, tmp_path, ["other"]) == 0
    assert asked_again(one, tmp_path, ["yunet_s"]) == 1
    assert asked_again(one, tmp_path, ["all"]) == 1
    assert json.loads((tmp_path / "board.json").read_text())["yunet_s"]["bytes"] == 3


def test_a_changed_file_is_measured_anew_and_one_that_is_gone_is_forgotten(one: Counted, tmp_path: Path) -> None:
    Board(tmp_path / "board.json").measure(one, [one], tmp_path)  # type: ignore[arg-type]
    one.files[0].write_bytes(b"other")
    board = Board(tmp_path / "board.json")
    board.keep_only([one], [])  # type: ignore[list-item]
    assert board.rows == {}
    assert digest(one.files) != digest([*one.files, *one.files])


def test_the_page_keeps_what_stands_around_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Models\n\nbefore\n\n{BEGIN}\nstale\n{END}\n\nafter\n")
    rewrite(readme, [row("yunet_s"), row("face_cropper", ours=True, size=43000)])
    once = readme.read_text()
    assert once.startswith("# Models\n\nbefore\n\n")
    assert once.endswith("\n\nafter\n")
    assert "stale" not in once
    rewrite(readme, [row("yunet_s"), row("face_cropper", ours=True, size=43000)])
    assert readme.read_text() == once


def test_a_page_without_markers_gets_them_at_its_end(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Models\n")
    rewrite(readme, [row("yunet_s")])
    assert readme.read_text().startswith(f"# Models\n\n{BEGIN}\n")
    assert readme.read_text().endswith(f"{END}\n")


def test_rows_are_in_order_of_bytes_and_ours_are_bold() -> None:
    text = page([row("yunet_s", size=237823), row("face_cropper", ours=True, size=43000)])
    assert "| **face_cropper** | 43,000 | 53,112 | 68.8 | 1.25 | 0.500 | 0.625 | 0.750 | 0.875 | 1.000 |" in text
    assert text.index("**face_cropper**") < text.index("yunet_s |")


def test_the_plots_are_drawn(tmp_path: Path) -> None:
    plot(tmp_path, [row("yunet_s", size=237823), row("face_cropper", ours=True, size=43000)])
    assert {p.name for p in tmp_path.glob("*.png")} == {"leaderboard_bytes.png", "leaderboard_time.png"}


def test_figures_are_kept_as_they_were_measured_and_rounded_once(one: Counted, tmp_path: Path) -> None:
    one.sets = {"faces"}
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "val.json").write_text('{"images": [], "annotations": [], "categories": []}')
    board = Board(tmp_path / "board.json")
    board.measure(one, [one], tmp_path)  # type: ignore[arg-type]
    assert board.rows["yunet_s"]["faces 320x240"]["ap8"] == 0.38849
    told = row("yunet_s") | board.rows["yunet_s"] | {"macs 160x120": 9, "time 160x120": {"": 1.0}}
    assert "| 0.388 | 0.625 |" in page([told])  # and not 0.389, as 0.3885 is


CROWD = (
    ("yunet_s", 237_823, {"": 1.0}, 0.785), ("yunet_n", 322_906, {"": 1.4}, 0.852),
    ("ultraface_slim", 1_047_549, {"": 3.6}, 0.772), ("ultraface_rfb", 1_114_081, {"": 3.8}, 0.779),
    ("scene_attention", 43_942, {"": 0.55}, 0.549), ("face_cropper_22k", 21_851, {"": 0.53}, 0.591),
    ("scene_attention + crop_detector", 223_144, {" 1 crops": 1.02, " 4 crops": 2.06}, 0.75),
)  # fmt: skip
"""Dots that lie close together, as those of real models did."""


def crowded() -> list[dict[str, Any]]:
    return [
        row(name, " + " in name, size) | {"time 320x240": times, "faces 320x240": {**FIGURES, "ap8": ap8}}
        for name, size, times, ap8 in CROWD
    ]


@pytest.mark.parametrize("file", FILES)
def test_each_name_is_tied_to_its_dot_or_nearest_to_it_and_covers_no_other(file: str) -> None:
    figure = drawn(file, crowded())
    axis = figure.axes[0]
    dots = [tuple(dot) for line in axis.lines if line.get_marker() != "None" for dot in line.get_xydata()]
    names = [text for text in axis.texts if isinstance(text, Annotation)]
    boxes = [extent(text) for text in names]
    assert len(names) == len(CROWD)
    for text, box in zip(names, boxes, strict=True):
        gaps = {dot: gap(box, axis.transData.transform(dot)) for dot in dots}
        assert text.arrow_patch is not None or min(gaps, key=gaps.__getitem__) == text.xy
        assert min(gaps.values()) > 0
        assert sum(box.overlaps(other) for other in boxes) == 1  # itself
        assert axis.bbox.fully_contains(box.x0, box.y0)
        assert axis.bbox.fully_contains(box.x1, box.y1)
    plt.close(figure)


def test_attention_with_a_detector_spans_its_times_with_one_crop_to_four() -> None:
    figure = drawn("time", crowded())
    axis = figure.axes[0]
    assert [1.02, 2.06] in [list(line.get_xdata()) for line in axis.lines]
    assert "scene_attention\n+ crop_detector\n(1 to 4 crops)" in [text.get_text() for text in axis.texts]
    plt.close(figure)


def test_multiplications_are_counted_by_hand() -> None:
    weights = [
        numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "full"),
        numpy_helper.from_array(np.zeros((8, 1, 3, 3), np.float32), "depthwise"),
        numpy_helper.from_array(np.zeros((8, 5), np.float32), "dense"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "full"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], group=8, pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "dense"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    proto = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    places = 16 * 12
    assert multiplications(Model(proto), (32, 24)) == places * 8 * 27 + places * 8 * 9 + 8 * 5


def test_every_attention_network_that_is_shipped_takes_part_and_the_default_one_with_the_detector(
    tmp_path: Path,
) -> None:
    models = shipped("scene_attention.toml").parent
    names = {c.name: c for c in contestants(models, tmp_path)}
    assert {"yunet_s", "scene_attention", "scene_attention + crop_detector"} <= set(names)
    pair = names["scene_attention + crop_detector"]
    assert isinstance(pair, OurContestant)
    assert pair.sets == {"faces", "scenes"}
    assert set(pair.runs((160, 120))) == {" 1 crops", " 4 crops"}
