"""Calibration data arrives in the model's shape and range, and what does not fit is refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from build_tools.data.calibration import model_inputs, open_calibration
from build_tools.data.pictures import InputEntry, Preparation
from build_tools.errors import DataError, ModelError
from build_tools.passes.activations import stream
from build_tools.recipe import CalibrationEntry
from tests.build_tools.onnx_models import model_of, small_net


def picture_model(sides: tuple[int | str, ...]):
    return model_of([helper.make_node("Relu", ["x"], ["y"])], {}, {"x": sides}, {"y": sides})


def write_pictures(folder: Path, count: int, wh: tuple[int, int] = (64, 32)) -> None:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03}.png"), np.full((wh[1], wh[0], 3), (10 + i, 20, 200), np.uint8))


def test_a_picture_keeps_its_aspect_and_is_padded_to_the_multiple() -> None:
    prepare = Preparation(InputEntry(size_wh=(48, 48), multiple=32, pad=7), picture_model(("n", 3, "h", "w")).proto)
    ready = prepare(np.full((32, 64, 3), 100, np.uint8))
    assert ready.blob.shape == (1, 3, 64, 64)
    assert ready.scale == 0.75
    assert (ready.blob[0, :, :24, :48] == 100).all()
    assert (ready.blob[0, :, 24:, :] == 7).all()


def test_colour_order_range_and_layout_follow_entry_and_model() -> None:
    entry = InputEntry(size_wh=(8, 8), colour="rgb", mean=(10.0,), std=(2.0,))
    ready = Preparation(entry, picture_model(("n", 8, 8, 3)).proto)(np.full((8, 8, 3), (0, 20, 30), np.uint8))
    assert ready.blob.shape == (1, 8, 8, 3)
    assert ready.blob[0, 0, 0].tolist() == [10.0, 5.0, -5.0]


def test_a_model_that_takes_no_picture_is_refused() -> None:
    with pytest.raises(ModelError, match="input x has 2 sides"):
        Preparation(InputEntry(), picture_model(("n", 4)).proto)


def test_pictures_stream_in_batches_and_again_the_same(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", 5)
    entry = CalibrationEntry(kind="images", path="p", count=4, batch=3)
    feeds = open_calibration(entry, InputEntry(size_wh=(32, 32)), picture_model(("n", 3, "h", "w")).proto, tmp_path, 1)
    assert feeds is not None
    first, second = list(feeds), list(feeds)
    assert [f["x"].shape for f in first] == [(3, 3, 32, 32), (1, 3, 32, 32)]
    assert len(feeds) == 2
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a["x"], b["x"])


def test_a_fixed_batch_is_fed_one_by_one(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", 3)
    entry = CalibrationEntry(kind="images", path="p", batch=8)
    feeds = open_calibration(entry, InputEntry(), picture_model((1, 3, 16, 16)).proto, tmp_path, 1)
    assert feeds is not None
    assert [f["x"].shape for f in feeds] == [(1, 3, 16, 16)] * 3


def test_npz_of_the_wrong_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", image=np.zeros((4, 3, 28, 28), np.float32))
    with pytest.raises(DataError, match=r"image has shape \[4, 3, 28, 28\], the model takes \['samples', 1, 28, 28\]"):
        open_calibration(CalibrationEntry(kind="npz", path="c.npz"), InputEntry(), small_net().proto, tmp_path, 1)


def test_npz_without_the_input_is_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", data=np.zeros((4, 1, 28, 28), np.float32))
    with pytest.raises(DataError, match="holds data but not the model's input image"):
        open_calibration(CalibrationEntry(kind="npz", path="c.npz"), InputEntry(), small_net().proto, tmp_path, 1)


def test_npz_feeds_are_cut_to_count_and_batch(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", image=np.arange(5 * 784, dtype=np.float32).reshape(5, 1, 28, 28))
    entry = CalibrationEntry(kind="npz", path="c.npz", count=5, batch=2)
    feeds = open_calibration(entry, InputEntry(), small_net().proto, tmp_path, 1)
    assert feeds is not None
    assert [f["image"].shape[0] for f in feeds] == [2, 2, 1]


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    proto = picture_model(("n", 3, "h", "w")).proto
    for name, said in (("empty", "holds no picture"), ("missing", "no such folder")):
        with pytest.raises(DataError, match=said):
            open_calibration(CalibrationEntry(kind="images", path=name), InputEntry(), proto, tmp_path, 1)


def test_noise_is_the_same_for_the_same_seed() -> None:
    proto = small_net().proto
    entry = CalibrationEntry(kind="random", count=3, batch=2)
    one, two = (open_calibration(entry, InputEntry(), proto, Path(), 5) for _ in range(2))
    assert one is not None and two is not None
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_inputs_are_those_that_are_no_weights() -> None:
    assert model_inputs(small_net().proto) == {"image": ((None, 1, 28, 28), np.dtype(np.float32))}


def test_a_first_side_that_is_no_batch_is_kept() -> None:
    inputs = [
        helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["batch", 64]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, "batch", 8]),
        helper.make_tensor_value_info("rate", TensorProto.INT64, []),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])
    proto = helper.make_model(helper.make_graph([helper.make_node("Relu", ["sound"], ["y"])], "g", inputs, [output]))
    feeds = open_calibration(CalibrationEntry(kind="random", count=3, batch=2), InputEntry(), proto, Path(), 5)
    assert feeds is not None and len(feeds) == 3
    for feed in feeds:
        shapes = {name: values.shape for name, values in feed.items()}
        assert shapes == {"sound": (1, 64), "state": (2, 1, 8), "rate": ()}


def test_noise_fills_free_sides_up_to_what_strided_networks_take() -> None:
    proto = picture_model(("n", 3, "h", "w")).proto
    feeds = open_calibration(CalibrationEntry(kind="random", count=1), InputEntry(), proto, Path(), 5)
    assert feeds is not None
    assert [values.shape for feed in feeds for values in feed.values()] == [(1, 3, 256, 320)]


def test_data_that_does_not_fit_is_refused_with_what_to_set() -> None:
    proto = small_net().proto
    with pytest.raises(DataError, match=r"image \[1, 1, 9, 9\] does not fit .*: set \[input\] size_wh") as refused:
        list(stream(proto, [proto.graph.output[0].name], [{"image": np.zeros((1, 1, 9, 9), np.float32)}]))
    assert "onnxruntime_src" not in str(refused.value)
