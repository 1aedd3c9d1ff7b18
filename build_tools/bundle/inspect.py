"""Looks into a bundle: what it is, where it comes from, and what every weight takes beside its Shannon bound."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from build_tools.bundle.digests import long_digests
from build_tools.bundle.export import model_of
from build_tools.bundle.forms import find_form
from build_tools.bundle.ledger import layer_bytes
from build_tools.bundle.nested import all_nodes
from build_tools.bundle.packing import nature
from edge_runtime.bundle.format import FORMAT, GRAPH, MANIFEST, WEIGHTS
from edge_runtime.bundle.reader import open_bundle


def inspect(path: Path) -> dict[str, Any]:
    """The figures of `edge-build inspect --json`; weights in the order in which the graph reads them.

    Raises:
        BundleError: not a sound bundle.
    """
    bundle = open_bundle(path)
    model = model_of(bundle)
    names = bundle.manifest.weight_names()
    natures = {name: nature(find_form(model.weight(name), model.grids.get(name))) for name in names}
    readers = _readers(model.proto.graph)
    read_order = {name: index for index, name in enumerate(readers)}
    layers = sorted(layer_bytes(bundle.manifest.streams, names, natures), key=lambda layer: read_order[layer.name])
    return {
        "bytes": bundle.file_bytes,
        "params": model.parameters(),
        "layers": [
            asdict(layer) | {"floor_bytes": round(layer.floor_bytes, 1), "read_by": readers[layer.name]}
            for layer in layers
        ],
        "graph_bytes": bundle.member_bytes[GRAPH],
        "manifest_bytes": bundle.member_bytes[MANIFEST],
        "weights_bytes": bundle.member_bytes[WEIGHTS],
        "signed": bundle.signed,
        "format": FORMAT,
        "facts": long_digests(bundle.manifest.facts),
        "made": long_digests(bundle.manifest.made),
        "inputs": {value.name: _type_of(value) for value in model.proto.graph.input},
        "outputs": {value.name: _type_of(value) for value in model.proto.graph.output},
    }


def table(found: dict[str, Any]) -> str:
    """The same for people."""
    facts, layers = found["facts"], found["layers"]
    signed = "signed" if found["signed"] else "not signed"
    lines = [
        f"{facts['name'] or 'no name'}: {facts['task']}, {found['params']:,} parameters, {found['bytes']:,} bytes, "
        f"{signed}",
        *(
            f"{way.removesuffix('s')} {_printable(name)}: {_printable(kind)}"
            for way in ("inputs", "outputs")
            for name, kind in found[way].items()
        ),
        *(
            f"{_printable(key)}: {_printable(str(value))}"
            for key, value in [*facts.items(), *found["made"].items()]
            if key not in ("name", "task")
        ),
        "",
    ]
    rows = [("weight", "read by", "shape", "kept as", "zeros", "bits", "bytes", "floor", "bits each", "coder")]
    for layer in layers:
        count = math.prod(layer["shape"])
        rows.append(
            (
                layer["name"], layer["read_by"], "x".join(map(str, layer["shape"])) or "-", layer["kind"],
                f"{layer['sparsity']:.1%}", str(layer["bits"]), f"{layer['bytes']:,}", f"{layer['floor_bytes']:,.0f}",
                f"{8 * layer['bytes'] / count:.2f}", layer["coder"],
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = {4, 5, 6, 7, 8}
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    rest = found["bytes"] - found["weights_bytes"] - found["graph_bytes"] - found["manifest_bytes"]
    lines += [
        "",
        f"weights {found['weights_bytes']:,} + graph {found['graph_bytes']:,} + manifest {found['manifest_bytes']:,}"
        f" + ZIP{' and signature' if found['signed'] else ''} {rest:,} = {found['bytes']:,} bytes",
    ]
    return "\n".join(lines)


def _readers(graph: onnx.GraphProto) -> dict[str, str]:
    """By tensor: the first node that reads it, by operator and count, and the input it is there."""
    found: dict[str, str] = {}
    for index, node in enumerate(all_nodes(graph)):
        for place, name in enumerate(node.input):
            found.setdefault(name, f"{node.op_type}_{index}[{place}]")
    return found


def _printable(text: str) -> str:
    """A bundle's maker may have written anything there; no control character of it reaches the terminal."""
    return text if text.isprintable() else repr(text)


def _type_of(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    sides = [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in kind.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(kind.elem_type).lower()} [{', '.join(sides)}]"
