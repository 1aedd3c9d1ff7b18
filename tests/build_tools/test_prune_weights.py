"""Unstructured pruning: how many weights become zero, which, and how the zeros are shared among layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from build_tools.errors import PassError
from build_tools.graph import Layer
from build_tools.model import Grid, Model
from build_tools.passes.contract import Context, Feed, Score
from build_tools.passes.prune import Prune
from build_tools.passes.pruning.sparsity import equal_slopes, erdos_renyi, global_threshold, zero_smallest
from tests.build_tools.onnx_models import small_net

FLOATS = st.floats(-4, 4, width=32)


def feeds(count: int = 8) -> list[Feed]:
    rng = np.random.default_rng(3)
    return [{"image": rng.normal(size=(2, 1, 28, 28)).astype(np.float32)} for _ in range(count)]


def pruned(model: Model, **keys: object) -> Model:
    prune, context = Prune(**keys), Context(model, feeds())  # type: ignore[arg-type]
    prune.requires(model, context)
    change = prune.run(model, context)
    prune.ensures(model, change, context)
    return change.model


def zeros(model: Model, name: str) -> float:
    return float((model.weight(name) == 0).mean())


@given(weight=arrays.arrays(np.float32, st.integers(1, 200), elements=FLOATS), share=st.floats(0, 1))
@settings(deadline=None)
def test_exactly_the_share_goes_and_nothing_larger_than_what_stays(weight: np.ndarray, share: float) -> None:
    out = zero_smallest(weight, share)
    count = round(share * weight.size)
    assert (out == 0).sum() == max(count, (weight == 0).sum())
    kept = out != 0
    assert (out[kept] == weight[kept]).all()
    if kept.any() and not kept.all():
        assert np.abs(weight[~kept]).max() <= np.abs(weight[kept]).min()


@given(
    weights=st.lists(arrays.arrays(np.float32, st.integers(1, 60), elements=FLOATS), min_size=1, max_size=5),
    target=st.floats(0, 0.99),
)
@settings(deadline=None)
def test_the_global_threshold_is_the_sorted_ones(weights: list[np.ndarray], target: float) -> None:
    every = np.sort(np.abs(np.concatenate(weights)))
    count = round(target * every.size)
    wanted = every[count - 1] if count else -1.0
    assert global_threshold(lambda: weights, target) == wanted


def layer(name: str, *shape: int) -> Layer:
    return Layer(name, 0, "Conv", name, None, shape, 0, 1, 1)


def test_erdos_renyi_spares_small_layers_and_meets_the_target() -> None:
    layers = [layer("tiny", 8, 3, 1, 1), layer("middle", 64, 32, 3, 3), layer("large", 256, 256, 3, 3)]
    shares = erdos_renyi(layers, 0.9)
    sizes = {x.weight: float(np.prod(x.shape)) for x in layers}
    assert shares["tiny"] == 0.0
    assert shares["middle"] < shares["large"] < 1
    assert sum(shares[n] * sizes[n] for n in sizes) == pytest.approx(0.9 * sum(sizes.values()))


@given(target=st.floats(0.05, 0.9), sizes=st.tuples(*[st.integers(10, 10_000)] * 3))
@settings(deadline=None)
def test_measured_shares_meet_the_target_and_spare_the_sensitive(target: float, sizes: tuple[int, int, int]) -> None:
    levels = np.array([0.5, 0.75, 0.9])
    curves = {name: (levels, factor * levels**2) for name, factor in (("a", 0.1), ("b", 1.0), ("c", 10.0))}
    by_name = dict(zip("abc", sizes, strict=True))
    shares = equal_slopes(curves, by_name, target)
    assert sum(shares[n] * by_name[n] for n in by_name) == pytest.approx(target * sum(sizes), rel=0.02)
    if len(set(sizes)) == 1:
        assert shares["a"] >= shares["b"] >= shares["c"]


def test_the_model_given_is_left_as_it_is() -> None:
    model = small_net()
    before = model.proto.SerializeToString()
    pruned(model, target=0.9)
    assert model.proto.SerializeToString() == before


def test_layers_named_get_their_own_share() -> None:
    model = pruned(small_net(), target=0.5, layers={"conv.weight": 0.25})
    assert zeros(model, "conv.weight") == pytest.approx(0.25, abs=0.01)
    assert zeros(model, "fc.weight") == pytest.approx(0.5, abs=0.001)


def test_global_pruning_takes_from_the_layer_with_the_smaller_weights() -> None:
    model = pruned(small_net(), target=0.5, allocation="global")
    assert zeros(model, "conv.weight") < 0.2 < zeros(model, "fc.weight")


def test_sensitivity_meets_the_target_by_what_outputs_lose() -> None:
    model = small_net()
    change = Prune(target=0.6, allocation="sensitivity").run(model, Context(model, feeds()))
    total = sum(model.weight(n).size for n in ("conv.weight", "fc.weight"))
    gone = sum((change.model.weight(n) == 0).sum() for n in ("conv.weight", "fc.weight"))
    assert gone / total == pytest.approx(0.6, abs=0.01)
    assert set(change.layers["fc.weight"]) == {"sparsity", "error", "sensitivity"}


def test_accuracy_is_asked_of_the_recipes_evaluation() -> None:
    def evaluate(model: Model) -> Score:
        """Nothing but the convolution matters."""
        return Score("right", 1 - zeros(model, "conv.weight"), True)

    model = small_net()
    change = Prune(target=0.6, allocation="accuracy").run(model, Context(model, evaluate=evaluate))
    assert zeros(change.model, "conv.weight") == 0
    assert zeros(change.model, "fc.weight") > 0.6


def test_a_grid_with_zero_is_kept_and_one_without_is_forgotten() -> None:
    model = small_net()
    step = np.array([0.01], np.float32)
    model.set_weight("fc.weight", np.round(model.weight("fc.weight") / step) * step, Grid("uniform", 8, step))
    table = np.array([-0.5, 0.5], np.float32)
    model.set_weight("conv.weight", table[(model.weight("conv.weight") > 0).astype(int)], Grid("codebook", 1, table))
    out = pruned(model, target=0.5)
    assert out.grids["fc.weight"].table.tolist() == step.tolist()
    assert "conv.weight" not in out.grids
    assert zeros(out, "conv.weight") == 0.5


def test_activation_scores_spare_weights_whose_inputs_are_strong() -> None:
    model = small_net()
    loud = model.weight("conv.bias").copy()
    loud[:] = -100.0
    loud[3] = 100.0  # the only channel behind the ReLU that is not silent
    model.set_weight("conv.bias", loud)
    out = pruned(model, target=0.8, score="activation")
    columns = (out.weight("fc.weight") != 0).reshape(10, 8, 196).any((0, 2))
    assert columns.tolist() == [False, False, False, True, False, False, False, False] or columns[3]
    assert (out.weight("fc.weight").reshape(10, 8, 196)[:, 3] != 0).mean() > 0.99


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"layers": {"fc.wieght": 0.5}}, "no layer has this weight; did you mean layers.fc.weight"),
        ({"layers": {"fc.weight": 1.5}}, "must be between 0 and 1"),
        ({"score": "activation"}, 'score = "activation" needs calibration data'),
        ({"allocation": "sensitivity"}, 'allocation = "sensitivity" needs calibration data'),
        ({"recover": "bias"}, 'recover = "bias" needs calibration data'),
        ({"allocation": "accuracy"}, "needs evaluation data"),
        ({"score": "zero"}, 'is for structure = "channels"'),
        ({"structure": "channels", "allocation": "erk"}, 'is for structure = "weights"'),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_work(keys: dict[str, object], message: str) -> None:
    model = small_net()
    with pytest.raises(PassError, match=message):
        Prune(**keys).requires(model, Context(model))  # type: ignore[arg-type]
