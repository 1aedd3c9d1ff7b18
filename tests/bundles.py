"""Small models to bundle, and bundles taken apart and put together again for tests that tamper with them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from build_tools.bundle.export import to_onnx
from build_tools.bundle.writer import bundle_bytes
from build_tools.model import Grid, Model
from edge_runtime.bundle import archive
from edge_runtime.bundle.dictionary import GRAPH_DICTIONARY
from edge_runtime.bundle.reader import read_manifest_bytes, sha256
from edge_runtime.shipped import shipped

Array = NDArray[Any]
PEERS = Path(__file__).resolve().parents[1].parent / "shared" / "peers"


def plain_onnx(name: str, folder: Path) -> Path:
    """A shipped bundle as plain ONNX with its facts, in `folder`."""
    path = folder / f"{name}.onnx"
    onnx.save(to_onnx(shipped(f"{name}.edge")), path)
    return path


def holding(weights: Mapping[str, Array], grids: Mapping[str, Grid] | None = None) -> Model:
    """A model without inputs that gives each weight as the output called `out_` + its name."""
    nodes = [helper.make_node("Identity", [name], [f"out_{name}"]) for name in weights]
    outputs = [
        helper.make_tensor_value_info(f"out_{name}", helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in weights.items()
    ]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(v).reshape(v.shape), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "holding", [], outputs, tensors)
    return Model(whole(graph), dict(grids or {}))


def whole(graph: onnx.GraphProto, opset: int = 17) -> onnx.ModelProto:
    """A checked model of a graph."""
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


def small_net(seed: int = 0) -> Model:
    """A network for pictures [n, 3, 8, 8] with a weight in each kind of storage: 4 bits by channel, 1 bit, a codebook,
    16 bits, 32 bits, mostly zeros; output `y` [n, 10]."""
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.01, 0.02, 12).astype(np.float32)
    levels = rng.integers(-7, 8, (12, 3, 3, 3)).astype(np.float32)
    book = rng.normal(0, 0.2, 8).astype(np.float32)
    signs = np.where(rng.random((16, 12, 1, 1)) < 0.5, -1, 1).astype(np.float32)
    sparse = rng.normal(0, 0.1, (64, 10)).astype(np.float32) * (rng.random((64, 10)) < 0.1)
    weights = {
        "conv1.weight": levels * scales.reshape(-1, 1, 1, 1),
        "conv1.bias": rng.normal(0, 0.1, 12).astype(np.float16).astype(np.float32),
        "conv2.weight": signs * np.float32(0.125),
        "conv2.bias": rng.normal(0, 0.1, 16).astype(np.float16).astype(np.float32),
        "fc1.weight": book[rng.integers(0, 8, (256, 64))],
        "fc1.bias": rng.normal(0, 0.1, 64).astype(np.float32),
        "fc2.weight": sparse + np.float32(0),
        "fc2.bias": rng.normal(0, 0.1, 10).astype(np.float32),
    }
    nodes = [
        helper.make_node(
            "Conv", ["x", "conv1.weight", "conv1.bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1], name="c1"
        ),
        helper.make_node("Relu", ["a"], ["b"], name="r1"),
        helper.make_node("Conv", ["b", "conv2.weight", "conv2.bias"], ["c"], dilations=[1, 1], group=1, name="c2"),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "fc1.weight", "fc1.bias"], ["e"], alpha=1.0, doc_string="words"),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "fc2.weight", "fc2.bias"], ["y"]),
    ]
    io = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 8, 8]), ("y", ["n", 10]))
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    grids = {"conv1.weight": Grid("uniform", 4, scales, 0), "conv2.weight": Grid("uniform", 1, np.float32([0.125]))}
    return Model(whole(helper.make_graph(nodes, "small", io[:1], io[1:], tensors)), grids)


def bundled(model: Model, **settings: Any) -> bytes:
    """The bundle's bytes; by default nothing is rounded or coded."""
    return bundle_bytes(model, **{"facts": {}, "provenance": {}, "half": False, "coder": "raw"} | settings).content


def outputs(session: ort.InferenceSession, seed: int = 0, **free: int) -> list[Array]:
    """What a session gives for inputs drawn from `seed`; free sides are 1 or as given."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for entry in session.get_inputs():
        shape = [side if isinstance(side, int) else free.get(side, 1) for side in entry.shape]
        feeds[entry.name] = (
            np.full(shape, 16_000) if entry.type == "tensor(int64)" else rng.uniform(-1, 1, shape).astype(np.float32)
        )
    return [np.asarray(values) for values in session.run(None, feeds)]


def same_bits(a: Array, b: Array) -> bool:
    """Type, shape and every bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def rebuilt(content: bytes, **changes: Any) -> bytes:
    """The bundle with members replaced, digests and checksums put right: as an attacker would.

    Args:
        content: a sound bundle.
        changes: `manifest`: function from the parsed manifest to another, or to bytes; `graph`: new graph, inflated;
            `weights`: new bytes of weights.bin.
    """
    members = archive.split(content, "test")
    manifest: Any = json.loads(read_manifest_bytes(members, "test"))
    graph_z, weights = bytes(members["graph.onnx.z"].payload), bytes(members["weights.bin"].payload)
    if "graph" in changes:
        graph_z = raw_deflate(changes["graph"], GRAPH_DICTIONARY)
        manifest["graph"] = [len(changes["graph"]), sha256(graph_z)]
    if "weights" in changes:
        weights = changes["weights"]
        manifest["weights"] = [len(weights), sha256(weights)]
    if "manifest" in changes:
        manifest = changes["manifest"](manifest)
    raw = manifest if isinstance(manifest, bytes) else json.dumps(manifest, sort_keys=True).encode()
    return archive.join(
        [
            archive.Member("manifest.json", raw_deflate(raw), len(raw), zlib.crc32(raw)),
            archive.stored("graph.onnx.z", graph_z),
            archive.stored("weights.bin", weights),
        ]
    )


def raw_deflate(content: bytes, dictionary: bytes = b"") -> bytes:
    settings = (9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY)
    engine = zlib.compressobj(*settings, dictionary) if dictionary else zlib.compressobj(*settings)
    return engine.compress(content) + engine.flush()
