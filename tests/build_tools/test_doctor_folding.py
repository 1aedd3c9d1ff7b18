"""Scales and shifts are folded into every kind of layer without changing what it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_tools.model import Model
from build_tools.passes.doctoring import affine
from build_tools.passes.doctoring.findings import Options
from build_tools.passes.doctoring.view import view
from tests.build_tools.doctor_models import model, node, ops, outputs, random


def folded(made: Model) -> Model:
    mended, _ = view(made.proto)
    return Model(ir.to_proto(affine.fold(mended, Options())))


def assert_same(made: Model, expected_ops: list[str]) -> None:
    after = folded(made)
    assert ops(after) == expected_ops
    for before, now in zip(outputs(made), outputs(after), strict=True):
        np.testing.assert_allclose(now, before, rtol=2e-4, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]),
    groups=st.sampled_from([1, 2, 4]),
    width=st.sampled_from([1, 3]),
    bias=st.booleans(),
    behind=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_batchnorm_beside_any_convolution_folds_exactly(
    op: str, groups: int, width: int, bias: bool, behind: bool, seed: int
) -> None:
    inputs, outs = 4, groups * width
    shape = (outs, inputs // groups, 3, 3) if op == "Conv" else (inputs, width, 3, 3)
    channels = outs if behind else inputs
    weights = {"w": random(*shape, seed=seed), **norm(channels, seed)}
    if bias:
        weights["b"] = random(outs, seed=seed)
    names = "w b" if bias else "w"
    batchnorm = "BatchNormalization"
    if behind:
        nodes = [node(op, f"x {names}", "a", group=groups), node(batchnorm, "a gamma beta mean var", "y")]
    else:
        nodes = [node(batchnorm, "x gamma beta mean var", "a"), node(op, f"a {names}", "y", group=groups)]
    made = model(nodes, weights, (2, inputs, 5, 6))
    possible = behind or op == "Conv"  # a shift before a ConvTranspose has no place in its weights
    assert_same(made, [op] if possible else [batchnorm, op])


@settings(max_examples=30, deadline=None)
@given(
    op=st.sampled_from(["Gemm", "GemmT", "MatMul"]),
    bias=st.booleans(),
    behind=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_batchnorm_beside_any_fully_connected_layer_folds_exactly(op: str, bias: bool, behind: bool, seed: int) -> None:
    shape = (3, 5) if op == "GemmT" else (5, 3)
    weights = {"w": random(*shape, seed=seed), **norm(3 if behind else 5, seed)}
    given_bias = bias and op != "MatMul"
    if given_bias:
        weights["b"] = random(3, seed=seed)
    attributes: dict[str, Any] = {"transB": 1} if op == "GemmT" else {}
    names = "w b" if given_bias else "w"
    kind = op.removesuffix("T")
    if behind:
        nodes = [node(kind, f"x {names}", "a", **attributes), node("BatchNormalization", "a gamma beta mean var", "y")]
    else:
        nodes = [node("BatchNormalization", "x gamma beta mean var", "a"), node(kind, f"a {names}", "y", **attributes)]
    assert_same(model(nodes, weights, (2, 5)), ["Gemm"])


@pytest.mark.parametrize(
    ("op", "inputs"),
    [("Mul", "a k"), ("Mul", "k a"), ("Div", "a k"), ("Add", "a k"), ("Add", "k a"), ("Sub", "a k"), ("Sub", "k a")],
)
def test_arithmetic_with_a_constant_behind_a_convolution_folds(op: str, inputs: str) -> None:
    weights = {"w": random(4, 4, 3, 3), "k": random(4, 1, 1, seed=2) + 2}
    made = model([node("Conv", "x w", "a"), node(op, inputs, "y")], weights, (1, 4, 5, 5))
    assert_same(made, ["Conv"])


def test_constant_over_a_tensor_does_not_fold() -> None:
    made = model(
        [node("Conv", "x w", "a"), node("Div", "k a", "y")],
        {"w": random(4, 4, 3, 3), "k": np.float32(2)},
        (1, 4, 5, 5),
    )
    assert_same(made, ["Conv", "Div"])


def test_shift_before_a_padded_convolution_stays_and_a_scale_folds() -> None:
    weights = {"w": random(4, 4, 3, 3), "k": random(4, 1, 1, seed=2)}
    padded = node("Conv", "a w", "y", pads=[1, 1, 1, 1])
    assert_same(model([node("Add", "x k", "a"), padded], weights, (1, 4, 5, 5)), ["Add", "Conv"])
    assert_same(model([node("Mul", "x k", "a"), padded], weights, (1, 4, 5, 5)), ["Conv"])


def test_convolution_read_by_another_node_too_keeps_its_weights() -> None:
    nodes = [node("Conv", "x w", "a"), node("Mul", "a k", "b"), node("Add", "a b", "y")]
    made = model(nodes, {"w": random(4, 4, 3, 3), "k": random(4, 1, 1)}, (1, 4, 5, 5))
    assert_same(made, ["Conv", "Mul", "Add"])


def test_weight_shared_by_two_layers_is_scaled_for_one_only() -> None:
    nodes = [node("Conv", "x w", "a"), node("Mul", "a k", "b"), node("Conv", "x w", "c"), node("Sub", "b c", "y")]
    made = model(nodes, {"w": random(4, 4, 3, 3), "k": random(4, 1, 1)}, (1, 4, 5, 5))
    after = folded(made)
    assert len(after.weight_names()) >= 2
    assert_same(made, ["Conv", "Conv", "Sub"])


def test_constant_that_widens_its_tensor_does_not_fold() -> None:
    weights = {"w": random(1, 4, 3, 3), "k": random(4, 1, 1)}
    assert_same(model([node("Conv", "x w", "a"), node("Mul", "a k", "y")], weights, (1, 4, 5, 5)), ["Conv", "Mul"])


def test_scale_that_would_overflow_does_not_fold() -> None:
    weights = {"w": np.full((4, 4, 3, 3), 1e30, np.float32), "k": np.full((4, 1, 1), 1e30, np.float32)}
    made = model([node("Conv", "x w", "a"), node("Mul", "a k", "y")], weights, (1, 4, 5, 5))
    assert ops(folded(made)) == ["Conv", "Mul"]


def norm(channels: int, seed: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {
        "gamma": random(channels, seed=seed),
        "beta": random(channels, seed=seed + 1),
        "mean": random(channels, seed=seed + 2),
        "var": np.abs(random(channels, seed=seed + 3)) + np.float32(0.1),
    }
