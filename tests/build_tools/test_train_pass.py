"""The pass that trains: what earlier passes made is held, accuracy comes back, an interruption changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from build_tools.data import mnist
from build_tools.data.calibration import Stream
from build_tools.data.pictures import InputEntry
from build_tools.errors import ModelError, PassError, RecipeError
from build_tools.model import Grid, Model, load_model
from build_tools.passes.activations import session, stream
from build_tools.passes.contract import Change, Context
from build_tools.passes.registry import build_steps
from build_tools.training.batches import Batch
from build_tools.training.fine_tune import FineTune, takes_batches
from build_tools.training.held import Held, lies_on
from tests.build_tools.onnx_models import small_net
from tests.build_tools.painted_digits import write_digits
from tests.build_tools.test_from_onnx import batch_of_one

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_mnist = pytest.mark.skipif(
    not ((SHARED / "data/mnist").is_dir() and (SHARED / "peers").is_dir()), reason="../shared is not there"
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits") / "mnist").parent


@pytest.fixture(scope="module")
def taught(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small net that knows the painted digits."""
    context = Context(small_net(), folder=digits, input=IN_UNIT, work=tmp_path_factory.mktemp("work"))
    return train(small_net(), context, **ON_DIGITS, epochs=3).model


IN_UNIT = InputEntry(std=(255.0,))
ON_DIGITS: dict[str, Any] = {
    "data": "mnist", "path": "mnist", "limit": 600, "batch": 30, "rate": 0.003, "average": 0.9,
}  # fmt: skip


def train(model: Model, context: Context, **settings: Any) -> Change:
    """Through the registry, as a recipe's pass is."""
    step = build_steps([{"kind": "train", **settings}], "test")[0].settings
    step.requires(model, context)
    change = step.run(model, context)
    step.ensures(model, change, context)
    return change


def figures(change: Change) -> tuple[float, float]:
    """Held-out figure before and after, as the summary says them."""
    before, after = change.summary.rsplit(" -> ", 1)
    return float(before.rsplit(" ", 1)[1]), float(after)


def pruned(model: Model, share: float) -> Model:
    made = model.copy()
    for name in made.weight_names():
        values = made.weight(name)
        if values.dtype == np.float32 and values.ndim >= 2 and values.size > 50:
            edge = np.quantile(np.abs(values), share)
            made.set_weight(name, np.where(np.abs(values) <= edge, np.float32(0), values))
    return made


def test_training_after_pruning_brings_accuracy_back_and_keeps_the_zeros(
    taught: Model, digits: Path, tmp_path: Path
) -> None:
    thin = pruned(taught, 0.9)
    change = train(thin, Context(taught, folder=digits, input=IN_UNIT, work=tmp_path), **ON_DIGITS, epochs=3)
    before, after = figures(change)
    assert after < before / 2
    assert change.layers["fc.weight"]["sparsity"] == pytest.approx(0.9, abs=0.01)
    assert not change.model.weight("fc.weight")[thin.weight("fc.weight") == 0].any()


def test_without_holding_zeros_they_come_back(taught: Model, digits: Path, tmp_path: Path) -> None:
    context = Context(taught, folder=digits, input=IN_UNIT, work=tmp_path)
    change = train(pruned(taught, 0.95), context, **ON_DIGITS, steps=3, hold_zeros=False)
    assert change.layers["fc.weight"]["sparsity"] < 0.5  # type: ignore[operator]


def with_codebook(model: Model) -> Model:
    made = model.copy()
    for name in ("conv.weight", "fc.weight"):
        values = made.weight(name)
        table = np.linspace(values.min(), values.max(), 4).astype(np.float16).astype(np.float32)
        table[np.abs(table).argmin()] = 0
        places = np.abs(values[..., None] - table).argmin(-1)
        made.set_weight(name, table[places], Grid("codebook", 2, table))
    return made


def test_codebooks_move_their_values_and_no_index_and_the_error_falls(
    taught: Model, digits: Path, tmp_path: Path
) -> None:
    few = with_codebook(taught)
    change = train(few, Context(taught, folder=digits, input=IN_UNIT, work=tmp_path), **ON_DIGITS, epochs=2)
    before, after = figures(change)
    assert after < before
    for name in ("conv.weight", "fc.weight"):
        old, new = few.grids[name].table, change.model.grids[name].table
        values, values_before = change.model.weight(name), few.weight(name)
        assert not np.array_equal(old, new)
        assert np.array_equal(new.astype(np.float16).astype(np.float32), new)
        assert lies_on(values, change.model.grids[name])
        for a, b in zip(old, new, strict=True):
            assert (values[values_before == a] == b).all()
        assert not values[values_before == 0].any()
        assert change.layers[name]["bits"] == 2


def test_uniform_grids_are_trained_on_their_levels(taught: Model, digits: Path, tmp_path: Path) -> None:
    coarse = taught.copy()
    for name, axis in (("conv.weight", 0), ("fc.weight", 0)):
        values = coarse.weight(name)
        scale = (np.abs(values).reshape(values.shape[axis], -1).max(1) / 3).astype(np.float32)
        spread = scale.reshape([-1] + [1] * (values.ndim - 1))
        coarse.set_weight(name, np.rint(values / spread).astype(np.float32) * spread, Grid("uniform", 3, scale, axis))
    change = train(coarse, Context(taught, folder=digits, input=IN_UNIT, work=tmp_path), **ON_DIGITS, epochs=2)
    for name in ("conv.weight", "fc.weight"):
        assert lies_on(change.model.weight(name), change.model.grids[name])
        assert np.array_equal(change.model.grids[name].table, coarse.grids[name].table)
    assert not np.array_equal(change.model.weight("fc.weight"), coarse.weight("fc.weight"))
    before, after = figures(change)
    assert after <= before


def test_constraints_asked_for_while_training_are_met_at_the_end(taught: Model, digits: Path, tmp_path: Path) -> None:
    during = {"prune": {"target": 0.9, "end": 0.5}, "quantize": {"bits": 4, "begin": 0.5}}
    change = train(
        taught, Context(taught, folder=digits, input=IN_UNIT, work=tmp_path), **ON_DIGITS, epochs=2, during=during
    )
    for name in ("conv.weight", "fc.weight"):
        assert change.layers[name]["sparsity"] >= 0.9  # type: ignore[operator]
        assert change.layers[name]["bits"] == 4
        assert lies_on(change.model.weight(name), change.model.grids[name])


def test_channels_pruned_while_training_can_be_cut_out_without_loss(
    taught: Model, digits: Path, tmp_path: Path
) -> None:
    during = {"prune": {"target": 0.5, "end": 0.5, "structure": "channels", "align": 4}}
    context = Context(taught, folder=digits, input=IN_UNIT, work=tmp_path)
    model = train(taught, context, **ON_DIGITS, epochs=1, during=during).model
    dead = (model.weight("conv.weight").reshape(8, -1) == 0).all(1)
    assert dead.sum() == 4
    assert not model.weight("conv.bias")[dead].any()
    cut = build_steps([{"kind": "prune", "structure": "channels", "score": "zero", "align": 4, "minimum": 4}], "test")
    smaller = cut[0].settings.run(model, context).model
    assert smaller.weight("conv.weight").shape == (4, 1, 3, 3)
    x = np.random.default_rng(0).random((2, 1, 28, 28)).astype(np.float32)
    one, other = (session(m.proto).run(None, {"image": x})[0] for m in (model, smaller))
    assert np.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 4])
def test_activations_quantised_while_training_are_so_in_the_graph(
    bits: int, taught: Model, digits: Path, tmp_path: Path
) -> None:
    context = Context(taught, folder=digits, input=IN_UNIT, work=tmp_path)
    during = {"quantize": {"bits": 8, "activation_bits": bits}}
    change = train(taught, context, **ON_DIGITS, steps=20, during=during)
    onnx.checker.check_model(change.model.proto)
    kinds = [n.op_type for n in change.model.proto.graph.node]
    assert kinds.count("QuantizeLinear") == 2
    assert kinds.count("Clip") == (0 if bits == 8 else 2)
    images, labels = mnist.read(digits / "mnist", "validation")
    blob = images[:500, None].astype(np.float32) / 255
    said = session(change.model.proto).run(None, {"image": blob})[0].argmax(1)
    assert (said != labels[:500]).mean() == pytest.approx(figures(change)[1], abs=0.03)
    seen = exposed(change.model, "d_quantized", blob[:50])
    assert len(np.unique(seen)) <= 2**bits


def exposed(model: Model, tensor: str, blob: np.ndarray) -> np.ndarray:
    """An inner tensor's values."""
    return next(stream(model.proto, [tensor], [{"image": blob}]))[tensor]  # type: ignore[arg-type]


def test_an_interrupted_training_ends_at_the_same_bits(taught: Model, digits: Path, tmp_path: Path) -> None:
    during = {"prune": {"target": 0.8, "end": 0.5}, "quantize": {"bits": 3, "begin": 0.3}}
    settings = build_steps([{"kind": "train", **ON_DIGITS, "steps": 36, "during": during}], "test")[0].settings
    straight = settings.run(taught, Context(taught, folder=digits, input=IN_UNIT, work=tmp_path / "straight"))

    class Stopped(Exception):
        pass

    def stop_at_27(text: str, done: int, total: int) -> None:
        if done == 27:
            raise Stopped

    seconds = iter(range(0, 10**6, 50))  # a checkpoint every third step
    context = Context(taught, folder=digits, input=IN_UNIT, work=tmp_path / "torn", progress=stop_at_27)
    with pytest.raises(Stopped):
        FineTune(taught, settings, context, clock=lambda: float(next(seconds))).run()  # type: ignore[arg-type]
    resumed = settings.run(taught, Context(taught, folder=digits, input=IN_UNIT, work=tmp_path / "torn"))
    assert resumed.model.proto.SerializeToString() == straight.model.proto.SerializeToString()
    assert resumed.summary == straight.summary


def test_a_torn_checkpoint_is_named(taught: Model, digits: Path, tmp_path: Path) -> None:
    context = Context(taught, folder=digits, input=IN_UNIT, work=tmp_path)
    train(taught, context, **ON_DIGITS, steps=1)
    torn = next(tmp_path.glob("train-*.pt"))
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(PassError, match=r"train-\w+\.pt: torn or no checkpoint; delete it"):
        train(taught, context, **ON_DIGITS, steps=1)


def noise(count: int, seed: int = 3) -> Stream:
    rng = np.random.default_rng(seed)
    pictures = rng.normal(0, 1, (count, 1, 28, 28)).astype(np.float32)
    return Stream(lambda i: {"image": pictures[i]}, count, 5)


def test_no_labels_are_needed_with_the_model_as_it_came_for_a_teacher(tmp_path: Path) -> None:
    original = small_net()
    context = Context(original, noise(200), work=tmp_path)
    change = train(pruned(original, 0.8), context, epochs=6, batch=20, rate=0.01, average=0.9, distill={"weight": 1.0})
    before, after = figures(change)
    assert after < before / 2


def test_a_graph_for_one_sample_is_trained_sample_by_sample_or_freed() -> None:
    batch = Batch({"x": torch.randn(4, 1, 5, 5)})
    assert takes_batches(batch_of_one().proto, batch)
    mixes = batch_of_one()
    mixes.set_weight("open", np.array([2, 6, 1], np.int64))  # not the shape any more that one sample has, times n
    mixes.proto.graph.node.add(op_type="Transpose", input=["y"], output=["z"])
    mixes.proto.graph.output[0].name = "z"
    assert not takes_batches(mixes.proto, batch)


def test_held_passes_over_a_claim_that_does_not_hold() -> None:
    weight = torch.nn.Parameter(torch.tensor([[0.5, 0.0], [1.0, 0.3]]))
    held = Held({"w": weight}, {"w": Grid("codebook", 1, np.array([0.5, 1.0], np.float32))}, ["w"])
    assert held.grids == {}
    assert held.effective("w", weight).tolist() == [[0.5, 0.0], [1.0, pytest.approx(0.3)]]


def test_the_gradient_of_a_shared_value_is_the_sum_of_its_members() -> None:
    table = np.array([0.0, 0.5, -1.0], np.float32)
    weight = torch.nn.Parameter(torch.tensor([[0.5, 0.0, 0.5], [-1.0, 0.5, 0.0]]))
    held = Held({"w": weight}, {"w": Grid("codebook", 2, table)}, ["w"])
    (held.effective("w", weight) * torch.tensor([[1.0, 2, 3], [4, 5, 6]])).sum().backward()
    assert held.tables["w"].grad.tolist() == [0, 9, 4]  # type: ignore[union-attr]


def test_what_cannot_be_trained_is_refused_before_any_work(tmp_path: Path) -> None:
    plain = Context(small_net(), folder=tmp_path, work=tmp_path)
    with pytest.raises(PassError, match=r"no data: give train\.path a folder of pictures"):
        train(small_net(), plain)
    with pytest.raises(RecipeError, match=r"train\.path is missing: data = mnist"):
        train(small_net(), plain, data="mnist")
    with pytest.raises(PassError, match=r"train\.path = nowhere: not found"):
        train(small_net(), plain, data="mnist", path="nowhere")
    with pytest.raises(PassError, match=r"train\.distill\.teacher = big\.onnx: not found"):
        train(small_net(), Context(small_net(), noise(4)), distill={"weight": 1.0, "teacher": "big.onnx"})
    with pytest.raises(RecipeError, match=r"unknown key passes\[0\]\.distill\.wait; did you mean"):
        train(small_net(), plain, distill={"wait": 1.0})
    fixed = small_net()
    node = onnx.helper.make_node("Constant", [], ["conv.weight"], value=fixed.proto.graph.initializer[0])
    del fixed.proto.graph.initializer[0]
    fixed.proto.graph.node.insert(0, node)
    with pytest.raises(
        PassError, match="the weight of node conv is a Constant node, which is not trained; put a doctor"
    ):
        train(fixed, Context(fixed, noise(4)), distill={"weight": 1.0})
    lstm = small_net()
    lstm.proto.graph.node[1].op_type = "NonMaxSuppression"
    with pytest.raises(ModelError, match="node relu: operator NonMaxSuppression cannot be trained through"):
        train(lstm, Context(lstm, noise(4)), distill={"weight": 1.0})


def test_a_rate_that_is_far_too_high_is_said_so(taught: Model, digits: Path, tmp_path: Path) -> None:
    context = Context(taught, folder=digits, input=IN_UNIT, work=tmp_path)
    with pytest.raises(PassError, match=r"the loss is \w+ at step \d+; lower train\.rate"):
        train(taught, context, **(ON_DIGITS | {"rate": 1e30}), steps=5, optimizer="sgd")


@needs_mnist
def test_a_real_classifier_recovers_from_pruning_on_mnist(tmp_path: Path) -> None:
    original = load_model(SHARED / "peers/mnist_cnn_cntk.onnx")
    context = Context(original, folder=SHARED / "data", work=tmp_path)
    change = train(
        pruned(original, 0.9), context, data="mnist", path="mnist", limit=3000, epochs=1, batch=50, rate=0.01,
        average=0.9,
    )  # fmt: skip
    before, after = figures(change)
    assert before > 0.5
    assert after < 0.25
    for name in change.layers:
        assert change.layers[name]["sparsity"] >= 0.89  # type: ignore[operator]
