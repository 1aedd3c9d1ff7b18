"""Every kind of storage gives its values back bit for bit, and is the kind that it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from build_tools.bundle.export import model_of
from build_tools.bundle.inspect import inspect
from build_tools.bundle.writer import bundle_bytes, settled, write_bundle
from build_tools.model import Grid, Model
from edge_runtime.bundle.reader import read_bundle
from tests.bundles import Array, bundled, holding, outputs, same_bits, small_net

CODERS = st.sampled_from(["raw", "raw", "huffman", "rans"])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=9)


def returned(content: bytes) -> dict[str, Array]:
    """The outputs of a `holding` model by the weight's name."""
    session = read_bundle(content, Path("t.edge")).session()
    names = [o.name.removeprefix("out_") for o in session.get_outputs()]
    return dict(zip(names, outputs(session), strict=True))


def kinds(content: bytes) -> list[str]:
    return [s.storage.text for s in read_bundle(content, Path("t.edge")).manifest.streams]


@settings(max_examples=30, deadline=None)
@given(values=hnp.arrays(np.uint32, hnp.array_shapes(max_dims=3, max_side=6)), coder=CODERS)
def test_any_32_bits_survive(values: Array, coder: str) -> None:
    weight = values.view(np.float32)  # NaN with payloads, infinities, denormals, negative zeros
    assert same_bits(returned(bundled(holding({"w": weight}), coder=coder))["w"], weight)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), shape=SHAPES, bits=st.integers(1, 12), coder=CODERS)
def test_levels_times_scales_survive(data: st.DataObject, shape: tuple[int, ...], bits: int, coder: str) -> None:
    axis = data.draw(st.none() | st.integers(0, len(shape) - 1))
    scales = data.draw(
        hnp.arrays(np.float32, 1 if axis is None else shape[axis], elements=st.floats(2**-20, 4, width=32))
    )
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    levels = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(low, high)))
    levels = np.where(levels == 0, 1, levels) if bits == 1 else levels
    along = [1] * len(shape)
    if axis is not None:
        along[axis] = -1
    weight = levels.astype(np.float32) * (scales.reshape(along) if axis is not None else scales[0])
    model = holding({"w": weight}, {"w": Grid("uniform", bits, scales, axis)})
    assert same_bits(returned(bundled(model, coder=coder))["w"], weight)
    assert same_bits(returned(bundled(model, coder=coder, half=True))["w"], settled(model, True).weight("w"))


@settings(max_examples=20, deadline=None)
@given(data=st.data(), shape=SHAPES, coder=CODERS, entries=st.integers(1, 256), zero=st.booleans())
def test_codebooks_survive(data: st.DataObject, shape: tuple[int, ...], coder: str, entries: int, zero: bool) -> None:
    table = data.draw(hnp.arrays(np.float32, entries, elements=st.floats(width=32)))
    table[0] = 0 if zero else table[0]
    weight = table[data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, entries - 1)))]
    assert same_bits(returned(bundled(holding({"w": weight}), coder=coder))["w"], weight)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), shape=SHAPES, coder=CODERS, keep=st.floats(0, 0.5))
def test_what_is_mostly_zero_survives(data: st.DataObject, shape: tuple[int, ...], coder: str, keep: float) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    weight = np.where(rng.random(shape) < keep, rng.normal(0, 1, shape), 0).astype(np.float32)
    assert same_bits(returned(bundled(holding({"w": weight}), coder=coder))["w"], weight)


NATIVE = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64")


@pytest.mark.parametrize("dtype", NATIVE)
def test_other_types_are_kept_as_they_are(dtype: str) -> None:
    rng = np.random.default_rng(0)
    weight = np.frombuffer(rng.bytes(8 * 40), np.uint8).view(f"u{np.dtype(dtype).itemsize}")[:40].reshape(8, 5)
    weight = weight % 2 == 1 if dtype == "bool" else weight.view(dtype)
    content = bundled(holding({"w": weight}))
    assert kinds(content) == [f"native {dtype}"]
    assert same_bits(returned(content)["w"], weight)


def test_small_tensors_of_one_kind_share_a_stream() -> None:
    rng = np.random.default_rng(1)
    weights = {f"bias{i}": rng.normal(0, 1, (i + 20,)).astype(np.float16).astype(np.float32) for i in range(9)}
    content = bundled(holding(weights))
    assert kinds(content) == ["fp16"]
    found = returned(content)
    assert all(same_bits(found[name], values) for name, values in weights.items())


def test_each_weight_is_kept_in_its_cheapest_kind(tmp_path: Path) -> None:
    path = tmp_path / "small.edge"
    write_bundle(small_net(), path, facts={}, provenance={}, half=False, coder="huffman")
    layers = {layer["read_by"]: layer for layer in inspect(path)["layers"]}
    assert layers["Conv_0[1]"]["kind"] == "int4 axis0 f32"
    assert layers["Conv_0[2]"]["kind"] == "fp16"
    assert layers["Conv_2[1]"]["kind"] == "int1"
    assert layers["Conv_2[1]"]["storage"] == "binary"
    assert layers["Gemm_4[1]"]["kind"] == "codebook8 f32"
    assert layers["Gemm_4[2]"]["kind"] in ("fp32", "sparse fp32")  # it may share the stream of the next
    assert layers["Gemm_6[1]"]["kind"] == "sparse fp32"
    assert layers["Gemm_6[1]"]["storage"] == "sparse"
    assert layers["Conv_2[1]"]["bytes"] <= 16 * 12 / 8 + 16


def test_a_grid_that_does_not_hold_is_not_believed() -> None:
    weight = np.random.default_rng(2).normal(0, 1, (40, 40)).astype(np.float32)
    model = holding({"w": weight}, {"w": Grid("uniform", 4, np.float32([0.1]))})
    content = bundled(model)
    assert kinds(content) == ["fp32"]
    assert same_bits(returned(content)["w"], weight)


def test_negative_zeros_are_no_bar_to_a_grid_once_rounding_is_allowed() -> None:
    model = small_net()
    scale = np.float32([0.0501])
    levels = np.random.default_rng(0).integers(-7, 8, (256, 64)).astype(np.float32)
    masked = levels * scale * np.float32(levels > 3)
    assert np.signbit(masked[masked == 0]).any()
    model.set_weight("fc1.weight", masked, Grid("uniform", 4, scale))
    final = settled(model, True)
    assert not np.signbit(final.weight("fc1.weight")[masked == 0]).any()
    content = bundled(model, half=True)
    assert any(kind.endswith("int4 f32") for kind in kinds(content))
    decoded = read_bundle(content, Path("t.edge")).weights()
    assert any(same_bits(values, final.weight("fc1.weight")) for values in decoded.values())


def test_a_bundle_opened_and_written_again_is_as_small() -> None:
    first = bundle_bytes(small_net(), facts={}, provenance={}, half=False, coder="huffman")
    again = bundle_bytes(
        model_of(read_bundle(first.content, Path("t.edge"))), facts={}, provenance={}, half=False, coder="huffman"
    )
    assert again.bytes_total == first.bytes_total


def test_the_same_input_gives_the_same_bytes() -> None:
    settings_: dict[str, object] = {"facts": {"name": "a"}, "provenance": {"seed": 1}, "private_key": bytes(range(32))}
    assert bundled(small_net(), **settings_) == bundled(small_net(), **settings_)


def test_layers_account_for_every_byte_of_the_weights() -> None:
    written = bundle_bytes(small_net(), facts={}, provenance={})
    assert sum(layer.bytes for layer in written.layers) == written.weights_bytes
    assert [layer.name for layer in written.layers] == small_net().weight_names()
    headers = written.bytes_total - written.weights_bytes - written.graph_bytes - written.manifest_bytes
    assert headers == 3 * 76 + 2 * len("manifest.jsongraph.onnx.zweights.bin") + 22


def test_the_model_given_is_left_as_it_was() -> None:
    model = small_net()
    before = model.proto.SerializeToString(deterministic=True)
    bundled(model, half=True)
    assert model.proto.SerializeToString(deterministic=True) == before


def test_rounding_keeps_what_16_bits_would_spoil() -> None:
    model = small_net()
    model.set_weight("fc1.bias", np.full(64, 1e6, np.float32) + np.arange(64, dtype=np.float32))
    final = settled(model, True)
    assert same_bits(final.weight("fc1.bias"), model.weight("fc1.bias"))
    assert not same_bits(final.weight("fc2.bias"), model.weight("fc2.bias"))
    assert np.abs(final.weight("fc2.bias") - model.weight("fc2.bias")).max() < 2**-11


def test_settling_twice_changes_nothing_more() -> None:
    once = settled(small_net(), True)
    twice = settled(once, True)
    assert once.proto.SerializeToString(deterministic=True) == twice.proto.SerializeToString(deterministic=True)
    assert isinstance(once, Model)
