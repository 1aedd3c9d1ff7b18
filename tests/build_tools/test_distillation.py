"""What a student learns from a teacher: scores, features, detection maps; with any ONNX or any function as teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from onnx import helper
from torch.nn import functional

from build_tools.data.pictures import InputEntry
from build_tools.errors import PassError
from build_tools.model import Model, load_model, save_onnx
from build_tools.nets.from_onnx import OnnxModule
from build_tools.passes.contract import Context
from build_tools.passes.registry import build_steps
from build_tools.training.constraints import Distillation
from build_tools.training.detection_maps import MapsLoss, score_outputs
from build_tools.training.distillation import (
    FeaturesLoss,
    OnnxTeacher,
    feature_pairs,
    logits_loss,
    logits_of,
    make_loss,
    output_pairs,
)
from build_tools.training.fine_tune import FineTune
from tests.build_tools.onnx_models import model_of, small_net
from tests.build_tools.test_train_pass import figures, noise, pruned, train

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FACES = SHARED / "data/faces/images"
needs_faces = pytest.mark.skipif(
    not (FACES.is_dir() and (SHARED / "peers/yunet_s.onnx").is_file()), reason="../shared is not there"
)


def test_the_loss_of_scores_is_hintons() -> None:
    mine, its = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.2, 3.0, 1.0]])
    q, p = torch.softmax(its / 4, 1), torch.softmax(mine / 4, 1)
    expected = (q * (q / p).log()).sum() * 16
    assert logits_loss(mine, its, 4.0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert logits_loss(its, its, 4.0).item() == pytest.approx(0, abs=1e-6)


def test_soft_scores_give_the_gradient_of_matched_logits_at_high_temperature() -> None:
    # Hinton et al. 2015, equation 4: 1/N times the difference of zero-mean logits.
    mine = torch.tensor([[1.0, -2.0, 1.0]], requires_grad=True)
    its = torch.tensor([[3.0, -1.0, -2.0]])
    logits_loss(mine, its, 1000.0).backward()
    assert mine.grad is not None
    assert torch.allclose(mine.grad, (mine.detach() - its) / 3, atol=5e-3)


def classifier(softmax: bool) -> Model:
    model = small_net()
    if softmax:
        model.proto.graph.node.append(helper.make_node("Softmax", ["logits"], ["p"], axis=1))
        model.proto.graph.output[0].name = "p"
    return model


def test_scores_are_compared_before_the_softmax() -> None:
    assert logits_of(classifier(softmax=True).proto) == "logits"
    assert logits_of(classifier(softmax=False).proto) == "logits"


def test_an_onnx_teacher_says_what_the_model_says_inner_tensors_too() -> None:
    model, x = small_net(), torch.randn(3, 1, 28, 28)
    teacher = OnnxTeacher(model.proto, ["b", "logits"], 1, any_batch=False)
    expected = OnnxModule(model)(x, capture=["b"])
    for name, value in teacher({"image": x}).items():
        assert torch.allclose(value, expected[name], atol=1e-4)


def test_features_of_another_width_are_learned_through_an_adapter() -> None:
    torch.manual_seed(0)
    mine = {"f": torch.randn(8, 3, 5, 5)}
    its = {"g": torch.einsum("oi,nihw->nohw", torch.randn(6, 3), mine["f"]) + 1.5}
    loss = FeaturesLoss([("f", "g")], mine, its)
    optimiser = torch.optim.Adam(loss.parameters(), 0.1)
    first = loss(mine, its).item()
    for _ in range(80):
        optimiser.zero_grad()
        loss(mine, its).backward()
        optimiser.step()
    assert first > 0.3
    assert loss(mine, its).item() < 0.01


def test_features_of_equal_width_need_no_adapter() -> None:
    same = {"f": torch.randn(2, 3, 5, 5)}
    loss = FeaturesLoss([("f", "f")], same, same)
    assert list(loss.parameters()) == []
    assert loss(same, same).item() == 0
    assert loss({"f": same["f"].mean().expand(2, 3, 5, 5)}, same).item() == pytest.approx(1, rel=0.01)


def test_features_are_every_common_conv_or_those_that_are_named() -> None:
    proto = small_net().proto
    assert feature_pairs(Distillation(), proto, proto) == [("a", "a")]
    assert feature_pairs(Distillation(features=("b=c", "d")), proto, proto) == [("b", "c"), ("d", "d")]
    with pytest.raises(PassError, match="the teacher has no tensor called nowhere"):
        feature_pairs(Distillation(features=("b=nowhere",)), proto, proto)


def test_features_of_another_resolution_are_refused() -> None:
    with pytest.raises(PassError, match=r"f is \[1, 3, 5, 5\] in the student and g is \[1, 3, 4, 4\]"):
        FeaturesLoss([("f", "g")], {"f": torch.zeros(1, 3, 5, 5)}, {"g": torch.zeros(1, 3, 4, 4)})


def detections(places: int = 400, objects: int = 3) -> dict[str, torch.Tensor]:
    """YuNet's form: two scores and a box at each place; few places have an object."""
    generator = torch.Generator().manual_seed(0)
    obj = torch.rand(1, places, 1, generator=generator) * 0.01
    obj[0, :objects] = 0.9
    cls = torch.rand(1, places, 1, generator=generator)  # noise wherever there is no object
    cls[0, :objects] = 0.95
    box = torch.randn(1, places, 4, generator=generator) * 2
    return {"cls": cls, "obj": obj, "box": box}


def maps_loss(first: dict[str, torch.Tensor], scored: set[str] | None = None) -> MapsLoss:
    return MapsLoss([(name, name) for name in first], first, scored)


def test_a_student_that_agrees_has_no_loss() -> None:
    its = detections()
    assert maps_loss(its)(its, its).item() == pytest.approx(0, abs=1e-9)


def test_boxes_count_only_where_the_teacher_sees_an_object() -> None:
    its = detections()
    loss = maps_loss(its)
    background, on_objects = its["box"].clone(), its["box"].clone()
    background[0, 3:] += 1
    on_objects[0, :3] += 1
    assert loss(its | {"box": background}, its).item() == pytest.approx(0, abs=1e-9)
    assert loss(its | {"box": on_objects}, its).item() > 0.1


def test_a_score_without_an_object_is_noise_but_a_false_alarm_is_not() -> None:
    its = detections()
    loss = maps_loss(its)
    other_noise, alarm = its["cls"].clone(), its["obj"].clone()
    other_noise[0, 3:] = 1 - other_noise[0, 3:]
    alarm[0, 10] = 0.9
    assert loss(its | {"cls": other_noise}, its).item() < 0.1 * loss(its | {"obj": alarm}, its).item()


def test_a_missed_object_weighs_more_than_all_the_background() -> None:
    its = detections()
    missed, drifted = its["obj"].clone(), its["obj"].clone()
    missed[0, 0] = 0.05
    drifted[0, 3:] += 0.03
    loss = maps_loss(its)
    assert loss(its | {"obj": missed}, its).item() > 10 * loss(its | {"obj": drifted}, its).item()


def test_the_form_of_maps_is_read_from_the_teacher() -> None:
    soft = torch.softmax(torch.randn(1, 50, 2) - torch.tensor([0.0, 6.0]), -1)
    soft[0, 0] = torch.tensor([0.1, 0.9])
    ultraface = {"scores": soft, "boxes": torch.randn(1, 50, 4)}
    moved = ultraface["boxes"].clone()
    moved[0, 0] += 1
    assert maps_loss(ultraface)(ultraface | {"boxes": moved}, ultraface).item() > 0.1
    rows = torch.cat([torch.randn(1, 50, 4) * 3, torch.rand(1, 50, 1) * 0.01, torch.rand(1, 50, 8)], -1)
    rows[0, 0, 4:6] = 0.9
    yolox = {"output": rows}
    moved, elsewhere = rows.clone(), rows.clone()
    moved[0, 0, :4] += 3
    elsewhere[0, 1:, :4] += 3
    assert maps_loss(yolox)({"output": moved}, yolox).item() > 0.1
    assert maps_loss(yolox)({"output": elsewhere}, yolox).item() == pytest.approx(0, abs=1e-9)


def test_centre_maps_of_channels_first_are_understood() -> None:
    heat, box = torch.rand(2, 3, 6, 8) * 0.01, torch.rand(2, 4, 6, 8) * 5 + 1
    heat[1, 2, 3, 3] = 0.9
    its = {"heat": heat, "box": box}
    moved = box.clone()
    moved[1, :, 3, 3] += 2
    assert maps_loss(its)(its | {"box": moved}, its).item() > 0.05
    elsewhere = box + (heat.amax(1, keepdim=True) < 0.5)
    assert maps_loss(its)(its | {"box": elsewhere}, its).item() == pytest.approx(0, abs=1e-9)


def test_only_what_a_sigmoid_or_softmax_leads_to_can_be_a_score() -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("Concat", ["x", "s"], ["both"], axis=1),
        helper.make_node("Relu", ["s"], ["not_any_more"]),
    ]
    sides = {"x": [1, 2]}
    model = model_of(nodes, {}, sides, {"both": [1, 4], "not_any_more": [1, 2]})
    assert score_outputs(model.proto) == {"both"}
    boxes_by_chance = {"box": torch.rand(1, 9, 4)}
    loss = maps_loss(boxes_by_chance, set())
    assert loss({"box": boxes_by_chance["box"] + 0.2}, boxes_by_chance).item() > 0


def test_outputs_that_do_not_match_are_refused() -> None:
    one = small_net().proto
    with pytest.raises(PassError, match=r"logits is \[1, 5\] in the student and logits is \[1, 10\] in the teacher"):
        make_loss(Distillation(form="maps"), one, one, ({"logits": torch.zeros(1, 5)}, {"logits": torch.zeros(1, 10)}))
    two = small_net()
    two.proto.graph.output.add().name = "b"
    with pytest.raises(PassError, match="the student has 1 outputs and the teacher 2"):
        output_pairs(one, two.proto)


def test_a_file_can_be_the_teacher_and_features_of_another_width_help(tmp_path: Path) -> None:
    wide = small_net(seed=1)
    save_onnx(wide, tmp_path / "wide.onnx")
    student = narrow_net()
    distill: dict[str, Any] = {"teacher": "wide.onnx", "weight": 1.0, "form": "features", "features": ["b"]}
    context = Context(student, noise(120), folder=tmp_path, work=tmp_path)
    change = train(student, context, epochs=8, batch=20, rate=0.01, average=0.9, distill=distill)
    before, after = figures(change)
    assert after < 0.7 * before


def narrow_net() -> Model:
    """The small net with half the channels."""
    student = small_net(seed=2)
    student.set_weight("conv.weight", student.weight("conv.weight")[:4])
    student.set_weight("conv.bias", student.weight("conv.bias")[:4])
    student.set_weight("fc.weight", student.weight("fc.weight")[:, : 4 * 14 * 14])
    return student


def test_a_torch_module_can_be_the_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(28 * 28, 10)

    def teacher(feeds: Any) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {"logits": functional.normalize(layer(feeds["image"].flatten(1))) * 5}

    student = small_net()
    settings = build_steps(
        [{"kind": "train", "epochs": 8, "batch": 20, "rate": 0.01, "average": 0.9, "distill": {"weight": 1.0}}], "test"
    )[0].settings
    context = Context(student, noise(200), work=tmp_path)
    before, after = figures(FineTune(student, settings, context, teacher=teacher).run())  # type: ignore[arg-type]
    assert after < 0.9 * before


@needs_faces
@pytest.mark.parametrize("form", ["maps", "features"])
def test_a_pruned_face_detector_comes_nearer_to_the_original_on_real_pictures(form: str, tmp_path: Path) -> None:
    paths = sorted(FACES.rglob("*.jpg"))[:20]
    (tmp_path / "pictures").mkdir()
    for path in paths:
        bgr = cv2.imread(str(path))
        scale = 128 / max(bgr.shape[:2])
        cv2.imwrite(str(tmp_path / "pictures" / path.name), cv2.resize(bgr, None, fx=scale, fy=scale))
    original = load_model(SHARED / "peers/yunet_s.onnx")
    context = Context(original, folder=tmp_path, work=tmp_path, input=InputEntry((128, 96), 32))
    change = train(
        pruned(original, 0.5), context, path="pictures", steps=24,
        batch=4, rate=0.001, average=0.8, augment=0.3, held_out=0.25, distill={"weight": 1.0, "form": form},
    )  # fmt: skip
    before, after = figures(change)
    assert after < 0.9 * before
