"""Writes small ONNX graphs as bytes: a node measures layers, and has no `onnx` package.

Field numbers are those of onnx.proto; the wire format is Protocol Buffers'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.protobuf import ONNX_TYPES, varint

_IR_VERSION = 8
_INT, _INTS = 2, 7
"""onnx.AttributeProto.AttributeType."""


def model(graph: bytes, opset: int = 17) -> bytes:
    """A ModelProto of a graph."""
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, opset))


def graph(nodes: Sequence[bytes], weights: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    """A GraphProto of what the other functions make."""
    parts = [(1, nodes), (5, weights), (11, inputs), (12, outputs)]
    return _bytes(2, b"probe") + b"".join(_bytes(field, entry) for field, entries in parts for entry in entries)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | Sequence[int]) -> bytes:
    """A NodeProto with attributes of whole numbers."""
    made = b"".join(_bytes(1, name.encode()) for name in inputs) + b"".join(_bytes(2, n.encode()) for n in outputs)
    made += _bytes(4, op.encode())
    for name, value in attributes.items():
        if isinstance(value, int):
            entry = _number(3, value) + _number(20, _INT)
        else:
            entry = b"".join(_number(8, v) for v in value) + _number(20, _INTS)
        made += _bytes(5, _bytes(1, name.encode()) + entry)
    return made


def tensor(name: str, values: NDArray[np.generic] | np.generic) -> bytes:
    """A TensorProto: an initialiser."""
    dims = b"".join(_number(1, side) for side in values.shape)
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return dims + _number(2, ONNX_TYPES[values.dtype.name]) + _bytes(8, name.encode()) + _bytes(9, raw)


def value(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto: an input or output."""
    sides = b"".join(_bytes(1, _number(1, side)) for side in shape)
    kind = _bytes(1, _number(1, ONNX_TYPES[dtype]) + _bytes(2, sides))
    return _bytes(1, name.encode()) + _bytes(2, kind)


def _number(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def _bytes(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content
