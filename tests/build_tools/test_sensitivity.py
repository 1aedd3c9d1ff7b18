"""`edge-build sensitivity`: its table, heat map and page; and the page of a search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_tools.cli import main
from build_tools.search.front import Front, Point
from build_tools.search.heat_map import drawn
from build_tools.search.pages import front_page, sensitivity_page
from build_tools.search.sensitivity import LEVELS, LayerScan

SCANS = [
    LayerScan("block.<conv>.weight", "Conv", (16, 8, 3, 3), {
        "prune": {0.5: 0.0, 0.7: 0.002, 0.9: 0.4}, "bits": {8: -0.0001, 4: 0.02, 2: 0.9},
        "rank": {0.75: None, 0.5: None, 0.25: None},
    }),
]  # fmt: skip


def test_the_page_shows_every_loss_and_escapes_names() -> None:
    page = sensitivity_page(SCANS, "Sensitivity of <net>")

    assert "block.&lt;conv&gt;.weight" in page
    assert "<net>" not in page
    for said in ("16x8x3x3", "0.20%", "40.00%", "90.00%", "-0.01%"):
        assert said in page
    assert page.count('class="off"') == 3


def test_the_heat_map_is_a_picture() -> None:
    assert drawn(SCANS, "t", "png").startswith(b"\x89PNG")
    assert b"<svg" in drawn(SCANS, "t", "svg")


def point(trial: int, size: int, loss: float) -> Point:
    tables = ({"kind": "doctor"}, {"kind": "prune", "structure": "weights", "layers": {"w": 0.5, "v": 0.25}})
    return Point(trial, size, 0.9, loss, 1 - loss, 1.5, tables)


def test_the_page_of_a_search_marks_the_best_and_says_what_each_recipe_does() -> None:
    small, good, behind = point(3, 900, 0.2), point(5, 2000, 0.001), point(4, 3000, 0.3)
    front = Front("net", ("agreement", 1.0), True, (small, good), (behind,), 1, good)

    page = front_page(front, "sensitivity.html")

    assert "front-02.toml (best within the budget)" in page
    assert "front-01.toml (best" not in page
    assert "prune weights: 2 layers at 0.25 to 0.5" in page
    assert "trial 4: 3,000 bytes" in page
    assert '<a href="sensitivity.html">' in page
    assert "2 of 3 recipes" in page
    assert "Nothing was measured" in front_page(Front("net", ("error", 0.1), False, (), (), 4, None), "s.html")


def small_net(path: Path) -> Path:
    weight = np.random.default_rng(0).normal(size=(24, 16)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.timeout(400)  # a worker process starts, which takes its time on a busy machine
def test_the_command_measures_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, plot = small_net(tmp_path / "net.onnx"), tmp_path / "s.html"

    code = main(["sensitivity", str(net), "--workers", "1", "--plot", str(plot), "--json"])

    (layer,) = json.loads(capsys.readouterr().out)["layers"]
    assert code == 0
    assert layer["weight"] == "w"
    assert list(layer["losses"]) == list(LEVELS)
    assert 0 < layer["losses"]["prune"]["0.5"] < layer["losses"]["prune"]["0.9"]
    assert abs(layer["losses"]["bits"]["8"]) < 0.02
    assert "Sensitivity of net.onnx" in plot.read_text()


def test_a_picture_of_an_unknown_form_and_a_missing_model_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = small_net(tmp_path / "net.onnx")

    assert main(["sensitivity", str(net), "--plot", "s.jpg"]) == 1
    assert "--plot s.jpg: must end in .html, .png or .svg" in capsys.readouterr().err
    assert main(["sensitivity", str(tmp_path / "none.onnx")]) == 4
    assert "none.onnx: no such file" in capsys.readouterr().err


def test_a_search_without_anything_to_judge_by_is_refused_before_workers_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = small_net(tmp_path / "net.onnx")
    (tmp_path / "r.toml").write_text('[evaluation]\nkind = "none"\n')

    assert main(["search", str(net), "--recipe", str(tmp_path / "r.toml"), "--out", str(tmp_path / "o")]) == 2
    assert "a search needs something to judge by" in capsys.readouterr().err
    assert main(["search", str(net), "--table", str(tmp_path / "none.json")]) == 4
    assert "none.json: cannot be read" in capsys.readouterr().err
