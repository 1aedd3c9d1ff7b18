"""Runs any ONNX graph in torch, so that its weights can be trained further and written back into the same graph."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from build_tools.errors import ModelError
from build_tools.graph import node_name
from build_tools.model import Grid, Model
from build_tools.nets.free_batch import free_batch
from build_tools.nets.operator_call import Call, Operator
from build_tools.nets.operators import OPERATORS

WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1), "Einsum": (0, 1),
    "BatchNormalization": (1, 2), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2), "PRelu": (1,), "Add": (0, 1), "Sub": (0, 1), "Mul": (0, 1), "Div": (1,),
    "Gather": (0,), "QuantizeLinear": (0,),
}  # fmt: skip
"""Inputs of an operator where a constant is something that was learned; anywhere else it is a setting."""

KERNEL_INPUTS: dict[str, tuple[int, ...]] = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
"""Inputs of an operator where a constant is the weight of a layer, neither bias nor scale."""

MOVES = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Expand")
"""A weight is still the same weight behind these."""


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """A node, ready to run."""

    call: Call
    run: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    finished: tuple[str, ...]  # tensors that nobody reads after this


class OnnxModule(nn.Module):
    """An ONNX model as a torch module.

    Learned float constants are parameters; float32 even where the file has float16, rounded as they are read. All
    others are constants. Batch norms keep their statistics; dropout lets all through.

    Args:
        model: left as it is.
        any_batch: also take batches of other sizes than the graph was exported for (see `free_batch`).

    Attributes:
        inputs: names of the graph's inputs.
        outputs: names of its outputs.
        parameter_of: parameter name by initialiser name.
        initialiser_of: the other way round.
        kernels: names of the initialisers that are weights of layers, and no biases or scales.

    Raises:
        ModelError: an operator that is not known, or a weight of an unknown type; with the node's name.
    """

    def __init__(self, model: Model | onnx.ModelProto, any_batch: bool = False) -> None:
        super().__init__()
        self._model = model if isinstance(model, Model) else Model(model)
        graph = free_batch(self._model.proto).graph if any_batch else self._model.proto.graph
        held = {t.name for t in graph.initializer}
        self.inputs = [i.name for i in graph.input if i.name not in held]
        self.outputs = [o.name for o in graph.output]
        self.parameter_of: dict[str, str] = {}
        self._buffer_of: dict[str, str] = {}
        self._rounded: dict[str, torch.dtype] = {}
        self._constants: dict[str, Tensor] = {}
        learned, readers = _learned(graph, WEIGHT_INPUTS)
        self.kernels = _learned(graph, KERNEL_INPUTS)[0]
        for tensor in graph.initializer:
            self._hold(tensor.name, numpy_helper.to_array(tensor), tensor.name in learned, readers[tensor.name])
        for index, node in enumerate(graph.node):
            if node.op_type == "Constant":
                self._hold(node.output[0], _constant_value(node, index), False, [])
        self.initialiser_of = {v: k for k, v in self.parameter_of.items()}
        self._steps = _steps(graph, _opset(self._model.proto))

    def forward(
        self,
        feeds: Mapping[str, Tensor] | Tensor,
        weights: Mapping[str, Tensor] | None = None,
        capture: Sequence[str] = (),
        inner: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Run the graph.

        Args:
            feeds: inputs by name, or the first input.
            weights: by initialiser name, used in place of the parameters (pruned, quantised, ... as training asks).
            capture: names of inner tensors that are wanted besides the outputs.
            inner: what becomes of an inner tensor or input, by its name, before anybody reads it.

        Returns:
            Outputs and captured tensors by name.

        Raises:
            ModelError: a missing input or an unknown tensor; a node that does not take what it is given.
        """
        changes = inner or {}
        values = self._start(feeds, weights or {})
        values |= {name: change(values[name]) for name, change in changes.items() if name in values}
        wanted = (*self.outputs, *capture)
        kept = {name: values[name] for name in wanted if name in values}
        for step in self._steps:
            try:
                made = step.run(step.call, *(values[name] if name else None for name in step.inputs))
            except (RuntimeError, IndexError, ValueError, TypeError, KeyError) as error:
                shapes = [tuple(values[name].shape) for name in step.inputs if name]
                line = str(error).strip().splitlines()[0][:160]
                raise ModelError(
                    f"node {step.call.node} ({step.call.op}) does not take inputs of shape {shapes}: {line}"
                ) from error
            for name, value in zip(step.outputs, (made,) if isinstance(made, Tensor) else made, strict=False):
                values[name] = changes[name](value) if name in changes else value
                if name in wanted:
                    kept[name] = values[name]
            for name in step.finished:
                values.pop(name, None)
        missing = [name for name in wanted if name not in kept]
        if missing:
            raise ModelError(f"the model has no tensor called {missing[0]}; `edge-build inspect` lists its layers")
        return kept

    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters by initialiser name."""
        return {name: self.get_parameter(held) for name, held in self.parameter_of.items()}

    def to_model(
        self, values: Mapping[str, NDArray[Any]] | None = None, grids: Mapping[str, Grid] | None = None
    ) -> Model:
        """A copy of the model with the weights as they are now.

        Args:
            values: by initialiser name, used in place of the parameters.
            grids: what these values lie on. A weight that did not change keeps its grid, all others lose theirs.
        """
        made, grids = self._model.copy(), grids or {}
        for name, parameter in self.weights().items():
            before = made.weight(name)
            new = values[name] if values and name in values else parameter.detach().cpu().numpy()
            new = np.asarray(new).reshape(before.shape).astype(before.dtype)
            grid = grids.get(name)
            if grid is not None or not np.array_equal(new.view(np.uint8), before.view(np.uint8)):
                made.set_weight(name, new, grid)
        return made

    def _hold(self, name: str, array: NDArray[Any], learned: bool, readers: list[str]) -> None:
        """Keep a constant as a parameter, as a buffer (so that it moves with the module) or, if it counts, as it is."""
        try:
            tensor = torch.from_numpy(np.array(array))
        except TypeError as error:
            raise ModelError(f"weight {name}: type {array.dtype} is not supported; convert the model first") from error
        if not tensor.is_floating_point():
            self._constants[name] = tensor
            return
        held = _safe(name, self._parameters.keys() | self._buffers.keys() | set(dir(self)))
        if learned:
            if tensor.dtype in (torch.float16, torch.bfloat16):
                # Small steps would be lost in float16. Where it is only stored so, nothing has to be rounded.
                if any(op != "Cast" for op in readers):
                    self._rounded[name] = tensor.dtype
                tensor = tensor.float()
            self.register_parameter(held, nn.Parameter(tensor))
            self.parameter_of[name] = held
        else:
            self.register_buffer(held, tensor)
            self._buffer_of[name] = held

    def _start(self, feeds: Mapping[str, Tensor] | Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if isinstance(feeds, Tensor):
            feeds = {self.inputs[0]: feeds}
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise ModelError(f"input {missing[0]} is missing; the model takes {', '.join(self.inputs)}")
        unknown = [name for name in weights if name not in self.parameter_of]
        if unknown:
            raise ModelError(f"the model has no trainable weight called {unknown[0]}")
        values: dict[str, Tensor] = dict(self._constants)
        values |= {name: self.get_buffer(held) for name, held in self._buffer_of.items()}
        values |= self.weights()
        values |= weights
        values |= {name: values[name].to(kind) for name, kind in self._rounded.items()}
        values |= {name: feeds[name] for name in self.inputs}
        return values


def _steps(graph: onnx.GraphProto, opset: int) -> list[_Step]:
    last: dict[str, int] = {}
    nodes = [(i, n) for i, n in enumerate(graph.node) if n.op_type != "Constant"]
    for place, (_, node) in enumerate(nodes):
        for name in (*node.input, *node.output):
            last[name] = place
    finished = defaultdict(list)
    for name, place in last.items():
        finished[place].append(name)
    steps = []
    for place, (index, node) in enumerate(nodes):
        name = node_name(node, index)
        run = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if run is None:
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise ModelError(f"node {name}: operator {operator} cannot be trained through; leave this model out of it")
        call = Call(node.op_type, name, opset, _attributes(node), sum(1 for o in node.output if o))
        steps.append(_Step(call, run, tuple(node.input), tuple(node.output), tuple(finished[place])))
    return steps


def _learned(graph: onnx.GraphProto, places: Mapping[str, tuple[int, ...]]) -> tuple[set[str], dict[str, list[str]]]:
    """Names of the float initialisers that operators have at `places`, and the operators that read each initialiser."""
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers[name].append((node, place))
    held = {t.name for t in graph.initializer}
    inputs = {i.name for i in graph.input} - held

    def used_as_weight(name: str) -> bool:
        for node, place in readers[name]:
            if node.op_type in MOVES and place == 0 and used_as_weight(node.output[0]):
                return True
            if place not in places.get(node.op_type, ()):
                continue
            # What an input is shifted and scaled by is its normalisation, and no weight.
            if node.op_type in ("Add", "Sub", "Mul", "Div") and inputs & set(node.input):
                continue
            return True
        return False

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
    learned = {
        t.name for t in graph.initializer if t.data_type in kinds and len(t.dims) >= 1 and used_as_weight(t.name)
    }
    return learned, {name: [node.op_type for node, _ in readers[name]] for name in held}


def _constant_value(node: onnx.NodeProto, index: int) -> NDArray[Any]:
    for entry in node.attribute:
        value = helper.get_attribute_value(entry)
        if entry.name == "value":
            return numpy_helper.to_array(value)
        if entry.name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if entry.name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise ModelError(f"node {node_name(node, index)}: a constant that is no number cannot be trained through")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in node.attribute:
        value = helper.get_attribute_value(entry)
        if isinstance(value, bytes):
            value = value.decode()
        found[entry.name] = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    return found


def _opset(proto: onnx.ModelProto) -> int:
    versions = [int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    return versions[0] if versions else 1


def _safe(name: str, taken: set[str]) -> str:
    """A name that torch takes and that nothing else has."""
    safe = re.sub(r"\W", "_", name) or "weight"
    if safe in taken:
        safe = next(f"{safe}_{i}" for i in range(2, len(taken) + 3) if f"{safe}_{i}" not in taken)
    return safe
