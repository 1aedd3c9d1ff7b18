"""A model in the making: an ONNX graph with its weights, and what is known of how those weights lie on few levels."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from build_tools.errors import ModelError

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The levels a weight's values lie on, so that the writer can store levels instead of floats.

    A claim and not a command: the writer checks it against the values, bit for bit, and where a later pass has moved
    them off the grid it stores them as it finds them. So passes combine without knowing of each other.

    Attributes:
        kind: `uniform`: value = float32(level) * table[channel], multiplied in float32, level a whole number of
            `bits` bits (two's complement; 1 bit: -1 or +1) | `codebook`: value = table[index] | `half`: the values
            are exact in float16.
        bits: of a level or index.
        table: uniform: float32 [channels] scales, or [1] for one scale; codebook: float32 [levels]; half: empty.
        axis: uniform: the axis the scales run along; None with one scale.
    """

    kind: Literal["uniform", "codebook", "half"]
    bits: int
    table: F32
    axis: int | None = None


@dataclass(slots=True, eq=False)
class Model:
    """An ONNX model and the grids of its weights.

    Attributes:
        proto: the model, weights inside.
        grids: by initialiser name; see `Grid`.
    """

    proto: onnx.ModelProto
    grids: dict[str, Grid] = field(default_factory=dict)

    def copy(self) -> Model:
        """A deep copy: passes change their copy and never what they were given."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        return Model(proto, dict(self.grids))

    def weight_names(self) -> list[str]:
        """Names of the initialisers, in file order."""
        return [i.name for i in self.proto.graph.initializer]

    def weight(self, name: str) -> NDArray[np.generic]:
        """The initialiser's values, read-only."""
        values: NDArray[np.generic] = numpy_helper.to_array(self._initialiser(name))
        values.flags.writeable = False
        return values

    def set_weight(self, name: str, values: NDArray[np.generic], grid: Grid | None = None) -> None:
        """Replace an initialiser's values (and shape); its old grid is forgotten, `grid` takes its place."""
        self._initialiser(name).CopyFrom(numpy_helper.from_array(np.asarray(values, order="C"), name))
        self.grids.pop(name, None)
        if grid is not None:
            self.grids[name] = grid

    def parameters(self) -> int:
        """Number of floating-point (or quantised) weights, index constants left out."""
        kinds = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
        return sum(int(np.prod(i.dims)) for i in self.proto.graph.initializer if i.data_type not in kinds)

    def _initialiser(self, name: str) -> onnx.TensorProto:
        tensor: onnx.TensorProto
        for tensor in self.proto.graph.initializer:
            if tensor.name == name:
                return tensor
        raise ModelError(f"the model has no weight called {name}; `edge-build inspect` lists them")


def load_model(path: Path) -> Model:
    """The ONNX model at `path`, external data included. `.edge` bundles are opened by `bundle.export`.

    Raises:
        ModelError: missing, not ONNX, external data missing, or a graph that the checker refuses.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; check the path")
    try:
        proto = onnx.load(path)
    except (OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: its external data cannot be read ({error}); put it beside the model") from error
    except Exception as error:  # protobuf's decode errors share no public base class
        raise ModelError(f"{path}: not an ONNX file ({str(error)[:120]}); export the model again") from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelError(f"{path}: not an ONNX file, or one without a graph; export the model again")
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        line = str(error).strip().splitlines()[0][:200]
        raise ModelError(f"{path}: not a sound ONNX model ({line}); export it again") from error
    return Model(proto)


def save_onnx(model: Model, path: Path) -> None:
    """Write the graph with its weights as plain ONNX: whole or not at all."""
    write_whole(path, model.proto.SerializeToString(deterministic=True))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all: temporary file, fsync, rename.

    Raises:
        ModelError: a full disk or a folder that cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ModelError(f"{path}: cannot be written ({error.strerror}); free space or choose another place") from error


def check_place(path: Path) -> None:
    """Refuse a place that cannot be written before hours of work end there.

    Raises:
        ModelError: its folder cannot be made or written.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise ModelError(f"{path}: cannot be written; choose another place")
