"""Makes a graph small without changing what it computes: short inner names, no defaults, no words for people."""

from __future__ import annotations

from collections.abc import Container, Iterator

import onnx
from onnx import defs

from build_tools.bundle.nested import all_graphs, all_nodes, inner_graphs
from edge_runtime.bundle.manifest import weight_name

_SIDES_DEFAULT = {"strides": 1, "dilations": 1, "pads": 0, "output_padding": 0}
"""Attributes whose default is said in words only: this number for each side (ONNX operators, from opset 11 on)."""
_SLIDING = {"Conv", "ConvTranspose", "MaxPool", "AveragePool"}
_SIDES_DEFAULT_SINCE = 11


def small_graph(proto: onnx.ModelProto, weights: list[str]) -> tuple[bytes, str]:
    """The serialised graph without `weights`, and the prefix of their new names.

    Inputs and outputs keep their names; `weights[n]` becomes prefix + n in base 36, other names follow on. Weights must
    be initialisers of the main graph and not outputs.
    """
    graph = proto.graph
    kept = [value.name for value in (*graph.input, *graph.output)]
    inner = [name for name in _inner_names(graph) if name not in set(kept)]
    weight_set = set(weights)
    order = [*weights, *(name for name in dict.fromkeys(inner) if name not in weight_set)]
    prefix = _free_prefix(len(order), set(kept))
    new = {name: weight_name(prefix, index) for index, name in enumerate(order)} | {name: name for name in kept}
    out = onnx.ModelProto(ir_version=proto.ir_version)
    # Not CopyFrom: that would copy the weights too, half a gigabyte for a VGG-16.
    out.graph.node.extend(graph.node)
    out.graph.input.extend(graph.input)
    out.graph.output.extend(graph.output)
    out.graph.initializer.extend(t for t in graph.initializer if t.name not in weight_set)
    out.functions.extend(proto.functions)
    opsets = {_short_domain(entry.domain): entry.version for entry in proto.opset_import}
    used = {node.domain for node in all_nodes(out.graph)} | {f.domain for f in proto.functions}
    for domain in sorted({"", *map(_short_domain, used)} & opsets.keys()):
        out.opset_import.add(domain=domain, version=opsets[domain])
    for one in all_graphs(out.graph):
        _strip(one, opsets)
        _rename(one, new)
        if one is not out.graph:
            one.name = "_"  # ONNX Runtime asks for one on nested graphs
    for function in out.functions:
        function.ClearField("doc_string")
    return out.SerializeToString(deterministic=True), prefix


def _inner_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of all values in the order in which a reader meets them."""
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in graph.input)
    for node in graph.node:
        yield from (name for name in node.input if name)
        for inner in inner_graphs(node):
            yield from _inner_names(inner)
        yield from (name for name in node.output if name)
    yield from (value.name for value in graph.output)


def _short_domain(domain: str) -> str:
    """ONNX's own operators have two names for their domain."""
    return "" if domain == "ai.onnx" else domain


def _free_prefix(count: int, taken: Container[str]) -> str:
    prefix = ""
    while any(weight_name(prefix, index) in taken for index in range(count)):
        prefix += "_"
    return prefix


def _rename(graph: onnx.GraphProto, new: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [new[name] if name else "" for name in node.input]
        node.output[:] = [new[name] if name else "" for name in node.output]
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = new[named.name]


def _strip(graph: onnx.GraphProto, opsets: dict[str, int]) -> None:
    for field in ("name", "doc_string", "value_info", "quantization_annotation", "metadata_props"):
        graph.ClearField(field)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for node in graph.node:
        for field in ("name", "doc_string", "metadata_props"):
            node.ClearField(field)
        node.domain = _short_domain(node.domain)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.ClearField("name")
                attribute.t.ClearField("doc_string")
        for index in reversed(_defaults(node, opsets)):
            del node.attribute[index]


def _defaults(node: onnx.NodeProto, opsets: dict[str, int]) -> list[int]:
    """Indices of the attributes that say what holds without them."""
    try:
        schema = defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except defs.SchemaError:  # an operator of somebody else's
        return []
    return [index for index, entry in enumerate(node.attribute) if _is_default(entry, node, schema)]


def _is_default(entry: onnx.AttributeProto, node: onnx.NodeProto, schema: defs.OpSchema) -> bool:
    if node.op_type in _SLIDING and schema.since_version >= _SIDES_DEFAULT_SINCE and entry.name in _SIDES_DEFAULT:
        automatic = any(a.name == "auto_pad" and a.s not in (b"", b"NOTSET") for a in node.attribute)
        return not automatic and set(entry.ints) <= {_SIDES_DEFAULT[entry.name]}
    known = schema.attributes.get(entry.name)
    if known is None or known.required or known.default_value.type != entry.type:
        return False
    default = onnx.AttributeProto()
    default.CopyFrom(known.default_value)
    default.ClearField("doc_string")
    return bool(default.SerializeToString(deterministic=True) == entry.SerializeToString(deterministic=True))
