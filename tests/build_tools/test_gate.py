"""The gate's scores: agreement without labels, boxes of third-party detectors, and losses that point the right way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from build_tools.data.calibration import Stream
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.gate import Agreement, evaluator
from build_tools.model import load_model
from build_tools.passes.contract import Score
from build_tools.recipe import EvaluationEntry, InputEntry, Recipe
from tests.build_tools.onnx_models import small_net

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_peers = pytest.mark.skipif(not (SHARED / "peers/yunet_s.onnx").is_file(), reason="../shared/peers is not there")


def noise(count: int = 6) -> Stream:
    rng = np.random.default_rng(3)
    digits = rng.normal(0, 1, (count, 1, 28, 28)).astype(np.float32)
    return Stream(lambda i: {"image": digits[i]}, count, 4)


def test_a_model_agrees_wholly_with_itself() -> None:
    score = Agreement(small_net(), noise(), "agreement")(small_net())
    assert score.value == 1.0
    assert score.figures["top1"] == 1.0


def test_agreement_falls_with_the_relative_error_of_the_outputs() -> None:
    off = small_net()
    off.set_weight("fc.weight", off.weight("fc.weight") * np.float32(0.9))
    off.set_weight("fc.bias", off.weight("fc.bias") * np.float32(0.9))
    assert Agreement(small_net(), noise(), "agreement")(off).value == pytest.approx(0.9, abs=1e-5)


def test_agreement_refuses_a_changed_interface() -> None:
    with pytest.raises(DataError, match=r"output 0 has shape \(4, 9\) instead of \(4, 10\)"):
        Agreement(small_net(), noise(), "agreement")(small_net(classes=9))


def test_agreement_without_calibration_says_what_to_give() -> None:
    with pytest.raises(RecipeError, match=r"set calibration\.kind"):
        evaluator(Recipe(name="x"), small_net(), None, Path())


def test_an_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.metric = ap9: was not measured; one of agreement, top1"):
        Agreement(small_net(), noise(), "ap9")(small_net())


def test_losses_are_relative_and_point_the_right_way() -> None:
    assert Score("ap8", 0.72, True).loss_against(Score("ap8", 0.8, True)) == pytest.approx(0.1)
    assert Score("error", 0.03, False).loss_against(Score("error", 0.01, False)) == pytest.approx(0.02 / 0.99)
    assert Score("error", 0.01, False).loss_against(Score("error", 0.02, False)) < 0


@needs_peers
@pytest.mark.parametrize(
    ("peer", "decoder", "entry", "ap8"),
    [
        ("yunet_s", "yunet", InputEntry(multiple=32), 0.785),
        ("ultraface_rfb_320", "ultraface", InputEntry(colour="rgb", mean=(127.0,), std=(128.0,)), 0.779),
    ],
)
def test_peers_score_as_they_were_measured(peer: str, decoder: str, entry: InputEntry, ap8: float) -> None:
    evaluation = EvaluationEntry(
        kind="coco", data="data/faces/val.json", images="data/faces/images", decoder=decoder, metric="ap8"
    )
    recipe = Recipe(name=peer, input=entry, evaluation=evaluation)
    original = load_model(SHARED / f"peers/{peer}.onnx")
    evaluate = evaluator(recipe, original, None, SHARED)
    assert evaluate is not None
    assert evaluate(original).value == pytest.approx(ap8, abs=0.0015)
