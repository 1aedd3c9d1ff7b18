"""Makes chosen nodes of a model compute in int8, by ONNX Runtime's own quantizer (QDQ form)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from build_tools.errors import PassError
from build_tools.graph import node_name
from build_tools.passes.activations import session
from build_tools.passes.contract import Feed
from build_tools.passes.quantizing.activation_ranges import Spread

OPSET = 13
"""The first whose DequantizeLinear has an axis, as scales of channels need."""
TOLERANCE = 1e-4
"""Relative difference that converting the opset may make."""


class _OneFeed(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives one feed: the ranges are ours and handed over, but the quantizer insists on running something."""

    def __init__(self, feed: Feed) -> None:
        self._left = [feed]

    def get_next(self) -> Feed | None:
        return self._left.pop() if self._left else None


def prepare(proto: onnx.ModelProto, feed: Feed) -> onnx.ModelProto:
    """A copy in which every node has a name of its own and whose opset has per-channel scales.

    Raises:
        PassError: the opset cannot be converted, or not without changing the outputs.
    """
    ready = onnx.ModelProto()
    ready.CopyFrom(proto)
    version = next((o.version for o in ready.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version < OPSET:
        try:
            ready = onnx.version_converter.convert_version(ready, OPSET)
        except Exception as error:  # the converter's errors share no base class
            line = str(error).strip().splitlines()[0][:160]
            raise PassError(
                f"quantize.activations: opset {version} cannot be converted to {OPSET} ({line}); "
                "export the model at a newer opset"
            ) from error
        ready.ir_version = max(ready.ir_version, 7)  # opset 13 came with IR version 7
        _same_outputs(proto, ready, feed, version)
    weights = {tensor.name for tensor in ready.graph.initializer}
    listed = [entry for entry in ready.graph.input if entry.name in weights]
    for entry in listed if ready.ir_version >= 4 else []:
        ready.graph.input.remove(entry)  # listed as inputs they are no constants to ONNX Runtime
    taken: set[str] = set()
    for index, node in enumerate(ready.graph.node):
        name = node_name(node, index)
        node.name = name if name not in taken else f"{name}_{index}"
        taken.add(node.name)
    return ready


def quantize_nodes(
    proto: onnx.ModelProto, nodes: Collection[str], spreads: Mapping[str, Spread], feed: Feed, reduce_range: bool
) -> onnx.ModelProto:
    """The model with the named nodes in int8.

    Activations are uint8 with the given ranges, weights int8 with a scale for each channel.

    Args:
        proto: as `prepare` gives it.
        nodes: names of nodes.
        spreads: ranges of the tensors that these nodes read and make.
        feed: one run's inputs.
        reduce_range: weights on 7 bits: without VNNI, x86 adds pairs of products in 16 bits, which would overflow.

    Raises:
        PassError: ONNX Runtime's quantizer refuses.
    """
    options = {
        "TensorQuantOverrides": {
            name: [{"rmin": np.float32(s.low), "rmax": np.float32(s.high)}]
            for name, s in spreads.items()
            if name in _touched(proto, nodes)
        }
    }
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    kinds = sorted({node.op_type for node in proto.graph.node if node.name in nodes})
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        try:
            root.setLevel(logging.ERROR)  # it advises to pre-process, which the doctor has done or the user declined
            quantize_static(
                plain, path, _OneFeed(feed), QuantFormat.QDQ, kinds, True, reduce_range,
                QuantType.QUInt8, QuantType.QInt8, sorted(nodes), extra_options=options,
            )  # fmt: skip
        except Exception as error:  # the quantizer's errors share no base class
            line = str(error).strip().splitlines()[-1][:160]
            raise PassError(
                f"quantize.activations: ONNX Runtime cannot quantise {len(nodes)} nodes ({line}); "
                "name the weights of the layers at fault in quantize.skip"
            ) from error
        finally:
            root.setLevel(level)
        made = onnx.load(path)
    _read_floats_directly(made, nodes)
    return made


def _touched(proto: onnx.ModelProto, nodes: Collection[str]) -> set[str]:
    return {t for node in proto.graph.node if node.name in nodes for t in (*node.input, *node.output) if t}


def _read_floats_directly(made: onnx.ModelProto, nodes: Collection[str]) -> None:
    """Let float nodes read a float tensor itself, not what becomes of it in int8 for an island beside them."""
    makers = {out: node for node in made.graph.node for out in node.output}
    for node in made.graph.node:
        if node.name in nodes or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            back = makers.get(name)
            there = makers.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
            if there is None or there.op_type != "QuantizeLinear":
                continue
            source = makers.get(there.input[0])
            if source is None or source.name not in nodes:
                node.input[place] = there.input[0]


def _same_outputs(proto: onnx.ModelProto, converted: onnx.ModelProto, feed: Feed, version: int) -> None:
    old, new = (session(p).run(None, feed) for p in (proto, converted))
    for before, after, output in zip(old, new, proto.graph.output, strict=True):
        if before.dtype.kind != "f":
            continue
        if not np.allclose(before, after, rtol=TOLERANCE, atol=TOLERANCE * max(float(np.abs(before).max()), 1e-9)):
            raise PassError(
                f"quantize.activations: converting opset {version} to {OPSET} changes output {output.name}; "
                "export the model at a newer opset"
            )
