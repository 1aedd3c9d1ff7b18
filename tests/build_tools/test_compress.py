"""`edge-build compress`: what a pass costs is measured, what costs too much is undone, nothing is left half done."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from build_tools.bundle.export import open_any
from build_tools.cli import main
from build_tools.commands.compress import _left_alone
from build_tools.compress import Compressed, Measured, compress, worse
from build_tools.errors import BudgetError, PassError
from build_tools.evaluation.latency import Timing
from build_tools.model import Model, save_onnx
from build_tools.passes.contract import Change, Context, Score
from build_tools.passes.registry import Step
from build_tools.recipe import BudgetEntry, CalibrationEntry, Recipe
from tests.build_tools.onnx_models import small_net


@dataclass(frozen=True, slots=True)
class Scale:
    """A pass that multiplies one weight: its cost in accuracy is known exactly."""

    KIND: ClassVar[str] = "scale"
    weight: str = "fc.weight"
    by: float = 1.0
    in_place: bool = False

    def requires(self, model: Model, context: Context) -> None:
        if self.weight not in model.weight_names():
            raise PassError(f"no weight {self.weight}; check the name")

    def run(self, model: Model, context: Context) -> Change:
        changed = model if self.in_place else model.copy()
        changed.set_weight(self.weight, changed.weight(self.weight) * np.float32(self.by))
        return Change(changed, f"{self.weight} times {self.by}", {self.weight: {"error": abs(1 - self.by)}})

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        assert change.model.weight_names() == before.weight_names()


RECIPE = Recipe(
    name="small",
    calibration=CalibrationEntry(kind="random", count=8),
    budget=BudgetEntry(loss=0.05, latency=0.0),
)


def run(tmp_path: Path, *steps: Step, recipe: Recipe = RECIPE) -> Compressed:
    save_onnx(small_net(), tmp_path / "small.onnx")
    return compress(
        tmp_path / "small.onnx", replace(recipe, passes=steps), tmp_path / "small.edge",
        folder=tmp_path, recipe_sha256="0" * 64,
    )  # fmt: skip


def test_a_pass_within_the_budget_is_kept_and_measured(tmp_path: Path) -> None:
    done = run(tmp_path, Step("scale", Scale(by=0.99)))
    step = done.steps[0]
    assert step.undone == ""
    assert step.summary == "fc.weight times 0.99"
    assert step.measured.score is not None and 0.95 < step.measured.score.value < 1
    opened = open_any(tmp_path / "small.edge")  # names are shortened
    kept = next(opened.weight(n) for n in opened.weight_names() if opened.weight(n).shape == (10, 8 * 14 * 14))
    np.testing.assert_array_equal(kept, done.model.weight("fc.weight"))
    assert done.after.bytes == (tmp_path / "small.edge").stat().st_size


def test_a_pass_over_the_budget_is_undone_and_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, Step("scale", Scale(by=0.5)), Step("scale", Scale(by=0.99)))
    assert done.steps[0].undone.startswith("agreement 1.0000 -> 0.")
    assert "budget.loss is 5.00%" in done.steps[0].undone
    assert done.steps[1].undone == ""
    kept = done.model.weight("fc.weight")
    expected = (small_net().weight("fc.weight") * np.float32(0.99)).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(kept, expected)


def test_passes_judged_together_are_kept_when_the_last_one_heals(tmp_path: Path) -> None:
    done = run(tmp_path, Step("scale", Scale(by=0.5), with_next=True), Step("scale", Scale(by=2.0)))
    assert [s.undone for s in done.steps] == ["", ""]
    assert done.after.score is not None and done.after.score.value > 0.99


def test_passes_judged_together_are_undone_together(tmp_path: Path) -> None:
    done = run(tmp_path, Step("scale", Scale(by=0.99), with_next=True), Step("scale", Scale(by=0.5)))
    assert all(s.undone for s in done.steps)
    assert done.after.score is not None and done.after.score.value > 0.999


@pytest.mark.parametrize(
    ("bytes_", "score", "ratio", "kept"),
    [(1100, 0.9, 1.0, False), (1100, 0.89, 1.0, False), (1005, 0.9, 1.0, True), (1100, 0.91, 1.0, True),
     (1100, 0.9, 0.8, True), (900, 0.8, 1.2, True)],
)  # fmt: skip
def test_a_pass_that_only_makes_the_file_larger_is_not_kept(
    bytes_: int, score: float, ratio: float, kept: bool
) -> None:
    def measured(size: int, figure: float, time: float) -> Measured:
        return Measured(size, Score("ap", figure, True, {}), Timing("m", time, time, (time - 0.02, time + 0.02)))

    why = worse(measured(bytes_, score, ratio), measured(1000, 0.9, 1.0))
    assert why == ("" if kept else "1,000 -> 1,100 bytes, not faster, and ap no better than before the pass")
    assert worse(Measured(bytes_, None, None), Measured(1000, None, None)) == "", "nothing was measured to judge it by"


def test_an_unreachable_byte_budget_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    recipe = replace(RECIPE, budget=replace(RECIPE.budget, bytes=100))
    with pytest.raises(
        BudgetError, match=r"budget\.bytes = 100: the best this recipe reaches is .* Nothing was written"
    ):
        run(tmp_path, Step("scale", Scale()), recipe=recipe)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.onnx"]


def test_the_byte_budget_counts_the_origin_that_is_written_with_the_model(tmp_path: Path) -> None:
    first = run(tmp_path, Step("scale", Scale(by=0.99))).after.bytes
    recipe = replace(RECIPE, budget=replace(RECIPE.budget, bytes=first))
    assert run(tmp_path, Step("scale", Scale(by=0.99)), recipe=recipe).after.bytes == first
    recipe = replace(RECIPE, budget=replace(RECIPE.budget, bytes=first - 1))
    with pytest.raises(BudgetError, match=f"reaches is {first:,} bytes"):
        run(tmp_path, Step("scale", Scale(by=0.99)), recipe=recipe)


def test_a_failing_pass_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(PassError, match=r"passes\[1\] \(scale\): no weight nope; check the name"):
        run(tmp_path, Step("scale", Scale()), Step("scale", Scale(weight="nope")))
    assert not (tmp_path / "small.edge").exists()


def test_a_pass_that_changes_what_it_was_given_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(PassError, match="gave back the model it was given"):
        run(tmp_path, Step("scale", Scale(in_place=True)))


def test_the_input_is_never_changed_and_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    save_onnx(small_net(), tmp_path / "a.onnx")
    before = (tmp_path / "a.onnx").read_bytes()
    for name in ("one", "two"):
        assert main(["compress", str(tmp_path / "a.onnx"), "--out", str(tmp_path / f"{name}.edge"), "--json"]) == 0
    assert (tmp_path / "a.onnx").read_bytes() == before
    assert (tmp_path / "one.edge").read_bytes() == (tmp_path / "two.edge").read_bytes()


def test_the_command_tells_machines_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_onnx(small_net(), tmp_path / "a.onnx")
    assert main(["compress", str(tmp_path / "a.onnx"), "--out", str(tmp_path / "a.edge"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [s["kind"] for s in told["steps"]] == ["doctor", "quantize", "quantize"]
    assert told["after"]["bytes"] == (tmp_path / "a.edge").stat().st_size
    assert told["before"]["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert {"name", "shape", "storage", "bits", "sparsity", "bytes", "floor_bytes"} <= set(told["layers"][0])


@pytest.mark.parametrize(
    ("recipe", "code", "said"),
    [
        ('[[passes]]\nkind = "prun"', 2, 'passes[0].kind = "prun": no such pass; did you mean prune?'),
        ('[[passes]]\nkind = "quantize"\nbitz = 4', 2, "unknown key passes[0].bitz; did you mean passes[0].bits?"),
        ('[[passes]]\nkind = "quantize"\nbits = 99', 2, "passes[0].bits = 99"),
        ("[budget]\nloss = 0.1", 2, "no [[passes]]"),
        ('[evaluation]\nkind = "mnist"\n[[passes]]\nkind = "quantize"', 2, "evaluation.data is missing"),
        ('[[passes]]\nkind = "quantize"', 2, "set calibration.kind"),
    ],
)
def test_a_wrong_recipe_is_one_line_with_key_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, code: int, said: str
) -> None:
    save_onnx(small_net(), tmp_path / "a.onnx")
    (tmp_path / "r.toml").write_text(recipe)
    asked = [
        "compress",
        str(tmp_path / "a.onnx"),
        "--recipe",
        str(tmp_path / "r.toml"),
        "--out",
        str(tmp_path / "a.edge"),
    ]
    assert main(asked) == code
    told = capsys.readouterr().err.strip()
    assert said in told.splitlines()[-1]
    assert not (tmp_path / "a.edge").exists()


def test_a_file_that_is_no_model_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"this is not a model")
    assert main(["compress", str(tmp_path / "a.onnx"), "--out", str(tmp_path / "a.edge")]) == 4
    assert f"{tmp_path / 'a.onnx'}: not an ONNX file" in capsys.readouterr().err
    assert main(["compress", str(tmp_path / "b.onnx"), "--out", str(tmp_path / "a.edge")]) == 4
    assert "b.onnx: no such file" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_onnx(small_net(), tmp_path / "a.onnx")
    (tmp_path / "file").write_text("in the way")
    assert main(["compress", str(tmp_path / "a.onnx"), "--out", str(tmp_path / "file" / "a.edge")]) != 0
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "file"]


def test_what_is_left_alone_for_one_reason_is_told_in_one_line() -> None:
    told = [*(f"layer{i} (3x3): too small" for i in range(5)), "head: an output", "nothing could be measured"]
    assert _left_alone(told) == [
        "  left alone: layer0 (3x3), layer1 (3x3), layer2 (3x3) and 2 more: too small",
        "  left alone: head: an output",
        "  left alone: nothing could be measured",
    ]


def test_compressing_needs_no_torch(tmp_path: Path) -> None:
    save_onnx(small_net(), tmp_path / "small.onnx")
    without = "import sys; sys.modules['torch'] = None; from build_tools.cli import main; sys.exit(main(sys.argv[1:]))"
    files = [str(tmp_path / name) for name in ("small.onnx", "small.edge")]
    command = [sys.executable, "-c", without, "compress", files[0], "--out", files[1]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small.edge").is_file()
