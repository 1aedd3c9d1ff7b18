"""Model files: the shipped ones work, bad ones are refused in one line with exit code 4."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import AttentionConfig, DetectionConfig
from edge_runtime.cropping.planner import window_around
from edge_runtime.datatypes import CropPlan, Frame
from edge_runtime.decoding import decode_centres
from edge_runtime.detection.detector import CropDetector
from edge_runtime.engine import ModelFacts, OnnxEngine, open_model
from edge_runtime.errors import BundleError, FormatError, VersionError
from edge_runtime.imaging.lores import make_lores
from tests.bundles import plain_onnx


def changed(tmp_path: Path, **facts: object) -> Path:
    """The shipped crop detector with other facts in it."""
    model = onnx.load(plain_onnx("crop_detector", tmp_path))
    kept = json.loads(next(p.value for p in model.metadata_props if p.key == "edge"))
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "edge", json.dumps(kept | facts)
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    return path


def test_shipped_models_open_for_their_task() -> None:
    assert open_model("scene_attention", "attention").facts.classes == ("face", "person", "vehicle")
    classes = open_model("crop_detector", "detector").facts.classes
    assert classes == ("face", "person", "car", "truck", "bus", "motorcycle", "bicycle", "license_plate")


def test_one_network_takes_both_lores_sizes() -> None:
    engine = open_model("scene_attention", "attention")
    for w, h in ((320, 256), (160, 128)):
        levels = engine.run(np.zeros((1, 3, h, w), np.float32))
        assert [m.shape for m in levels] == [(1, 3 + 4, h // s, w // s) for s in (8, 16, 32)]


@pytest.mark.parametrize("keep", [0, 100, 150_000])
def test_a_torn_file_is_refused(tmp_path: Path, keep: int) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(plain_onnx("scene_attention", tmp_path).read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"torn\.onnx: not a usable model") as refused:
        OnnxEngine(torn)
    assert refused.value.exit_code == 4
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"format": 2}, VersionError, "made for format 2"),
        ({"task": "attention"}, FormatError, "is for attention, but detector is needed"),
        ({"classes": ["face"]}, FormatError, "expected (1, 5, 20, 20)"),
        ({"strides": [4, 16, 32]}, FormatError, "outputs level4, level16"),
        ({"strides": [0, 16, 32]}, FormatError, "out of range"),
        ({"size_wh": "big"}, FormatError, "missing or wrong"),
    ],
)
def test_a_model_that_lies_about_itself_is_refused(
    tmp_path: Path, facts: dict[str, object], error: type[BundleError], message: str
) -> None:
    with pytest.raises(error) as refused:
        OnnxEngine(changed(tmp_path, **facts), "detector")
    assert message in str(refused.value)


def test_somebody_elses_model_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3, 32, 32]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(FormatError, match="says nothing of its task"):
        OnnxEngine(path)


def test_a_missing_model_is_named() -> None:
    with pytest.raises(FormatError, match=r"nowhere\.onnx: no such model file"):
        open_model("./nowhere.onnx", "attention")


class Scripted:
    """An engine that answers the crops it sees, in their order, with the maps it was given for them."""

    def __init__(
        self, classes: tuple[str, ...], size_wh: tuple[int, int], cells: dict[int, list[tuple[int, int, int]]]
    ):
        self.facts = ModelFacts("scripted", "any", classes, size_wh, 32, "centre-map", (8,))
        self._cells, self._seen = cells, 0

    def run(self, bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        n, _, h, w = bgr.shape
        heat = np.zeros((n, len(self.facts.classes), h // 8, w // 8), np.float32)
        for i in range(n):
            for k, y, x in self._cells.get(self._seen + i, ()):
                heat[i, k, y, x] = 0.9
        self._seen += n
        return heat, np.full((n, 4, h // 8, w // 8), 1.5, np.float32)


def test_a_peak_becomes_a_box_around_its_cell() -> None:
    heat = np.zeros((2, 4, 4), np.float32)
    heat[1, 1, 2], heat[1, 1, 3] = 0.9, 0.5
    box = np.broadcast_to(np.array([1, 2, 3, 4], np.float32)[:, None, None], (4, 4, 4))
    boxes, scores, labels = decode_centres(heat, box, 8, 0.1, 0.5)
    assert boxes.tolist() == [[(2.5 - 1) * 8, (1.5 - 2) * 8, (2.5 + 3) * 8, (1.5 + 4) * 8]]
    assert labels.tolist() == [1]
    assert scores.tolist() == pytest.approx([0.9])


def test_regions_come_back_in_full_frame_pixels() -> None:
    main = np.zeros((720, 1280, 3), np.uint8)
    frame = Frame(main, make_lores(main, (320, 240)), 0, 0)
    assert frame.lores.shape == (180, 320, 3)
    network = AttentionNetwork(Scripted(("person",), (320, 240), {0: [(0, 10, 20)]}), AttentionConfig())
    # Cell (20, 10) has its centre at (164, 84) of the small picture; the scale is 4.
    np.testing.assert_allclose(network(frame).boxes, [[608, 288, 704, 384]])


def test_detections_come_back_in_full_frame_pixels_and_doubles_are_one() -> None:
    windows = np.array([window_around((100, 100, 356, 356), (1280, 720), 128, 0.0), (100, 100, 356, 356)], np.float32)
    chosen = CropPlan(windows, np.zeros(2, np.bool_), 0)
    engine = Scripted(("car", "truck"), (128, 128), {0: [(0, 8, 8)], 1: [(1, 8, 8)]})
    found = CropDetector(engine, DetectionConfig(), 8)(np.zeros((720, 1280, 3), np.uint8), chosen, (1280, 720))
    # Centre (68, 68) of the crop, 1.5 cells to each side, windows of 256 pixels: scale 2.
    np.testing.assert_allclose(found.boxes, [[100 + 112, 100 + 112, 100 + 160, 100 + 160]])


def test_a_box_cut_off_by_its_crop_yields_to_the_whole_one() -> None:
    windows = np.array([[0, 0, 128, 128], [64, 0, 192, 128]], np.float32)
    engine = Scripted(("car",), (128, 128), {0: [(0, 8, 15)], 1: [(0, 8, 7)]})
    found = CropDetector(engine, DetectionConfig(iou_max=0.9), 8)(
        np.zeros((128, 400, 3), np.uint8), CropPlan(windows, np.zeros(2, np.bool_), 0), (400, 128)
    )
    np.testing.assert_allclose(found.boxes, [[112, 56, 136, 80]])


def test_the_whole_frame_mode_sees_what_a_crop_sees() -> None:
    detector = CropDetector(open_model("crop_detector", "detector"), DetectionConfig(score_min=0.01), 1)
    side = detector.crop_px
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    crop = detector(
        picture, CropPlan(np.array([[0, 0, side, side]], np.float32), np.zeros(1, np.bool_), 0), (side, side)
    )
    whole = detector.whole(picture, (side, side))
    np.testing.assert_allclose(np.sort(whole.scores), np.sort(crop.scores), atol=1e-5)
