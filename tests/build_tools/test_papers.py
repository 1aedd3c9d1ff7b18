"""The papers' table: its bundles hold what it says, and a row is made by one command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from build_tools.cli import main
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.classification import evaluate_digits, file_bytes
from build_tools.model import save_onnx
from build_tools.nets.lenet import lenet_5, lenet_300_100
from build_tools.papers.lenets import GOALS, Goal
from build_tools.papers.rows import names, run_rows
from build_tools.papers.table import Row, markdown, read_rows, write_rows
from tests.build_tools.test_mnist import write_set

ROOT = Path(__file__).resolve().parents[2]
MNIST = ROOT.parent / "shared" / "data" / "mnist"
SHIPPED = ROOT / "models" / "papers"
ROW = Row(
    "lenet5-min", "LeNet-5", "1,110x, 0.96 % (Havasi 2019)", "weights <= 1,549 B", "weights", 1500, 2300, 1500, 1146.7,
    0.8, 0.9, True, 1, 60.0, "edge-build papers --row lenet5-min",
)  # fmt: skip


@pytest.mark.parametrize(("make", "count"), [(lenet_300_100, 266_610), (lenet_5, 431_080)])
def test_the_networks_have_the_papers_sizes(make: object, count: int) -> None:
    model = make(np.random.default_rng(1))  # type: ignore[operator]
    runner = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = runner.run(None, {"image": np.zeros((3, 1, 28, 28), np.float32)})
    assert model.parameters() == count
    assert scores.shape == (3, 10)


def test_a_model_that_says_one_digit_is_wrong_about_all_others(tmp_path: Path) -> None:
    _, labels = write_set(tmp_path, "t10k", 5200)
    model = lenet_5(np.random.default_rng(1))
    model.set_weight("fc2.weight", np.zeros((10, 500), np.float32))
    model.set_weight("fc2.bias", np.eye(10, dtype=np.float32)[7])
    save_onnx(model, tmp_path / "sevens.onnx")
    found = evaluate_digits(tmp_path / "sevens.onnx", tmp_path)
    assert found["wrong"] == int((labels != 7).sum())
    assert found["error"] == pytest.approx(100 * float((labels != 7).mean()), abs=1e-3)
    assert found["model_bytes"] == (tmp_path / "sevens.onnx").stat().st_size


def test_the_command_line_says_the_error_in_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, "t10k", 5200)
    save_onnx(lenet_300_100(np.random.default_rng(1)), tmp_path / "untrained.onnx")
    assert main(["evaluate", str(tmp_path / "untrained.onnx"), "--mnist", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 80 < found["error"] < 100
    assert main(["evaluate", str(tmp_path / "untrained.onnx")]) == 2
    assert "needs --data and --images, --mnist, --identity or --plates" in capsys.readouterr().err


def test_goals_are_the_targets_that_were_set() -> None:
    told = {goal.name: (goal.bytes_max, goal.error_max, goal.counted) for goal in GOALS}
    assert told == {
        "lenet300-huffman": (26_750, 1.58, "file"),
        "lenet300-lossless": (10_700, 1.64, "file"),
        "lenet5-huffman": (44_100, 0.74, "file"),
        "lenet5-lossless": (6_142, 0.75, "file"),
        "lenet5-min": (1_549, 1.0, "weights"),
    }


def test_a_row_that_was_run_again_leaves_the_others(tmp_path: Path) -> None:
    other = replace(ROW, name="lenet5-huffman")
    write_rows([ROW, other], names(), tmp_path / "table.json", tmp_path / "PAPERS.md")
    rows = read_rows(tmp_path / "table.json")
    assert rows == {"lenet5-min": ROW, "lenet5-huffman": other}
    page = (tmp_path / "PAPERS.md").read_text()
    assert page.index("`lenet5-huffman`") < page.index("`lenet5-min`")
    assert "1,500\\* (file 2,300)" in page


def test_a_row_below_its_goal_is_said_to_be_so() -> None:
    assert "**no**" in markdown([replace(ROW, reached=False)])
    assert "**no**" not in markdown([ROW])


def test_an_unknown_row_and_a_missing_mnist_are_refused(tmp_path: Path) -> None:
    places = {"recipes": SHIPPED, "out": tmp_path, "page": tmp_path / "P.md", "work": tmp_path, "quick": True}
    with pytest.raises(RecipeError, match="did you mean lenet5-min"):
        run_rows(["lenet5-mini"], digits=None, progress=lambda *_: None, **places)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="give --mnist DIR"):
        run_rows(["lenet5-min"], digits=None, progress=lambda *_: None, **places)  # type: ignore[arg-type]


def test_a_row_is_made_from_digits_to_table_by_one_command(tmp_path: Path) -> None:
    write_set(tmp_path, "train", 5600)
    write_set(tmp_path, "t10k", 5200)
    work = tmp_path / "work"
    arguments = ["papers", "--mnist", str(tmp_path), "--recipes", str(SHIPPED), "--work", str(work), "--quick"]
    assert main([*arguments, "--row", "lenet5-min"]) == 0
    (row,) = read_rows(work / "quick" / "table.json").values()
    bundle = work / "quick" / "lenet5-min.edge"
    assert row.file_bytes == bundle.stat().st_size
    assert row.bytes == row.weights_bytes == file_bytes(bundle)["weights_bytes"]
    assert not row.reached  # noise cannot be learned
    assert "`lenet5-min`" in (work / "quick" / "PAPERS.md").read_text()


def shipped() -> list[Goal]:
    return [goal for goal in GOALS if (SHIPPED / f"{goal.name}.edge").is_file()]


@pytest.mark.parametrize("goal", shipped(), ids=lambda goal: goal.name)
def test_a_shipped_bundle_is_as_small_as_the_table_says_and_the_goal_asks(goal: Goal) -> None:
    row = read_rows(SHIPPED / "table.json")[goal.name]
    found = file_bytes(SHIPPED / f"{goal.name}.edge")
    assert (row.file_bytes, row.weights_bytes) == (found["model_bytes"], found["weights_bytes"])
    assert row.bytes == found["weights_bytes" if goal.counted == "weights" else "model_bytes"]
    assert row.bytes <= goal.bytes_max
    assert row.reached


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not here")
@pytest.mark.parametrize("goal", shipped(), ids=lambda goal: goal.name)
def test_a_shipped_bundle_errs_no_more_than_the_table_says(goal: Goal) -> None:
    row = read_rows(SHIPPED / "table.json")[goal.name]
    error = evaluate_digits(SHIPPED / f"{goal.name}.edge", MNIST)["error"]
    assert row.error is not None
    assert error == pytest.approx(row.error, abs=0.011)  # a digit on the border may fall elsewhere on another processor
    assert error <= goal.error_max


def test_the_page_is_what_the_table_makes() -> None:
    rows = read_rows(SHIPPED / "table.json")
    if rows:
        assert (ROOT / "models" / "PAPERS.md").read_text() == markdown(list(rows.values()))
