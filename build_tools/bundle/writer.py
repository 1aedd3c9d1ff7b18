"""Writes `.edge` bundles: verified bit for bit, the same bytes for the same input, whole on disk or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from build_tools.bundle.digests import short_digests
from build_tools.bundle.forms import Form, find_form
from build_tools.bundle.ledger import LayerBytes, layer_bytes
from build_tools.bundle.names import small_graph
from build_tools.bundle.packing import pack
from build_tools.bundle.placement import stays_inside
from build_tools.bundle.settle import settled
from build_tools.bundle.signing import sign
from build_tools.errors import ModelError
from build_tools.model import Grid, Model, write_whole
from edge_runtime.bundle import archive
from edge_runtime.bundle.dictionary import GRAPH_DICTIONARY
from edge_runtime.bundle.format import FORMAT, GRAPH, MANIFEST, SIGNATURE, WEIGHTS
from edge_runtime.bundle.manifest import Manifest
from edge_runtime.bundle.reader import sha256

__all__ = ["LayerBytes", "Written", "bundle_bytes", "settled", "write_bundle"]

_SEARCH_BELOW = 1 << 16


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle and where its bytes went.

    Attributes:
        bytes_total: of the file.
        graph_bytes, manifest_bytes, weights_bytes: of these members as they lie in it.
        layers: in the order of the source model; their bytes add up to `weights_bytes`.
        content: the file.
    """

    bytes_total: int
    graph_bytes: int
    manifest_bytes: int
    weights_bytes: int
    layers: list[LayerBytes]
    content: bytes = field(repr=False)


def write_bundle(
    model: Model,
    path: Path,
    *,
    facts: dict[str, Any],
    coder: str = "smallest",
    half: bool = True,
    provenance: dict[str, Any],
    private_key: bytes | None = None,
) -> Written:
    """Write `model` to `path`; arguments and errors as of `bundle_bytes`.

    Raises:
        ModelError: a full disk or a folder that cannot be written; nothing is left behind.
    """
    written = bundle_bytes(
        model, facts=facts, coder=coder, half=half, provenance=provenance, private_key=private_key
    )  # fmt: skip
    write_whole(path, written.content)
    return written


def bundle_bytes(
    model: Model,
    *,
    facts: dict[str, Any],
    coder: str = "smallest",
    half: bool = True,
    provenance: dict[str, Any],
    private_key: bytes | None = None,
) -> Written:
    """The bundle of `model`, which decodes to exactly `settled(model, half)`.

    Args:
        model: any ONNX model; never changed.
        facts: of the model, as `name` and `task`; they win over those in the model's own metadata (key `edge`).
        coder: of `CodingEntry`.
        half: see `settled`.
        provenance: texts and whole numbers; see `digests` for how digests are kept.
        private_key: 32 raw bytes (Ed25519) to sign with, or None.

    Raises:
        ModelError: facts that are not JSON, or a model with sparse initialisers.
        PassError: no such coder.
    """
    model = settled(model, half)
    proto = model.proto
    inside = stays_inside(proto)
    tensors = [t for t in proto.graph.initializer if t.name not in inside]
    packed, natures = pack([(t.name, _form_of(t, model.grids.get(t.name))) for t in tensors], coder)
    order = [name for stream in packed for name in stream.names]
    graph, prefix = small_graph(proto, order)
    graph_z = _smallest_deflate(graph, GRAPH_DICTIONARY)
    weights = b"".join(stream.content for stream in packed)
    facts, made = short_digests(_all_facts(proto, facts)), short_digests(provenance)
    manifest = Manifest(
        facts, made, len(graph), sha256(graph_z), len(weights), sha256(weights),
        tuple(stream.stream for stream in packed), prefix,
    )  # fmt: skip
    manifest_json = manifest.to_json()
    manifest_z = _smallest_deflate(manifest_json)
    members = [
        archive.Member(MANIFEST, manifest_z, len(manifest_json), zlib.crc32(manifest_json)),
        archive.stored(GRAPH, graph_z),
        archive.stored(WEIGHTS, weights),
    ]
    if private_key is not None:
        members.append(archive.stored(SIGNATURE, sign(private_key, manifest_json)))
    content = archive.join(members)
    layers = layer_bytes(manifest.streams, order, natures)
    return Written(len(content), len(graph_z), len(manifest_z), len(weights), layers, content)


def _form_of(tensor: onnx.TensorProto, grid: Grid | None) -> Callable[[], Form]:
    return lambda: find_form(numpy_helper.to_array(tensor), grid)


def _all_facts(proto: onnx.ModelProto, facts: dict[str, Any]) -> dict[str, Any]:
    """Name and task at least; what the model says of itself in its metadata, and over it what is given."""
    own: Any = {}
    for entry in proto.metadata_props:
        if entry.key == "edge":
            try:
                own = json.loads(entry.value)
            except ValueError:
                raise ModelError("the facts in the model's metadata (key edge) are not JSON; train it again") from None
    if not isinstance(own, dict) or own.get("format", FORMAT) != FORMAT:
        raise ModelError(f"the facts in the model's metadata (key edge) are not of format {FORMAT}; train it again")
    merged = {"name": "", "task": "other"} | own | facts
    merged.pop("format", None)
    return merged


def _smallest_deflate(content: bytes, dictionary: bytes = b"") -> bytes:
    """Raw deflate; for short content the best over zlib's strategies and window fillings."""
    strategies = [(9, zlib.Z_DEFAULT_STRATEGY)]
    if len(content) < _SEARCH_BELOW:
        strategies = [(m, s) for m in range(1, 10) for s in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_FIXED)]
    tried = []
    for memory, strategy in strategies:
        settings = (9, zlib.DEFLATED, -zlib.MAX_WBITS, memory, strategy)
        engine = zlib.compressobj(*settings, dictionary) if dictionary else zlib.compressobj(*settings)
        tried.append(engine.compress(content) + engine.flush())
    return min(tried, key=len)
