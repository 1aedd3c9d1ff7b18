"""The few lines of protobuf that reading a bundle takes, so that a node needs no `onnx` package.

A message that is appended to another merges with it (Protocol Buffers encoding, "Last One Wins"): so the entries of the
weights need not stand in the stored graph, they are made from the manifest and appended.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_runtime.errors import FormatError

ONNX_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip
"""onnx.TensorProto.DataType by NumPy's names."""

_MODEL = {7: "graph", 20: "training", 25: "function"}
_SCHEMA: dict[str, dict[int, str]] = {
    "model": _MODEL,
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
"""By message: the fields that hold messages with tensors somewhere inside (onnx.proto)."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 100


def external_initialisers(entries: Iterable[tuple[str, tuple[int, ...], str]]) -> bytes:
    """Bytes that, appended to a serialised model, declare initialisers whose values come from elsewhere.

    Args:
        entries: name, shape and NumPy type of each.
    """
    graph = bytearray()
    for name, shape, dtype in entries:
        dims = b"".join(b"\x08" + varint(side) for side in shape)
        # ONNX Runtime asks for a location, and never looks there when it is handed the values.
        place = message(1, b"location") + message(2, b"weights.bin")
        tensor = dims + b"\x10" + varint(ONNX_TYPES[dtype]) + message(8, name.encode())
        graph += message(5, tensor + message(_EXTERNAL_DATA, place) + b"\x70\x01")
    return message(7, bytes(graph))


def refuse_external_data(model: bytes, origin: str) -> None:
    """Refuse a graph that would have ONNX Runtime read other files, or memory, on its own.

    Raises:
        FormatError: a tensor of the graph is stored outside of it, or the graph is not well-formed protobuf.
    """
    if b"location" not in model:  # an external tensor must name its `location`; the walk is for the others
        return
    try:
        _walk(memoryview(model), "model", 0)
    except _ExternalTensor:
        raise FormatError(f"{origin}: graph.onnx.z reads data from outside the bundle; do not use this file") from None
    except (IndexError, RecursionError):
        raise FormatError(f"{origin}: graph.onnx.z is not an ONNX graph; rebuild it with edge-build") from None


def varint(number: int) -> bytes:
    """LEB128, lowest seven bits first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends.

    Raises:
        IndexError: the data ends within it, or it has more than ten bytes.
    """
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise IndexError("number too long")


class _ExternalTensor(Exception):
    """Found one."""


def message(field: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def _walk(data: memoryview, kind: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise IndexError("nested too deep")
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        field, wire = tag >> 3, tag & 7
        if kind == "tensor" and field in (_EXTERNAL_DATA, _DATA_LOCATION):
            raise _ExternalTensor
        if wire == 0:
            _, at = read_varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = read_varint(data, at)
            if at + length > len(data):
                raise IndexError("message too long")
            if field in _SCHEMA[kind]:
                _walk(data[at : at + length], _SCHEMA[kind][field], depth + 1)
            at += length
        else:
            raise IndexError("groups are not part of ONNX")
