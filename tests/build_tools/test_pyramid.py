"""The pyramid family: what is exported answers as what was trained, and a painted pack is learned from labels alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from build_tools.cli import main
from build_tools.data.augment import Classes
from build_tools.data.gather import gather
from build_tools.data.teacher import key
from build_tools.nets.centre import NetConfig, parameter_count
from build_tools.nets.pyramid import STRIDES, PyramidNet
from build_tools.recipe import load
from build_tools.training.dense_targets import DenseTargets
from build_tools.training.export import export_onnx
from build_tools.training.task import PyramidTask
from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import AttentionConfig
from edge_runtime.datatypes import Frame
from edge_runtime.decoding import decode
from edge_runtime.engine import OnnxEngine
from edge_runtime.errors import FormatError, VersionError
from edge_runtime.imaging.lores import make_lores
from tests.build_tools.packs import TINY, write_pack, write_recipe

SMALL = NetConfig(16, (16, 16, 32, 32), (0, 1, 0, 1), 16)
TASK = PyramidTask(DenseTargets([], Classes((), ())))
FACTS: dict[str, object] = {
    "format": 1,
    "name": "small",
    "task": "attention",
    "classes": ["face", "person"],
    "size_wh": [96, 64],
    "size_multiple": 32,
    "strides": list(STRIDES),
    "decoding": "levels",
}


def network() -> PyramidNet:
    """An untrained network of two classes whose norms and heads are not at their simple starting values."""
    torch.manual_seed(3)
    net = PyramidNet(2, SMALL).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        for head in net.heads:
            head.weight.normal_(0, 0.3)  # type: ignore[union-attr,operator]
            head.bias.normal_(-0.5, 0.5)  # type: ignore[union-attr,operator]
    return net


def exported(folder: Path, **facts: object) -> Path:
    path = folder / "small.onnx"
    export_onnx(network(), TASK, (96, 64), FACTS | facts, path)
    return path


def picture(size_wh: tuple[int, int], seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).uniform(0, 255, (1, 3, size_wh[1], size_wh[0])).astype(np.float32)


def test_each_level_tells_scores_and_sides_at_its_stride() -> None:
    outputs = network()(torch.from_numpy(picture((160, 96))))
    assert [tuple(o.shape) for o in outputs] == [(1, 6, 12, 20), (1, 6, 6, 10), (1, 6, 3, 5)]


def test_an_untrained_network_expects_nothing_and_guesses_boxes_of_two_cells() -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        outputs = PyramidNet(1, SMALL).eval()(torch.from_numpy(picture((64, 64))))
    for o in outputs:
        assert float(torch.sigmoid(o[:, 0]).mean()) == pytest.approx(0.01, abs=0.002)
        assert float(o[:, 1:].exp().mean()) == pytest.approx(1, abs=0.1)


def test_every_weight_is_reached_by_learning() -> None:
    net = network().train()
    sum(o.square().sum() for o in net(torch.from_numpy(picture((64, 64))))).backward()  # type: ignore[union-attr]
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert parameter_count(net) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("size_wh", [(96, 64), (320, 256), (32, 32)])
def test_the_exported_network_answers_as_the_trained_one_at_any_size(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    bgr = picture(size_wh)
    engine = OnnxEngine(exported(tmp_path), "attention")
    with torch.no_grad():
        wanted = network()(torch.from_numpy(bgr))
    for mine, its in zip(engine.run(bgr), wanted, strict=True):
        np.testing.assert_allclose(mine, its.numpy(), atol=2e-4, rtol=1e-3)


def test_the_first_thing_the_exported_network_does_is_its_stem(tmp_path: Path) -> None:
    node = onnx.load(exported(tmp_path)).graph.node[0]
    assert (node.op_type, node.input[0]) == ("Conv", "bgr")


def test_the_runtime_reads_its_facts_and_takes_batches(tmp_path: Path) -> None:
    engine = OnnxEngine(exported(tmp_path), "attention")
    assert (engine.facts.decoding, engine.facts.strides) == ("levels", (8, 16, 32))
    assert engine.facts.maps() == {"level8": (6, 8), "level16": (6, 16), "level32": (6, 32)}
    assert [m.shape[0] for m in engine.run(np.zeros((3, 3, 64, 96), np.float32))] == [3, 3, 3]


def test_attention_gives_its_boxes_in_full_frame_pixels(tmp_path: Path) -> None:
    engine = OnnxEngine(exported(tmp_path), "attention")
    main_bgr = np.random.default_rng(1).integers(0, 256, (256, 384, 3), np.uint8)
    config = replace(AttentionConfig(), score_min=0.02)
    found = AttentionNetwork(engine, config)(Frame(main_bgr, make_lores(main_bgr, (96, 64)), 0, 0))
    blob = make_lores(main_bgr, (96, 64)).transpose(2, 0, 1)[None].astype(np.float32)
    boxes, scores, _ = decode("levels", [m[0] for m in engine.run(blob)], STRIDES, 0.02, config.iou_max)
    assert 0 < len(found.scores) <= len(scores)
    np.testing.assert_allclose(found.boxes[0], np.clip(boxes[0] * 4, 0, [384, 256, 384, 256]), rtol=1e-4)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"decoding": "anchors"}, VersionError, "decoding 'anchors' is none of centre-map, levels"),
        ({"decoding": "centre-map"}, FormatError, "has input bgr and outputs heat, box"),
        ({"strides": [8, 16]}, FormatError, None),
        ({"strides": [8, 16, 64]}, FormatError, "outputs level8, level16, level64"),
        ({"strides": []}, FormatError, "out of range"),
        ({"strides": [8, 16, 0]}, FormatError, "out of range"),
        ({"strides": "wide"}, FormatError, "missing or wrong"),
        ({"classes": ["face"]}, FormatError, "gives level8 (1, 6, 8, 12), expected (1, 5, 8, 12)"),
    ],
)
def test_a_network_that_lies_about_its_levels_is_refused(
    tmp_path: Path, facts: dict[str, object], error: type[Exception], message: str | None
) -> None:
    path = exported(tmp_path, **facts)
    if message is None:  # fewer levels than it has are no lie: those are read
        assert len(OnnxEngine(path).run(picture((96, 64)))) == 2
        return
    with pytest.raises(error) as refused:
        OnnxEngine(path)
    assert message in str(refused.value)


PYRAMID = TINY.replace("stem = 16", 'family = "pyramid"\nstem = 16')


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a pack, a recipe and, in `out`, what a training without a teacher left."""
    before = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("pyramid")
    write_pack(folder / "pack", 20)
    text = PYRAMID.replace("[net]", "repeat = 6\n[net]").replace("rate = 0.002", "rate = 0.01")
    text = text.replace("epochs = 2", "epochs = 4").replace("[train]", "[train]\naverage = 0.9")
    assert main(["train", str(write_recipe(folder, text)), "--out", str(folder / "out")]) == 0
    torch.set_num_threads(before)  # training sets them for the whole process
    yield folder


def test_a_pack_of_painted_pictures_is_learned_from_its_labels_alone(trained: Path) -> None:
    history = json.loads((trained / "out" / "history.json").read_text())
    assert len(history) == 8
    assert history[-1]["heat"] < 0.8 * history[0]["heat"]
    assert history[-1]["box"] < 0.95 * history[0]["box"]


def test_what_was_trained_opens_in_the_runtime_and_is_evaluated(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, pack = trained / "out" / "tiny.onnx", trained / "pack"
    assert OnnxEngine(model, "attention").facts.strides == (8, 16, 32)
    capsys.readouterr()
    data = ["--data", str(pack / "labels.json"), "--images", str(pack / "images"), "--size", "96x96", "--json"]
    assert main(["evaluate", str(model), *data]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["per_class"]) == {"face", "person", "car"}
    assert told["ap50"] > 0.1
    assert math.isfinite(told["crop_recall8"])


def test_the_exported_network_is_the_averaged_one(trained: Path) -> None:
    net = PyramidNet(3, NetConfig(16, (16, 16, 16, 16), (0, 0, 0, 0), 16)).eval()
    net.load_state_dict(torch.load(trained / "out" / "checkpoint.pt", weights_only=True)["average"])
    bgr = picture((96, 96))
    with torch.no_grad():
        wanted = net(torch.from_numpy(bgr))
    for mine, its in zip(OnnxEngine(trained / "out" / "tiny.onnx").run(bgr), wanted, strict=True):
        np.testing.assert_allclose(mine, its.numpy(), atol=2e-4, rtol=1e-3)


def test_repeat_shows_a_packs_training_pictures_more_often_and_holds_out_each_once(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", 20)
    write_pack(tmp_path / "other", 10, seed=1)
    for name in (tmp_path / "other" / "images").glob("*.jpg"):
        name.rename(name.with_stem(f"other{name.stem}"))
    labels = tmp_path / "other" / "labels.json"
    labels.write_text(labels.read_text().replace('"file_name": "', '"file_name": "other'))
    second = '[[data]]\nlabels = "other/labels.json"\nimages = "other/images"\n'
    once = PYRAMID.replace("[net]", f"{second}[net]").replace("held_out = 0.25", "held_out = 0.4")
    thrice = once.replace('images = "pack/images"', 'images = "pack/images"\nrepeat = 3')

    def names(text: str) -> tuple[Counter[str], Counter[str]]:
        train, held = gather(load(write_recipe(tmp_path, text)), tmp_path, tmp_path / "teachers", False)
        return Counter(key(s) for s in train), Counter(key(s) for s in held)

    (train1, held1), (train3, held3) = names(once), names(thrice)
    assert held3 == held1
    assert set(held1.values()) == set(train1.values()) == {1}
    assert train3.keys() == train1.keys()
    assert all(n == (1 if "other" in name else 3) for name, n in train3.items())
    assert not train3.keys() & held3.keys()


def test_what_a_packs_pictures_do_not_show_is_background_in_them(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", 8)
    absent = PYRAMID.replace('images = "pack/images"', 'images = "pack/images"\nabsent = ["license_plate"]')

    def unknown(text: str) -> set[frozenset[str]]:
        return {
            s.unknown for part in gather(load(write_recipe(tmp_path, text)), tmp_path, tmp_path, False) for s in part
        }

    assert unknown(PYRAMID) == {frozenset(["license_plate"])}
    assert unknown(absent) == {frozenset()}
