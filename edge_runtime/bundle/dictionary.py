"""The preset dictionary of graph.onnx.z (RFC 1951 windows, filled beforehand): what ONNX graphs are made of.

A small network's graph is short, and mostly the names of operators and attributes that every graph has. Part of format
1: a changed byte here makes every bundle unreadable, which a test watches over. What is met most often stands last.
"""

from __future__ import annotations

from edge_runtime.bundle.protobuf import message, varint


def _attribute(name: str, value: bytes, kind: int) -> bytes:
    """An AttributeProto in a NodeProto (onnx.proto: NodeProto.attribute = 5, name = 1, type = 20)."""
    return message(5, message(1, name.encode()) + value + b"\xa0\x01" + varint(kind))


def _ints(name: str, *values: int) -> bytes:
    return _attribute(name, b"".join(b"\x40" + varint(value) for value in values), 7)


def _int(name: str, value: int) -> bytes:
    return _attribute(name, b"\x18" + varint(value), 2)


def _text(name: str, value: str) -> bytes:
    return _attribute(name, message(4, value.encode()), 3)


def _operators(names: str) -> bytes:
    """NodeProto.op_type = 4, as many as there are words."""
    return b"".join(message(4, name.encode()) for name in names.split())


def _tensor(name: str, *sides: str | int) -> bytes:
    """A ValueInfoProto of floats; a side is a number or, where it is free, a name."""
    dims = b"".join(
        message(1, message(2, side.encode()) if isinstance(side, str) else b"\x08" + varint(side)) for side in sides
    )
    return message(1, name.encode()) + message(2, message(1, b"\x08\x01" + message(2, dims)))


GRAPH_DICTIONARY = b"".join(
    (
        _operators(
            "QLinearConv ConvInteger MatMulInteger DynamicQuantizeLinear DequantizeLinear QuantizeLinear "
            "LayerNormalization InstanceNormalization LSTM GRU If Loop Where Equal Less Greater Not And Range "
            "Tile Expand NonMaxSuppression TopK ArgMax Erf Exp Log Sqrt Pow Neg Abs Floor Div Sub Max Min "
            "ReduceSum ReduceMax ReduceL2 Split Cast Shape Gather Slice Pad Squeeze Unsqueeze Identity Tanh "
            "HardSigmoid HardSwish Elu PRelu LeakyRelu Clip Upsample DepthToSpace ConvTranspose "
            "BatchNormalization ReduceMean Constant Resize"
        ),
        _text("auto_pad", "SAME_UPPER"),
        _text("coordinate_transformation_mode", "asymmetric"),
        _text("mode", "nearest"),
        _text("nearest_mode", "floor"),
        b"keepdims",
        b"alpha",
        _int("to", 1),
        _ints("perm", 0, 2, 1, 3, 4),
        _ints("perm", 0, 2, 3, 1),
        _ints("axes", 2, 3),
        _operators("Transpose AveragePool GlobalAveragePool MatMul Softmax Flatten Reshape"),
        _int("axis", 1),
        _operators("Concat Mul Sigmoid Add"),
        _ints("dilations", 1, 1),
        b"ai.onnx.ml",
        _ints("pads", 2, 2, 2, 2),
        _ints("pads", 0, 0, 1, 1),
        _ints("kernel_shape", 5, 5),
        _int("transB", 1),
        _operators("Gemm"),
        _ints("kernel_shape", 2, 2),
        _operators("MaxPool"),
        _ints("strides", 2, 2),
        _ints("kernel_shape", 1, 1),
        _operators("Relu"),
        _operators("Conv"),
        _int("group", 16),
        _ints("kernel_shape", 3, 3),
        _ints("pads", 1, 1, 1, 1),
        # GraphProto.input = 11 and output = 12, ModelProto.ir_version = 1 and opset_import = 8
        message(11, _tensor("image", "batch", 3, "height", "width")),
        message(12, _tensor("logits", "batch", 10)),
        b"\x08\x08:",
        message(11, _tensor("input", "n", 3, "h", "w")),
        message(12, _tensor("output", "n", 10)),
        message(8, b"\n\x00\x10\x0d"),
        message(8, b"\x10\x11"),
    )
)
