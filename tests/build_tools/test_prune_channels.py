"""The pass `prune` on channels: how many stay, which, dead ones without loss, and healing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from build_tools.errors import PassError
from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.contract import Change, Context, Feed
from build_tools.passes.prune import Prune
from build_tools.passes.pruning.channel_choice import kept_count, strongest
from build_tools.passes.pruning.dead_channels import DeadChannels
from build_tools.passes.pruning.groups import Group, dependencies
from build_tools.passes.pruning.sensitivity import output_error
from tests.build_tools.pruning_nets import NETS, example, exported, net


@cache
def model_of(name: str) -> Model:
    return exported(net(name))


def feeds(first: int = 0, count: int = 8) -> list[Feed]:
    return [{"x": example(seed).numpy()} for seed in range(first, first + count)]


def pruned(model: Model, **keys: object) -> Change:
    prune, context = Prune(structure="channels", **keys), Context(model, feeds())  # type: ignore[arg-type]
    prune.requires(model, context)
    change = prune.run(model, context)
    prune.ensures(model, change, context)
    return change


def output(model: Model) -> np.ndarray:
    return session(model.proto, optimise=False).run(None, {"x": example(50).numpy()})[0]


@given(
    channels=st.integers(1, 200), width=st.sampled_from([1, 2, 3, 4, 8]), share=st.floats(0, 1),
    align=st.sampled_from([1, 4, 8, 16]), minimum=st.integers(1, 20),
)  # fmt: skip
def test_what_stays_is_aligned_or_everything(channels: int, width: int, share: float, align: int, minimum: int) -> None:
    group = Group("g", channels, (), width, np.arange(channels))
    kept = kept_count(group, share, align, minimum)
    assert 1 <= kept <= channels
    assert kept == channels or (kept * width % align == 0 and kept >= minimum)
    assert kept == channels or abs(kept - (1 - share) * channels) <= abs(channels - (1 - share) * channels)


def test_the_strongest_stay_in_their_order() -> None:
    assert strongest(np.array([3.0, 1.0, 2.0, 3.0]), 3).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("name", "score"),
    [(name, "l2") for name in sorted(NETS)]
    + [(name, score) for name in ("grouped", "excited") for score in ("l1", "bn", "activation", "taylor")],
)
def test_channels_are_cut_aligned_and_the_model_given_stays_as_it_was(name: str, score: str) -> None:
    model = model_of(name)
    before = model.proto.SerializeToString()
    change = pruned(model, target=0.5, align=2, minimum=2, score=score, samples=2)
    assert model.proto.SerializeToString() == before
    assert change.model.parameters() < model.parameters()
    for group in dependencies(change.model.proto).groups:
        assert group.channels * group.width % 2 == 0
    assert np.isfinite(output(change.model)).all()


@pytest.mark.parametrize("score", ["l2", "bn", "activation", "taylor"])
def test_a_channel_that_hardly_counts_goes_first(score: str) -> None:
    module = net("residual")
    with torch.no_grad():
        for place in (2, 7, 11):
            module.a[0].weight[place] *= 1e-3
            module.a[1].weight[place] *= 1e-3
            module.a[1].bias[place] = 0
            module.b.weight[:, place] *= 1e-3
    model = exported(module)
    change = pruned(model, target=0.0, layers={"a.0.weight": 3 / 32}, align=1, score=score)
    wanted = np.delete(model.weight("b.weight"), [2, 7, 11], 1)
    assert change.layers["a.0.weight"]["channels"] == 29
    assert np.array_equal(change.model.weight("b.weight"), wanted)


def test_a_group_smaller_than_the_alignment_is_left_alone_and_named() -> None:
    change = pruned(model_of("flattened"), target=0.5, align=16, minimum=1)
    assert "0.0.weight: 8 channels are too few to cut at align = 16" in change.refused
    assert change.model.weight("0.0.weight").shape[0] == 8
    assert change.model.weight("4.weight").shape == (16, 256)


def test_a_layer_named_that_cannot_be_cut_is_an_error_with_the_reason() -> None:
    with pytest.raises(PassError, match=r"4\.fc\.weight: its channels cannot be cut: it is the model's output y"):
        pruned(model_of("chain"), layers={"4.fc.weight": 0.5})


@pytest.mark.parametrize("allocation", ["global", "sensitivity"])
def test_channels_go_where_they_matter_least(allocation: str) -> None:
    module = net("chain")
    with torch.no_grad():
        module[1][0].weight[:20] *= 1e-4
        module[1][0].bias[:20] = 0
        module[3][0].weight[:, :20] *= 1e-4
    change = pruned(exported(module), target=16 / 56, allocation=allocation, align=4, minimum=4)
    kept = {name: fact["channels"] for name, fact in change.layers.items()}
    assert int(kept["1.0.weight"]) <= 12
    assert int(kept["0.0.weight"]) >= 12


def killed(name: str, weight: str, places: list[int], constant: float) -> Model:
    """The network with filters set to zero, so that these channels are constant."""
    module = net(name)
    layer = module.get_submodule(weight)
    with torch.no_grad():
        if isinstance(layer, torch.nn.Sequential):
            layer[0].weight[places] = 0
            layer[1].bias[places] = constant
            layer[1].running_mean[places] = 0
        else:
            layer.weight[places] = 0
            layer.bias[places] = constant
    return exported(module)


@pytest.mark.parametrize(
    ("name", "layer", "constant", "left"),
    [
        ("chain", "0", 0.0, 8),  # dead before a padded convolution
        ("chain", "0", -1.0, 8),  # constant, but a ReLU makes it zero
        ("separable", "0", 0.0, 8),  # the norm behind the depthwise convolution makes it constant at something else
        ("residual", "a", 1.0, 24),  # constant, moved into the bias of the 1x1 behind
        ("residual", "stem", 0.0, 16),  # others write to the stream too
        ("flattened", "4", 1.0, 24),  # neurons
        ("split", "a", 0.0, 17),  # all that one half was; one channel of it stays
        ("shuffled", "a", 0.0, 16),  # places 0..7 are each coupled with one that lives
        ("padded", "b", 0.0, 16),
    ],
)
def test_dead_channels_go_without_any_loss(name: str, layer: str, constant: float, left: int) -> None:
    model = killed(name, layer, list(range(8)), constant)
    change = pruned(model, score="zero", align=1, minimum=1)
    weight = f"{layer}.weight" if f"{layer}.weight" in model.weight_names() else f"{layer}.0.weight"
    assert change.model.weight(weight).shape[0] == left
    np.testing.assert_allclose(output(change.model), output(model), rtol=1e-4, atol=1e-5)


def test_alignment_keeps_some_dead_channels() -> None:
    model = killed("chain", "0", [0, 1, 2, 3, 4], 0.0)
    assert pruned(model, score="zero", align=8).model.weight("0.0.weight").shape[0] == 16
    assert pruned(model, score="zero", align=4, minimum=4).model.weight("0.0.weight").shape[0] == 12


def test_a_channel_that_nobody_reads_goes_and_takes_along_what_only_it_read() -> None:
    module = net("chain")
    with torch.no_grad():
        module[4].fc.weight[:, :8] = 0  # nobody reads these of layer 3
        module[3][0].weight[8:, :8] = 0  # and only these read those of layer 1
    model = exported(module)
    change = pruned(model, score="zero", align=1, minimum=1)
    assert change.model.weight("3.0.weight").shape[:2] == (8, 16)
    assert change.model.weight("1.0.weight").shape[0] == 16
    np.testing.assert_allclose(output(change.model), output(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NETS))
def test_nothing_is_dead_in_a_living_network(name: str) -> None:
    known = dependencies(model_of(name).proto)
    finder = DeadChannels(model_of(name), known)
    assert not any(finder.dead(group).any() for group in known.groups)


@pytest.mark.parametrize("name", ["chain", "residual", "separable", "flattened", "grouped"])
def test_healing_brings_outputs_closer_to_what_they_were(name: str) -> None:
    model = model_of(name)
    error = output_error(model, feeds(100, 16))
    keys = {"target": 0.5, "align": 2, "minimum": 2}
    plain, bias, squares = (
        error(pruned(model, recover=recover, **keys).model) for recover in ("none", "bias", "least_squares")
    )
    assert squares < plain
    assert bias < plain
