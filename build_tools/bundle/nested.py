"""Walks a graph together with the branches and bodies nested in its If, Loop and Scan nodes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

_GRAPH_KINDS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The branches or the body of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type in _GRAPH_KINDS:
            yield from (attribute.g,) if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph itself, then everything nested in it, outer ones first."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of everything nested in it."""
    for one in all_graphs(graph):
        yield from one.node
