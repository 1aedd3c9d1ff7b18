"""From a bundle back to plain ONNX, for any other runtime and for the passes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from build_tools.bundle.digests import long_digests
from build_tools.model import Grid, Model, load_model
from edge_runtime.bundle.format import FORMAT
from edge_runtime.bundle.reader import Bundle, is_bundle, open_bundle
from edge_runtime.errors import FormatError


def to_onnx(path: Path) -> onnx.ModelProto:
    """The bundle at `path` as plain ONNX: the same graph, with its weights inside and its facts in the metadata.

    Raises:
        BundleError: not a sound bundle.
    """
    return model_of(open_bundle(path)).proto


def open_any(path: Path) -> Model:
    """The model at `path`, plain ONNX or a bundle, told apart by content; a bundle's levels come as grids.

    Raises:
        ModelError: not sound ONNX.
        BundleError: not a sound bundle.
    """
    return model_of(open_bundle(path)) if is_bundle(path) else load_model(path)


def model_of(bundle: Bundle) -> Model:
    """The model in an open bundle.

    Raises:
        BundleError: its weights do not decode, or its graph is none.
    """
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(bundle.graph)
    except Exception as error:  # protobuf's decode errors share no public base class
        raise FormatError(f"{bundle.path}: graph.onnx.z is not an ONNX graph; rebuild it with edge-build") from error
    for name, values in bundle.weights().items():
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    proto.graph.name = bundle.manifest.facts["name"] or bundle.path.stem
    proto.producer_name = "edge-build"
    facts = proto.metadata_props.add()
    facts.key, facts.value = (
        "edge",
        json.dumps({"format": FORMAT, **long_digests(bundle.manifest.facts)}, sort_keys=True),
    )
    return Model(proto, _grids(bundle))


def _grids(bundle: Bundle) -> dict[str, Grid]:
    """The grids of what is stored on few levels, so that a pass that keeps to them keeps the bytes."""
    grids = {}
    for name, storage, table in bundle.tables():
        if storage.kind == "int":
            grids[name] = Grid("uniform", storage.bits, table, storage.axis)
        elif storage.kind == "codebook":
            zero = np.zeros(int(storage.sparse), np.float32)  # left out of the stored table
            entries = np.concatenate([zero, table])
            grids[name] = Grid("codebook", max(1, (entries.size - 1).bit_length()), entries)
        elif storage.stored == "float16" and storage.dtype == "float32":
            grids[name] = Grid("half", 16, np.zeros(0, np.float32))
    return grids
