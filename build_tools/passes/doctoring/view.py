"""Makes the view of a model that checks and cures work on: producers, uses, and the shapes that can be inferred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, shape_inference

from build_tools.errors import ModelError
from build_tools.model import Model
from build_tools.passes.doctoring.findings import Patient

BULK = 4096
"""Elements from which on a weight's values tell nothing about shapes: inference and conversion go without them."""


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """Large initialisers that were taken out of a model, and the inputs that stand for them."""

    tensors: tuple[onnx.TensorProto, ...]
    stand_ins: frozenset[str]


def patient(model: Model, external: tuple[str, ...] = (), refusal: str = "") -> Patient:
    """A view of `model`; looking at it changes nothing. See `Patient` for the arguments.

    Raises:
        ModelError: the graph cannot be read as one.
    """
    graph, shape_error = view(model.proto)
    return Patient(model, graph.graph, shape_error, external, refusal)


def view(proto: onnx.ModelProto) -> tuple[ir.Model, str]:
    """The model with all shapes that can be inferred, and what inference said when it failed.

    Raises:
        ModelError: the graph cannot be read as one.
    """
    skeleton, bulk = without_bulk(proto)
    del skeleton.graph.value_info[:]  # shapes that an exporter wrote may be stale; inferred ones are not
    shape_error = ""
    try:
        skeleton = shape_inference.infer_shapes(skeleton, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx raises a type of its own for each rule
        shape_error = " ".join(str(error).split())
        skeleton = _shapes_as_far_as_they_go(skeleton)
    try:
        return _with_bulk_read(skeleton, bulk), shape_error
    except Exception as error:  # onnx-ir's errors share no base class
        raise ModelError(f"the graph cannot be read: {str(error).splitlines()[0][:200]}; export it again") from error


def _shapes_as_far_as_they_go(skeleton: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(skeleton)
    except Exception:  # of onnx's own types; what is wrong has been said by the strict inference before
        return skeleton


def without_bulk(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Bulk]:
    """A copy in which inputs of the same type stand for the large initialisers, and those initialisers."""
    bulk = tuple(t for t in proto.graph.initializer if np.prod(t.dims) >= BULK)
    skeleton = onnx.ModelProto()
    _copy_fields(skeleton, proto, but="graph")
    _copy_fields(skeleton.graph, proto.graph, but="initializer")
    names = {t.name for t in bulk}
    skeleton.graph.initializer.extend(t for t in proto.graph.initializer if t.name not in names)
    stand_ins = names - {i.name for i in proto.graph.input}
    skeleton.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in bulk if t.name in stand_ins
    )
    return skeleton, Bulk(bulk, frozenset(stand_ins))


def with_bulk(skeleton: onnx.ModelProto, bulk: Bulk) -> onnx.ModelProto:
    """`skeleton`, changed: its large initialisers are back and the inputs that stood for them are gone."""
    inputs = [i for i in skeleton.graph.input if i.name not in bulk.stand_ins]
    del skeleton.graph.input[:]
    skeleton.graph.input.extend(inputs)
    skeleton.graph.initializer.extend(bulk.tensors)
    return skeleton


def _with_bulk_read(skeleton: onnx.ModelProto, bulk: Bulk) -> ir.Model:
    """As `with_bulk`, but the large weights are read where they are and not copied."""
    model: ir.Model = ir.from_proto(skeleton)
    inputs = {str(i.name): i for i in model.graph.inputs}
    for tensor in bulk.tensors:
        value = inputs[tensor.name]
        if tensor.name in bulk.stand_ins:
            model.graph.inputs.remove(value)
        value.const_value = ir.serde.TensorProtoTensor(tensor)
        model.graph.register_initializer(value)
    return model


def _copy_fields(target: Any, source: Any, but: str) -> None:
    """Field by field, since CopyFrom would copy the large weights too."""
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if isinstance(value, str | bytes | int | float):
            setattr(target, field.name, value)
        else:
            getattr(target, field.name).MergeFrom(value)


def constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The values of a weight or a Constant node; None where the tensor is not constant, or a caller may set it."""
    if value is None or value.is_graph_input():
        return None
    try:
        tensor = ir.convenience.get_const_tensor(value)
    except ValueError:  # a Constant node without, or with more than one, value
        return None
    return None if tensor is None else np.asarray(tensor.numpy())


def sides(value: ir.Value | None) -> tuple[int | str | None, ...] | None:
    """The tensor's shape, free sides by their symbol (None where nameless); None where not even the rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def fixed_sides(value: ir.Value | None) -> tuple[int, ...] | None:
    """The tensor's shape where every side of it is known."""
    shape = sides(value)
    known = [d for d in shape or () if isinstance(d, int)]
    return tuple(known) if shape is not None and len(known) == len(shape) else None


def add_constant(graph: ir.Graph, name: str, values: NDArray[np.generic]) -> ir.Value:
    """A new initialiser; its name is `name`, or that with a number where it is taken."""
    unique, index = name, 1
    while unique in graph.initializers or any(i.name == unique for i in graph.inputs):
        unique, index = f"{name}_{index}", index + 1
    value: ir.Value = ir.val(unique, const_value=ir.tensor(np.asarray(values, order="C"), name=unique))
    graph.register_initializer(value)
    return value
