"""Cutting channels gives the old network with these channels silenced, and what torch-pruning's same cut gives."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
import torch
import torch_pruning as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn

from build_tools.errors import PassError
from build_tools.model import Grid, Model
from build_tools.passes.activations import session
from build_tools.passes.pruning.groups import Dependencies, dependencies
from build_tools.passes.pruning.remove import remove_channels
from tests.build_tools.onnx_models import model_of
from tests.build_tools.pruning_nets import NETS, example, exported, net


@cache
def model_and_groups(name: str) -> tuple[Model, Dependencies]:
    model = exported(net(name))
    return model, dependencies(model.proto)


def output(model: Model) -> np.ndarray:
    return session(model.proto, optimise=False).run(None, {"x": example(7).numpy()})[0]


def silenced(model: Model, known: Dependencies, kept: dict[str, np.ndarray]) -> Model:
    """The uncut model with zeros wherever somebody reads a channel that is not kept."""
    out = model.copy()
    for group in known.groups:
        gone = np.delete(np.arange(group.channels), kept[group.id])
        for member in group.members:
            if member.role == "in":
                weight = out.weight(member.weight).copy()
                weight[(slice(None),) * member.axis + (member.positions[gone].ravel(),)] = 0
                out.set_weight(member.weight, weight)
    return out


@given(name=st.sampled_from(sorted(NETS)), data=st.data())
@settings(max_examples=60, deadline=None)
def test_cutting_channels_equals_silencing_them(name: str, data: st.DataObject) -> None:
    model, known = model_and_groups(name)
    before = model.proto.SerializeToString()
    kept = {
        group.id: np.array(sorted(data.draw(st.sets(st.integers(0, group.channels - 1), min_size=1))))
        for group in known.groups
    }
    cut = remove_channels(model, kept, known)
    assert model.proto.SerializeToString() == before
    onnx.checker.check_model(cut.proto, full_check=True)
    np.testing.assert_allclose(output(cut), output(silenced(model, known, kept)), rtol=1e-4, atol=1e-5)
    assert cut.parameters() <= model.parameters()


@pytest.mark.parametrize("name", ["chain", "residual", "concatenation", "separable", "flattened"])
def test_a_cut_network_gives_what_torch_prunings_gives(name: str) -> None:
    module = net(name)
    model, known = model_and_groups(name)
    rng = np.random.default_rng(1)
    kept = {g.id: np.sort(rng.choice(g.channels, g.channels // 2, replace=False)) for g in known.groups}
    graph = tp.DependencyGraph().build_dependency(module, example(), verbose=False)
    for group in known.groups:
        layer = module.get_submodule(group.id.removesuffix(".weight"))
        prune = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
        gone = np.delete(np.arange(group.channels), kept[group.id])
        graph.get_pruning_group(layer, prune, group.members[0].positions[gone].ravel().tolist()).prune()
    cut = remove_channels(model, kept, known)
    with torch.no_grad():
        theirs = module(example(7)).numpy()
    np.testing.assert_allclose(output(cut), theirs, rtol=1e-4, atol=1e-5)
    shapes = {n: tuple(p.shape) for n, p in module.named_parameters()}
    assert {n: cut.weight(n).shape for n in shapes} == shapes


def test_nothing_named_nothing_cut() -> None:
    model, known = model_and_groups("residual")
    assert remove_channels(model, {}, known).parameters() == model.parameters()


def test_a_cut_weight_keeps_the_grid_of_what_is_left() -> None:
    chain, known = model_and_groups("chain")
    model = chain.copy()
    scales = np.linspace(0.01, 0.02, 16).astype(np.float32)
    model.grids["0.0.weight"] = Grid("uniform", 8, scales, 0)
    model.grids["1.0.weight"] = Grid("codebook", 4, np.arange(16, dtype=np.float32))
    cut = remove_channels(model, {"0.0.weight": [1, 5, 9]}, known)
    assert cut.grids["0.0.weight"].table.tolist() == scales[[1, 5, 9]].tolist()
    assert cut.grids["1.0.weight"].table.tolist() == list(range(16))


@pytest.mark.parametrize(
    ("kept", "message"),
    [({"nobody": [0]}, "no group of channels is called nobody"), ({"0.0.weight": []}, "must be some of 0..15"),
     ({"0.0.weight": [16]}, "must be some of 0..15")],
)  # fmt: skip
def test_a_cut_that_makes_no_sense_is_refused(kept: dict[str, list[int]], message: str) -> None:
    with pytest.raises(PassError, match=message):
        remove_channels(model_and_groups("chain")[0], kept, model_and_groups("chain")[1])


def layers_between(*nodes: tuple[str, dict[str, object]], side: int = 8) -> Model:
    """Conv 3 -> 16, the given nodes one after the other, global pool, Flatten, Gemm -> 5."""
    rng = np.random.default_rng(0)
    made = [helper.make_node("Conv", ["x", "first"], ["t0"])]
    weights = {"first": rng.normal(size=(16, 3, 1, 1)).astype(np.float32)}
    for place, (operator, entries) in enumerate(nodes):
        inputs = [f"t{place}"]
        for name in [k for k in entries if k.startswith("input_")]:
            weights[f"{operator}{place}_{name}"] = np.asarray(entries[name])
            inputs.append(f"{operator}{place}_{name}")
        attributes = {k: v for k, v in entries.items() if not k.startswith("input_")}
        made.append(helper.make_node(operator, inputs, [f"t{place + 1}"], **attributes))
    made.append(helper.make_node("GlobalAveragePool", [f"t{len(nodes)}"], ["pooled"]))
    made.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    made.append(helper.make_node("Gemm", ["flat", "last"], ["y"]))
    probe = helper.make_graph(
        made[:-1], "p", [helper.make_tensor_value_info("x", 1, [1, 3, side, side])],
        [helper.make_tensor_value_info("flat", 1, [1, "w"])],
        [numpy_helper.from_array(v, n) for n, v in weights.items()],
    )  # fmt: skip
    width = session(helper.make_model(probe, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    columns = width.run(None, {"x": np.zeros((1, 3, side, side), np.float32)})[0].shape[1]
    weights["last"] = rng.normal(size=(columns, 5)).astype(np.float32)
    return model_of(made, weights, {"x": [1, 3, side, side]}, {"y": [1, 5]})


TRANSPOSED = ("Transpose", {"perm": [0, 2, 3, 1]})
BACK = ("Transpose", {"perm": [0, 3, 1, 2]})


@pytest.mark.parametrize(
    ("nodes", "groups"),
    [
        ([("SpaceToDepth", {"blocksize": 2})], [16]),
        ([("DepthToSpace", {"blocksize": 2, "mode": "DCR"})], [4]),
        ([("DepthToSpace", {"blocksize": 2, "mode": "CRD"})], [4]),
        ([("Tile", {"input_repeats": np.array([1, 2, 1, 1])})], [16]),
        ([("Expand", {"input_shape": np.array([1, 16, 8, 8])})], [16]),
        ([("Slice", {"input_a": np.array([-12]), "input_b": np.array([-4]), "input_axes": np.array([1])})], [8, 8]),
        ([TRANSPOSED, ("Add", {"input_bias": np.linspace(-1, 1, 16, dtype=np.float32)}), BACK], [16]),
        ([TRANSPOSED, ("Softmax", {"axis": 1}), BACK], [16]),
        ([TRANSPOSED, ("Softmax", {"axis": -1}), BACK], []),
        ([("Unsqueeze", {"input_axes": np.array([2])}), ("Squeeze", {"input_axes": np.array([2])})], [16]),
        ([("Reshape", {"input_shape": np.array([0, 4, 4, 8, 8])}), ("ReduceMax", {"axes": [2], "keepdims": 0})], [4]),
        ([("Reshape", {"input_shape": np.array([0, 2, 8, 64])}), ("ReduceMean", {"axes": [3], "keepdims": 0}),
          ("Reshape", {"input_shape": np.array([1, -1, 1, 1])})], [8]),
        ([("Gather", {"input_i": np.array([3, 3, 0, 15, 7]), "axis": 1})], [12, 1, 3]),
        ([("ReduceMean", {"axes": [1], "keepdims": 1})], []),
        ([("Clip", {"input_low": np.float32(0), "input_high": np.float32(1)}), ("Erf", {})], [16]),
    ],
)  # fmt: skip
def test_operators_that_move_channels_are_followed(
    nodes: list[tuple[str, dict[str, object]]], groups: list[int]
) -> None:
    model = layers_between(*nodes)
    known = dependencies(model.proto)
    assert sorted(g.channels for g in known.groups) == sorted(groups)
    rng = np.random.default_rng(2)
    kept = {g.id: np.sort(rng.choice(g.channels, max(g.channels // 2, 1), replace=False)) for g in known.groups}
    cut = remove_channels(model, kept, known)
    onnx.checker.check_model(cut.proto, full_check=True)
    np.testing.assert_allclose(output(cut), output(silenced(model, known, kept)), rtol=1e-4, atol=1e-5)


def test_a_gemm_that_reads_its_input_transposed_is_followed() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(3, 16)).astype(np.float32),
        "last": rng.normal(size=(16, 5)).astype(np.float32),
        "bias": rng.normal(size=(1, 16)).astype(np.float32),
        "flat": np.array([8 * 8, 3]),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "first", "bias"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "last"], ["y"], transA=1),
    ]
    model = model_of(nodes, weights, {"x": [1, 3, 8, 8]}, {"y": [64, 5]})
    known = dependencies(model.proto)
    kept = {"first": np.array([0, 5, 9, 15])}
    cut = remove_channels(model, kept, known)
    assert cut.weight("bias").shape == (1, 4)
    np.testing.assert_allclose(output(cut), output(silenced(model, known, kept)), rtol=1e-4, atol=1e-5)


def test_free_sides_and_computed_shapes_are_followed_or_refused() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 8, 1), nn.Linear(8 * 64, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            x = self.b(x)
            return self.fc(x.view(x.size(0), -1))

    model = exported(Views().eval(), dynamic=True)
    known = dependencies(model.proto)
    assert [g.id for g in known.groups] == ["b.weight"]
    assert "a.weight" in known.refused
    cut = remove_channels(model, {"b.weight": [1, 2, 3]}, known)
    expected = output(silenced(model, known, {"b.weight": np.array([1, 2, 3])}))
    np.testing.assert_allclose(output(cut), expected, rtol=1e-4, atol=1e-5)
