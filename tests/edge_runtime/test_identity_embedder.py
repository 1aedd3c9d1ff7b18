"""Embedders: any ONNX with a small TOML beside it, and each mistake in it refused with its remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.errors import ConfigError, FormatError, InferenceError
from edge_runtime.identity.embedder import ARCFACE, AdapterConfig, OnnxEmbedder, open_embedder
from edge_runtime.imaging.blob import blob
from edge_runtime.settings import toml

ADAPTER = f"""
input_px = 112
template = {toml(ARCFACE)}
metric = "euclidean"
threshold = 0.5
"""


def mean_of_channels(path: Path, *, channels: int = 3, outputs: tuple[str, ...] = ("embedding",)) -> Path:
    """An "embedder" that answers with the mean of each channel of its input [1, c, 112, 112]."""
    shape = [1, channels, 112, 112]
    nodes = [
        node
        for name in outputs
        for node in (
            helper.make_node("GlobalAveragePool", ["face"], [f"{name}_mean"]),
            helper.make_node("Flatten", [f"{name}_mean"], [name]),
        )
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels]) for name in outputs],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def embedder(folder: Path, adapter: str = ADAPTER, **model: object) -> OnnxEmbedder:
    path = mean_of_channels(folder / "means.onnx", **model)  # type: ignore[arg-type]
    (folder / "means.adapter.toml").write_text(adapter)
    return OnnxEmbedder(path)


ORANGE = np.full((112, 112, 3), (10, 100, 200), np.uint8)  # blue, green, red


def test_the_face_comes_in_the_order_of_colours_that_the_adapter_says(tmp_path: Path) -> None:
    assert embedder(tmp_path)(ORANGE).tolist() == pytest.approx([200, 100, 10])
    assert embedder(tmp_path, ADAPTER + 'colour = "bgr"')(ORANGE).tolist() == pytest.approx([10, 100, 200])
    scaled = ADAPTER + "mean = [100, 50, 0]\nstd = [10, 10, 10]"
    assert embedder(tmp_path, scaled)(ORANGE).tolist() == pytest.approx([10, 5, 1])


def test_a_cosine_embedding_has_length_one(tmp_path: Path) -> None:
    said = embedder(tmp_path, ADAPTER.replace("euclidean", "cosine"))(ORANGE)
    assert np.linalg.norm(said) == pytest.approx(1)
    assert said[0] / said[2] == pytest.approx(20, rel=1e-5)


def test_grey_and_channels_last_are_shaped_as_asked() -> None:
    grey = AdapterConfig(112, ARCFACE, "cosine", 0.5, colour="grey")
    assert blob(ORANGE, grey).shape == (1, 1, 112, 112)
    assert blob(ORANGE, grey).mean() == pytest.approx(0.114 * 10 + 0.587 * 100 + 0.299 * 200, rel=1e-4)
    assert blob(ORANGE, AdapterConfig(112, ARCFACE, "cosine", 0.5, layout="nhwc")).shape == (1, 112, 112, 3)


def test_another_network_or_another_view_of_faces_is_another_digest_another_threshold_is_not(tmp_path: Path) -> None:
    first = embedder(tmp_path).digest
    assert embedder(tmp_path).digest == first
    assert embedder(tmp_path, ADAPTER.replace("0.5", "0.7")).digest == first
    assert embedder(tmp_path, ADAPTER + 'colour = "bgr"').digest != first
    assert embedder(tmp_path, outputs=("other",)).digest != first


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (ADAPTER.replace("threshold", "treshold"), "unknown key treshold; did you mean threshold?"),
        (ADAPTER.replace('metric = "euclidean"', ""), "metric is missing"),
        (ADAPTER.replace("112", "48"), "template: must be five points inside a square of 48 px"),
        (ADAPTER.replace("0.5", "0.0"), "threshold = 0.0: must be above 0"),
        (ADAPTER.replace("euclidean", "manhattan"), "must be one of euclidean, cosine"),
        (ADAPTER + "std = [1, 0, 1]", "std: must be above 0"),
        (ADAPTER + 'output = "features"', 'output = "features": the network has embedding; name one of them'),
    ],
)
def test_a_wrong_adapter_is_refused_by_field(tmp_path: Path, adapter: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace("?", r"\?")):
        embedder(tmp_path, adapter)


def test_a_model_without_an_adapter_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"means\.adapter\.toml: missing; it says how means\.onnx wants its faces"):
        OnnxEmbedder(mean_of_channels(tmp_path / "means.onnx"))
    with pytest.raises(FormatError, match=r"no such model file; check identity\.embedder"):
        open_embedder(str(tmp_path / "nothing.onnx"))
    with pytest.raises(
        ConfigError, match=r'identity\.embedder = "my_embedder": not shipped .*; did you mean face_embedder'
    ):
        open_embedder("my_embedder")


def test_of_several_outputs_one_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the network has age, person; name one of them"):
        embedder(tmp_path, outputs=("age", "person"))
    assert embedder(tmp_path, ADAPTER + 'output = "person"', outputs=("age", "person"))(ORANGE).shape == (3,)


def test_a_network_that_takes_other_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"takes no faces of 112 px as means\.adapter\.toml says"):
        embedder(tmp_path, channels=1)


def test_an_embedding_of_no_direction_is_no_answer(tmp_path: Path) -> None:
    black = np.zeros((112, 112, 3), np.uint8)
    with pytest.raises(InferenceError, match="of length 0"):
        embedder(tmp_path, ADAPTER.replace("euclidean", "cosine"))(black)
