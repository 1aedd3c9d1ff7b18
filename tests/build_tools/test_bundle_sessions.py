"""A bundle's session, the exported ONNX and the model that was evaluated give the same bits, on real networks too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_tools.bundle.export import open_any, to_onnx
from build_tools.bundle.writer import settled, write_bundle
from build_tools.errors import ModelError
from build_tools.model import Model, load_model
from build_tools.passes.activations import session
from edge_runtime.bundle.reader import open_bundle
from edge_runtime.shipped import shipped
from tests.bundles import PEERS, Array, outputs, plain_onnx, same_bits, small_net, whole

SHIPPED = ("scene_attention.edge", "crop_detector.edge", "face_cropper.edge")
NAMES = (
    "blazeface_front_128", "fastestdet_352", "kws_dscnn", "landmark106", "mnist_cnn_cntk", "resnet8_cifar10",
    "silero_vad_16k", "ultraface_slim_320", "yoloface_50k", "yunet_s",
)  # fmt: skip
FREE = {"n": 2, "batch": 1, "h": 64, "w": 96, "height": 64, "width": 96, "sequence": 576}


def assert_all_alike(model: Model, folder: Path, half: bool) -> list[Array]:
    path = folder / "m.edge"
    write_bundle(model, path, facts={}, provenance={}, half=half, coder="huffman")
    exported = to_onnx(path)
    onnx.checker.check_model(exported, full_check=True)
    found = outputs(open_bundle(path).session(), **FREE)
    for other in (settled(model, half).proto, exported):
        expected = outputs(session(other), **FREE)
        assert len(found) == len(expected)
        assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True))
    return found


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_run_alike_from_bundle_and_onnx(tmp_path: Path, name: str, half: bool) -> None:
    model = open_any(shipped(name))
    found = assert_all_alike(model, tmp_path, half)
    if not half:
        source = outputs(session(model.proto), **FREE)
        assert all(same_bits(a, b) for a, b in zip(found, source, strict=True))


@pytest.mark.skipif(not PEERS.is_dir(), reason="the peers' models are not on this machine")
@pytest.mark.parametrize("name", NAMES)
def test_other_peoples_networks_run_alike_from_bundle_and_onnx(tmp_path: Path, name: str) -> None:
    assert_all_alike(load_model(PEERS / f"{name}.onnx"), tmp_path, True)


@pytest.mark.parametrize("half", [False, True])
def test_a_small_network_runs_alike(tmp_path: Path, half: bool) -> None:
    assert_all_alike(small_net(), tmp_path, half)


def value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def branching() -> Model:
    """An If whose branches hold weights of the same name, one as an initialiser and one as a Constant."""
    rng = np.random.default_rng(0)
    branches = []
    for factor in (1, 2):
        weight = numpy_helper.from_array(rng.normal(0, factor, (6, 6)).astype(np.float32), "w")
        product = helper.make_node("MatMul", ["x", "w"], [f"y{factor}"])
        made = [] if factor == 1 else [helper.make_node("Constant", [], ["w"], value=weight)]
        out = value(f"y{factor}", TensorProto.FLOAT, ["n", 6])
        branches.append(helper.make_graph([*made, product], "branch", [], [out], [weight] if factor == 1 else []))
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    inputs = [value("x", TensorProto.FLOAT, ["n", 6]), value("flag", TensorProto.BOOL, [])]
    return Model(whole(helper.make_graph([node], "branching", inputs, [value("y", TensorProto.FLOAT, ["n", 6])])))


def test_weights_inside_branches_are_stored_too(tmp_path: Path) -> None:
    model, path = branching(), tmp_path / "m.edge"
    written = write_bundle(model, path, facts={}, provenance={}, half=False)
    assert sorted(layer.shape for layer in written.layers) == [(6, 6), (6, 6)]
    x = np.random.default_rng(1).normal(0, 1, (3, 6)).astype(np.float32)
    for flag in (True, False):
        feeds = {"x": x, "flag": np.array(flag)}
        found = open_bundle(path).session().run(None, feeds)[0]
        assert same_bits(found, session(model.proto).run(None, feeds)[0])
        assert same_bits(found, session(to_onnx(path)).run(None, feeds)[0])


def test_initialisers_that_are_inputs_too_become_constants(tmp_path: Path) -> None:
    model = small_net()
    for tensor in model.proto.graph.initializer:
        model.proto.graph.input.append(value(tensor.name, TensorProto.FLOAT, list(tensor.dims)))
    model.proto.ir_version = 3
    found = assert_all_alike(model, tmp_path, False)
    assert [i.name for i in open_bundle(tmp_path / "m.edge").session().get_inputs()] == ["x"]
    assert all(same_bits(a, b) for a, b in zip(found, outputs(session(small_net().proto), **FREE), strict=True))


def test_large_constants_are_weights_and_small_ones_stay(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = numpy_helper.from_array(rng.normal(0, 1, (8, 32)).astype(np.float32))
    shape = numpy_helper.from_array(np.array([2, -1], np.int64))
    nodes = [
        helper.make_node("Constant", [], ["big"], value=large),
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("MatMul", ["x", "big"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [4, 8])], [value("y", TensorProto.FLOAT, [2, 64])]
    )
    written = write_bundle(Model(whole(graph)), tmp_path / "m.edge", facts={}, provenance={}, half=False)
    assert [layer.name for layer in written.layers] == ["big"]
    assert_all_alike(Model(whole(graph)), tmp_path, False)


def test_inner_names_give_way_to_those_of_inputs_and_outputs(tmp_path: Path) -> None:
    model = small_net()
    graph = model.proto.graph
    graph.input[0].name = graph.node[0].input[0] = "0"
    graph.output[0].name = graph.node[-1].output[0] = "_3"
    assert_all_alike(model, tmp_path, False)
    bundle = open_bundle(tmp_path / "m.edge")
    assert bundle.manifest.prefix == "__"
    assert [i.name for i in bundle.session().get_inputs()] == ["0"]
    assert [o.name for o in bundle.session().get_outputs()] == ["_3"]


def test_the_graph_in_a_bundle_has_no_words_for_people(tmp_path: Path) -> None:
    write_bundle(small_net(), tmp_path / "m.edge", facts={}, provenance={}, coder="raw")
    graph = open_bundle(tmp_path / "m.edge").graph
    for word in (b"words", b"conv1", b"c1", b"small", b"alpha", b"dilations"):
        assert word not in graph


def test_a_weight_that_is_an_output_and_one_read_twice_survive(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(0, 1, (30, 30)).astype(np.float32), "w")
    other = numpy_helper.from_array(np.random.default_rng(1).normal(0, 1, (30, 30)).astype(np.float32), "v")
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    results = [value("y", TensorProto.FLOAT, [1, 30]), value("w", TensorProto.FLOAT, [30, 30])]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [1, 30])], results, [weight, other])
    assert_all_alike(Model(whole(graph)), tmp_path, True)


def test_a_constant_that_others_divide_by_is_not_rounded_to_nothing(tmp_path: Path) -> None:
    tiny = np.linspace(1e-9, 1e-7, 20, dtype=np.float32)
    tensor = numpy_helper.from_array(tiny, "d")
    vector = [value(name, TensorProto.FLOAT, [20]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Div", ["x", "d"], ["y"])], "g", vector[:1], vector[1:], [tensor])
    model = Model(whole(graph))
    assert same_bits(settled(model, True).weight("d"), tiny)
    assert np.isfinite(assert_all_alike(model, tmp_path, True)[0]).all()


def test_sparse_initialisers_are_refused_by_name() -> None:
    model = small_net()
    sparse = model.proto.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    with pytest.raises(ModelError, match="initialiser s is stored as sparse"):
        settled(model)


def test_facts_travel_into_the_bundle_and_back(tmp_path: Path) -> None:
    source = load_model(plain_onnx("scene_attention", tmp_path))
    write_bundle(source, tmp_path / "m.edge", facts={"name": "porch"}, provenance={}, coder="raw")
    told = {p.key: p.value for p in to_onnx(tmp_path / "m.edge").metadata_props}
    before = {p.key: p.value for p in source.proto.metadata_props}
    assert told["edge"] == before["edge"].replace('"name": "scene_attention"', '"name": "porch"')


def test_any_model_is_opened_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"  # the name does not matter
    write_bundle(small_net(), path, facts={}, provenance={}, half=False)
    model = open_any(path)
    assert {grid.kind for grid in model.grids.values()} == {"uniform", "codebook", "half"}
    assert open_any(plain_onnx("scene_attention", tmp_path)).grids == {}


def test_a_network_without_weights_is_bundled_too(tmp_path: Path) -> None:
    vector = [value(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", vector[:1], vector[1:])
    assert_all_alike(Model(whole(graph)), tmp_path, True)
