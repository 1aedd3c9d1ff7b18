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
from torch import nn

from build_tools.errors import PassError
from build_tools.model import Grid, Model
from build_tools.passes.activations import session
from build_tools.passes.groups import Dependencies, dependencies
from build_tools.passes.remove import remove_channels
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
