"""Dependency groups: which channels go together, held against torch-pruning on the same networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch_pruning as tp
from onnx import helper
from torch import nn

from build_tools.errors import PassError
from build_tools.model import Model
from build_tools.passes.pruning.groups import Group, dependencies, find_groups
from tests.build_tools.onnx_models import model_of
from tests.build_tools.pruning_nets import example, exported, net

Slices = set[tuple[str, int, tuple[int, ...]]]
"""Weight, its axis, and the places along it that go."""


def slices_by_group(group: Group, channels: list[int]) -> Slices:
    found = {(m.weight, m.axis, tuple(sorted(m.positions[channels].ravel().tolist()))) for m in group.members}
    return {s for s in found if s[0].endswith("weight")}


def slices_by_torch_pruning(module: nn.Module, layer: nn.Module, places: list[int]) -> Slices:
    graph = tp.DependencyGraph().build_dependency(module, example(), verbose=False)
    linear = isinstance(layer, nn.Linear)
    prune = tp.prune_linear_out_channels if linear else tp.prune_conv_out_channels
    names = {m: n for n, m in module.named_modules()}
    found: dict[tuple[str, int], set[int]] = {}
    for item in graph.get_pruning_group(layer, prune, places):
        target = item.dep.target.module
        if target not in names:
            continue
        reads = graph.is_in_channel_pruning_fn(item.dep.handler) and not graph.is_out_channel_pruning_fn(
            item.dep.handler
        )
        depthwise = isinstance(target, nn.Conv2d) and target.groups == target.out_channels > 1
        found.setdefault((f"{names[target]}.weight", int(reads and not depthwise)), set()).update(item.idxs)
    return {(name, axis, tuple(sorted(idxs))) for (name, axis), idxs in found.items()}


@pytest.mark.parametrize("name", ["chain", "residual", "concatenation", "separable", "flattened"])
def test_the_same_slices_go_together_as_torch_pruning_finds(name: str) -> None:
    module = net(name)
    groups = find_groups(exported(module).proto)
    assert groups
    for group in groups:
        channels = [0, 3, group.channels - 1]
        lead = group.members[0]
        layer = module.get_submodule(group.id.removesuffix(".weight"))
        theirs = slices_by_torch_pruning(module, layer, lead.positions[channels].ravel().tolist())
        assert slices_by_group(group, channels) == theirs


def sizes(model: Model) -> dict[str, int]:
    return {group.id: group.channels for group in find_groups(model.proto)}


def test_a_residual_stream_is_one_group_of_all_that_write_to_it() -> None:
    known = dependencies(exported(net("residual")).proto)
    stream = known.group("stem.0.weight")
    assert stream is not None
    assert stream.makers() == ("stem.0.weight", "b.weight", "c.0.weight")
    assert [(m.weight, m.axis) for m in stream.members if m.role == "in"] == [
        ("a.0.weight", 1), ("c.0.weight", 1), ("head.fc.weight", 1),
    ]  # fmt: skip


def test_a_grouped_convolution_loses_the_same_places_in_each_of_its_groups() -> None:
    known = dependencies(exported(net("grouped")).proto)
    group = known.group("1.0.weight")
    assert group is not None
    assert group.members[0].positions.tolist() == [[i, i + 8, i + 16, i + 24] for i in range(8)]


def test_channels_behind_a_flatten_own_a_block_of_columns() -> None:
    known = dependencies(exported(net("flattened")).proto)
    group = known.group("2.0.weight")
    assert group is not None
    reader = next(m for m in group.members if m.role == "in")
    assert reader.weight == "4.weight"
    assert reader.positions[3].tolist() == list(range(48, 64))


def test_a_shuffle_pairs_the_channels_of_its_halves() -> None:
    known = dependencies(exported(net("shuffled")).proto)
    group = known.group("a.0.weight")
    assert group is not None
    assert group.members[0].positions.tolist() == [[i, i + 8] for i in range(8)]
    reader = next(m for m in group.members if m.role == "in")
    assert reader.positions.tolist() == [[2 * i, 2 * i + 1] for i in range(8)]


def test_parts_of_a_split_are_groups_of_their_own() -> None:
    assert sizes(exported(net("split"))) == {"a.0.weight": 8, "a.0.weight#1": 16, "b.0.weight": 16}


def test_zero_channels_that_widen_a_skip_go_with_what_is_added_to_them() -> None:
    assert sizes(exported(net("padded"))) == {"a.0.weight": 8, "b.0.weight": 8, "c.0.weight": 4}


def test_what_reaches_an_output_is_refused_with_the_outputs_name() -> None:
    known = dependencies(exported(net("chain")).proto)
    assert known.refused == {"4.fc.weight": "it is the model's output y"}


@pytest.mark.parametrize(
    ("operator", "settings"), [("LRN", {"size": 3}), ("Softmax", {"axis": 1}), ("LpNormalization", {"axis": 1})]
)
def test_an_operator_that_mixes_channels_is_refused_by_name(operator: str, settings: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "second": rng.normal(size=(4, 16, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "one", pads=[1] * 4),
        helper.make_node(operator, ["a"], ["b"], "mixer", **settings),
        helper.make_node("Conv", ["b", "second"], ["y"], "two"),
    ]
    known = dependencies(model_of(nodes, weights, {"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]}).proto)
    assert known.groups == ()
    assert f"mixer ({operator})" in known.refused["first"]


def test_equal_biases_that_an_exporter_stored_once_do_not_couple_layers() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(16, 3, 1, 1)).astype(np.float32),
        "second": rng.normal(size=(16, 16, 1, 1)).astype(np.float32),
        "third": rng.normal(size=(4, 16, 1, 1)).astype(np.float32),
        "zeros": np.zeros(16, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first", "zeros"], ["a"]),
        helper.make_node("Conv", ["a", "second", "zeros"], ["b"]),
        helper.make_node("Conv", ["b", "third"], ["y"]),
    ]
    model = model_of(nodes, weights, {"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]})
    assert sizes(model) == {"first": 16, "second": 16}


def test_a_shared_filter_is_cut_alike_wherever_it_is_used() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "stem": rng.normal(size=(16, 3, 1, 1)).astype(np.float32),
        "twice": rng.normal(size=(16, 16, 1, 1)).astype(np.float32),
        "last": rng.normal(size=(4, 16, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"]),
        helper.make_node("Conv", ["a", "twice"], ["b"]),
        helper.make_node("Conv", ["b", "twice"], ["c"]),
        helper.make_node("Conv", ["c", "last"], ["y"]),
    ]
    model = model_of(nodes, weights, {"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]})
    (group,) = find_groups(model.proto)
    assert group.makers() == ("stem", "twice")


def test_a_number_of_channels_that_is_computed_with_fixes_them() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(16, 3, 1, 1)).astype(np.float32),
        "second": rng.normal(size=(4, 16, 1, 1)).astype(np.float32),
        "one": np.array(1, np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["channels"]),
        helper.make_node("Cast", ["channels"], ["count"], to=1),
        helper.make_node("Div", ["a", "count"], ["b"], "divide"),
        helper.make_node("Conv", ["b", "second"], ["y"]),
    ]
    model = model_of(nodes, weights, {"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]})
    known = dependencies(model.proto)
    assert known.groups == ()
    assert "divide (Div)" in known.refused["first"]


def test_a_model_that_does_not_run_is_refused_with_a_remedy() -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    model = model_of(nodes, {"s": np.array([2, 5], np.int64)}, {"x": ["n", "m"]}, {"y": [2, 5]})
    with pytest.raises(PassError, match="give calibration data of the right shape"):
        find_groups(model.proto)
