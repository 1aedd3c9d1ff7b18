"""Runs a model once to see what no static inference always tells: shapes, and the values of shape arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from build_tools.errors import ModelError, PassError
from build_tools.passes.activations import session
from build_tools.passes.contract import Calibration, Feed

FREE_SIDES = (64, 96, 128, 224, 320, 512, 16)
"""Tried in turn where a model leaves a side free; the first that runs is taken."""
SMALL = 4096
"""Whole numbers up to this count are kept: shapes, indices, paddings."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What one run showed.

    Attributes:
        feed: the inputs it was run on.
        shapes: of every tensor that is an array.
        integers: values of the small integer tensors.
    """

    feed: Feed
    shapes: dict[str, tuple[int, ...]]
    integers: dict[str, NDArray[Any]]


def observe(proto: onnx.ModelProto, calibration: Calibration | None = None) -> Observation:
    """Run the model once on the first calibration sample, or on noise.

    Raises:
        PassError: it does not run on any input tried.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    names = list(dict.fromkeys(name for node in proto.graph.node for name in node.output if name))
    del exposed.graph.output[:]
    for name in names:
        exposed.graph.output.add().name = name
    runner = session(exposed, optimise=False)
    feeds = [next(iter(calibration))] if calibration is not None and len(calibration) else noise(proto)
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4  # a guess that does not run is no error
    last = ""
    for feed in feeds:
        try:
            values = runner.run(None, feed, quiet)
        except Exception as error:  # ONNX Runtime's errors share no base class
            last = str(error).splitlines()[0][:160]
            continue
        arrays = {n: v for n, v in zip(names, values, strict=True) if isinstance(v, np.ndarray)} | feed
        integers = {n: v for n, v in arrays.items() if v.dtype.kind in "iub" and v.size <= SMALL}
        return Observation(feed, {n: v.shape for n, v in arrays.items()}, integers)
    raise PassError(f"the model does not run on a trial input ({last}); give calibration data of the right shape")


def noise(proto: onnx.ModelProto) -> list[Feed]:
    """Inputs of normal noise, one for each guess at the sides that the model leaves free.

    Raises:
        ModelError: an input without a shape.
    """
    initialisers = {t.name for t in proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in initialisers]
    batches = {i.type.tensor_type.shape.dim[0].dim_param for i in inputs if i.type.tensor_type.shape.dim}
    feeds = []
    for side in FREE_SIDES:
        rng = np.random.default_rng(0)
        feed: Feed = {}
        for entry in inputs:
            if not entry.type.tensor_type.HasField("shape"):
                raise ModelError(f"input {entry.name} has no shape; export the model with one")
            dims = entry.type.tensor_type.shape.dim
            shape = [
                d.dim_value or (1 if axis == 0 or (d.dim_param and d.dim_param in batches) else side)
                for axis, d in enumerate(dims)
            ]
            dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
            feed[entry.name] = rng.normal(size=shape).astype(dtype)
        feeds.append(feed)
        if all(d.dim_value for i in inputs for d in itertools.islice(i.type.tensor_type.shape.dim, 1, None)):
            break
    return feeds
