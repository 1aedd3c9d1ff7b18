"""Any ONNX graph in torch: the same outputs as ONNX Runtime, gradients to every weight, and the way back to a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from build_tools.errors import ModelError
from build_tools.model import Grid, Model, load_model
from build_tools.nets.free_batch import free_batch
from build_tools.nets.from_onnx import OnnxModule
from build_tools.passes.activations import session
from tests.build_tools.onnx_models import model_of, small_net

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT.parent / "shared/peers"
REAL = sorted(PEERS.glob("*.onnx")) + sorted((ROOT / "models").glob("*.onnx"))
REFUSED = {"silero_vad_16k": r"node /model/decoder/If: operator If cannot be trained through"}


def a_feed(model: Model, batch: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise in the shape of the inputs; free sides are 64, as a picture's may be."""
    rng = np.random.default_rng(seed)
    held = {t.name for t in model.proto.graph.initializer}
    feeds = {}
    for value in model.proto.graph.input:
        if value.name not in held:
            sides = [d.dim_value or 64 for d in value.type.tensor_type.shape.dim]
            feeds[value.name] = rng.random([batch, *sides[1:]]).astype(np.float32)
    return feeds


def in_torch(feeds: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {n: torch.from_numpy(v) for n, v in feeds.items()}


@pytest.mark.skipif(not PEERS.is_dir(), reason="../shared/peers is not there")
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_real_models_run_in_torch_as_in_onnxruntime_and_every_weight_has_a_gradient(path: Path) -> None:
    model = load_model(path)
    if path.stem in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[path.stem]):
            OnnxModule(model)
        return
    feeds = a_feed(model)
    expected = session(model.proto).run(None, feeds)
    module = OnnxModule(model)
    found = module(in_torch(feeds))
    for name, want in zip(module.outputs, expected, strict=True):
        # Relative to the largest value: two orders of summing differ by that much in a deep graph.
        assert np.abs(found[name].detach().numpy() - want).max() <= 2e-4 * max(np.abs(want).max(), 1)
    sum(value.square().mean() for value in found.values()).backward()  # type: ignore[union-attr]
    assert [n for n, w in module.weights().items() if w.grad is None] == []
    # All but constants of the input's normalisation and of resizing are learned.
    assert 0 <= model.parameters() - sum(w.numel() for w in module.weights().values()) <= 8


def test_weights_are_parameters_by_their_own_names() -> None:
    module = OnnxModule(small_net())
    assert set(module.parameter_of) == {"conv.weight", "conv.bias", "fc.weight", "fc.bias"}
    assert module.kernels == {"conv.weight", "fc.weight"}
    held = module.parameter_of["conv.weight"]
    assert module.initialiser_of[held] == "conv.weight"
    assert dict(module.named_parameters())[held] is module.weights()["conv.weight"]


def test_names_that_look_alike_without_their_signs_stay_apart() -> None:
    nodes = [helper.make_node("Mul", ["m", "a.b"], ["y"]), helper.make_node("Mul", ["y", "a_b"], ["z"])]
    first = helper.make_node("Relu", ["x"], ["m"])
    model = model_of(
        [first, *nodes], {"a.b": np.ones(2, np.float32), "a_b": np.ones(2, np.float32)}, {"x": [2]}, {"z": [2]}
    )
    assert len(set(OnnxModule(model).parameter_of.values())) == 2


def test_what_normalises_the_input_is_no_weight() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["b", "bias"], ["y"]),
    ]
    constants = {"mean": np.ones(3, np.float32), "bias": np.ones(3, np.float32)}
    assert list(OnnxModule(model_of(nodes, constants, {"x": [3]}, {"y": [3]})).parameter_of) == ["bias"]


def test_a_model_comes_back_as_it_went() -> None:
    model = small_net()
    model.grids["conv.bias"] = Grid("half", 16, np.zeros(0, np.float32))
    back = OnnxModule(model).to_model()
    assert back.proto.SerializeToString() == model.proto.SerializeToString()
    assert list(back.grids) == ["conv.bias"]


def test_trained_weights_come_back_and_lose_the_grids_they_left() -> None:
    model = small_net()
    model.grids = {n: Grid("half", 16, np.zeros(0, np.float32)) for n in ("conv.weight", "conv.bias")}
    module = OnnxModule(model)
    with torch.no_grad():
        module.weights()["conv.weight"].add_(1)
    back = module.to_model({"fc.bias": np.zeros(10, np.float32)}, {"fc.bias": Grid("half", 16, np.zeros(0))})
    assert np.array_equal(back.weight("conv.weight"), model.weight("conv.weight") + 1)
    assert not back.weight("fc.bias").any()
    assert set(back.grids) == {"conv.bias", "fc.bias"}


def test_weights_can_be_substituted_and_inner_tensors_captured_and_changed() -> None:
    module = OnnxModule(small_net())
    x = torch.randn(2, 1, 28, 28)
    plain = module(x, capture=["b"])
    assert plain["b"].shape == (2, 8, 28, 28)
    nothing = {"fc.weight": torch.zeros(10, 8 * 14 * 14)}
    bias = module.weights()["fc.bias"]
    assert torch.equal(module(x, nothing)["logits"], bias.expand(2, 10))
    assert torch.equal(module(x, inner={"b": torch.zeros_like})["logits"], bias.expand(2, 10))


def test_unknown_names_are_refused() -> None:
    module, x = OnnxModule(small_net()), torch.zeros(1, 1, 28, 28)
    with pytest.raises(ModelError, match="no tensor called nowhere"):
        module(x, capture=["nowhere"])
    with pytest.raises(ModelError, match="no trainable weight called conv"):
        module(x, {"conv": x})
    with pytest.raises(ModelError, match="input image is missing; the model takes image"):
        module({"picture": x})


def test_weights_stored_in_16_bits_are_trained_in_32() -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w32"], ["y"]),
    ]
    model = model_of(nodes, {"w": np.ones((3, 2), np.float16)}, {"x": ["n", 3]}, {"y": ["n", 2]})
    module = OnnxModule(model)
    with torch.no_grad():
        module.weights()["w"].add_(1e-5)
    assert module(torch.ones(1, 3))["y"][0, 0].item() == pytest.approx(3.00003, abs=1e-6)
    assert module.to_model().weight("w").dtype == np.float16


def batch_of_one() -> Model:
    """Everything that ties a graph to one sample: a fixed input, reshapes with and without an open side."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(0, 1, (4, 1, 3, 3)).astype(np.float32),
        "flat": np.array([1, 36], np.int64),
        "open": np.array([1, -1, 6], np.int64),
        "v": rng.normal(0, 1, (36, 12)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("Reshape", ["c", "open"], ["y"]),
    ]
    return model_of(nodes, weights, {"x": [1, 1, 5, 5]}, {"y": [1, 2, 6]})


def test_a_graph_for_one_sample_takes_a_batch_when_freed() -> None:
    model = batch_of_one()
    x = torch.randn(3, 1, 5, 5)
    plain = OnnxModule(model)
    one_by_one = torch.cat([plain(x[i : i + 1])["y"] for i in range(3)])
    assert torch.allclose(OnnxModule(model, any_batch=True)(x)["y"], one_by_one, atol=1e-6)
    with pytest.raises(ModelError, match="Reshape_1"):
        plain(x)


def test_onnxruntime_takes_the_batch_too() -> None:
    freed = free_batch(batch_of_one().proto)
    onnx.checker.check_model(freed)
    assert session(freed).run(None, {"x": np.zeros((3, 1, 5, 5), np.float32)})[0].shape == (3, 2, 6)
