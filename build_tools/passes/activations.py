"""Runs a model on calibration data and hands out what flows inside it, one feed at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from build_tools.errors import DataError, ModelError
from build_tools.passes.contract import Calibration, Feed


def session(proto: onnx.ModelProto, threads: int = 1, optimise: bool = True) -> ort.InferenceSession:
    """A session on the CPU.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what it refuses is told in our own line
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        line = str(error).splitlines()[0][:200]
        raise ModelError(f"ONNX Runtime refuses the model: {line}; run `edge-build doctor` on it") from error


def misfit(feed: Feed, error: Exception) -> str:
    """What to say of calibration data that a model does not take."""
    shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feed.items())
    reason = re.sub(r"\S*/\S+\s*", "", str(error).splitlines()[0].split("Status Message:")[-1])
    return (
        f"calibration data of shape {shapes} does not fit the model ({shorten(reason, 160)}): set [input] size_wh and "
        'multiple in a recipe, or give arrays that fit: [calibration] kind = "npz"'
    )


def stream(
    proto: onnx.ModelProto, tensors: Sequence[str], calibration: Calibration
) -> Iterator[dict[str, NDArray[Any]]]:
    """For each feed the values of the named tensors, which may be inputs, outputs or anything between.

    Memory stays constant: nothing is kept from feed to feed.

    Raises:
        DataError: calibration data that the model does not take.
        ModelError: ONNX Runtime refuses the model.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    inputs = {i.name for i in proto.graph.input}
    asked = [name for name in dict.fromkeys(tensors) if name not in inputs]
    del exposed.graph.output[:]
    for name in asked or [proto.graph.output[0].name]:
        exposed.graph.output.add().name = name
    runner = session(exposed)
    for feed in calibration:
        try:
            values = runner.run(asked or None, feed)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise DataError(misfit(feed, error)) from error
        named = dict(zip(asked, values, strict=False))
        yield {name: np.asarray(feed[name] if name in inputs else named[name]) for name in tensors}
