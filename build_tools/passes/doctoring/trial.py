"""Holds a mended model against the one that came: the same random inputs must give the same outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from build_tools.errors import ModelError, PassError
from build_tools.passes.activations import session
from build_tools.passes.contract import Feed
from build_tools.passes.doctoring.view import without_bulk

SIDES = (64, 96, 128, 224, 256, 320, 416, 512, 576, 640, 32, 16, 8, 1)
"""Tried for free sides until the model runs: networks ask for multiples of their stride, or for one length only."""
MANY_WEIGHTS = 20_000_000
"""From here on a run takes seconds: fewer inputs are tried."""
Run = Callable[[Feed], list[NDArray[Any]]]


class Trial:
    """What the original answers, kept; `judge` holds others to it.

    Args:
        proto: the original, weights inside.
        seed: of the random inputs.
        tolerance: largest difference allowed, relative to the output's largest magnitude.
        samples: inputs as the model will see them, if there are any; the first two are used besides random ones.

    Raises:
        ModelError: neither ONNX Runtime nor the reference evaluator runs the original.
    """

    def __init__(self, proto: onnx.ModelProto, seed: int, tolerance: float, samples: Iterable[Feed] = ()) -> None:
        self.tolerance = tolerance
        run = _runner(proto)
        self.feeds = [*itertools.islice(samples, 2), *_random_feeds(proto, seed, run)]
        self.answers = [run(feed) for feed in self.feeds]
        self.names = [o.name for o in proto.graph.output]

    def judge(self, proto: onnx.ModelProto) -> float:
        """The largest relative difference of any output.

        Raises:
            PassError: the model does not run, or an output differs by more than is tolerated.
        """
        worst = 0.0
        try:
            run = _runner(proto)
            given = [run(feed) for feed in self.feeds]
        except ModelError as error:
            raise PassError(f"the result does not run ({error})") from error
        for expected, found in zip(self.answers, given, strict=True):
            for name, a, b in zip(self.names, expected, found, strict=True):
                difference = relative_difference(a, b)
                if difference > self.tolerance:
                    raise PassError(f"output {name} changes by {difference:.2g}, beyond {self.tolerance:.2g}")
                worst = max(worst, difference)
        return worst


def relative_difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """max |expected - found| / max |expected|, over finite values; inf where shapes, whole numbers or NaNs differ."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf")
    if not expected.size:
        return 0.0
    if expected.dtype.kind not in "fc":
        return 0.0 if np.array_equal(expected, found) else float("inf")
    a, b = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    return float(np.abs(a[finite] - b[finite]).max() / max(np.abs(a[finite]).max(), 1e-6))


def runtime_refusal(proto: onnx.ModelProto) -> str:
    """Why ONNX Runtime's CPU provider does not take the model; empty when it does.

    Large weights are inputs here: whether there are kernels does not depend on them, and loading them takes seconds.
    """
    try:
        _engine(without_bulk(proto)[0])
    except ModelError as error:
        return str(error)
    return ""


def _engine(proto: onnx.ModelProto) -> ort.InferenceSession:
    try:
        return session(proto, optimise=False)
    except ModelError as error:  # its remedy is to ask the doctor, who is asking here
        raise ModelError(str(error).removesuffix("; run `edge-build doctor` on it")) from error


def _runner(proto: onnx.ModelProto) -> Run:
    """Runs feeds as the graph is written, without the runtime's own optimisations.

    ONNX Runtime has no CPU kernel for some types (Conv in float64): then ONNX's slow reference evaluator answers.
    """
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4
    try:
        engine = _engine(proto)
    except ModelError as refusal:
        if "NOT_IMPLEMENTED" not in str(refusal):
            raise
        reference = ReferenceEvaluator(proto)
        return lambda feed: _called(lambda: list(reference.run(None, feed)))
    return lambda feed: _called(lambda: engine.run(None, feed, quiet))


def _called(call: Callable[[], list[Any]]) -> list[NDArray[Any]]:
    try:
        return [np.asarray(value) for value in call()]
    except Exception as error:  # neither evaluator's errors share a base class
        raise ModelError(f"it cannot be run: {' '.join(str(error).split())[:200]}") from error


def _random_feeds(proto: onnx.ModelProto, seed: int, run: Run) -> list[Feed]:
    """Inputs the model takes: values as of pixels, of normalised pixels and around zero; free sides in two sizes.

    Raises:
        ModelError: none of the sides tried suits the model.
    """
    weights = {t.name for t in proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in weights]
    rng = np.random.default_rng(seed)
    first = next((s for s in SIDES if _takes(run, _feed(inputs, (1, s, s), rng, 0))), None)
    if first is None:
        _called(lambda: run(_feed(inputs, (1, SIDES[0], SIDES[0]), rng, 0)))
        raise ModelError("no size of its free sides was found that it runs at; give one with --shape NAME=1x3x240x320")
    size = sum(int(np.prod(t.dims)) for t in proto.graph.initializer)
    feeds = [_feed(inputs, (1, first, first), rng, kind) for kind in range(3 if size < MANY_WEIGHTS else 1)]
    others = [(2, first, first), (1, first, first + 32), (1, first * 2, first)][: 3 if size < MANY_WEIGHTS else 1]
    free = any(not _side(d) for i in inputs for d in i.type.tensor_type.shape.dim)
    return feeds + [f for f in (_feed(inputs, o, rng, 1) for o in others if free) if _takes(run, f)]


def _takes(run: Run, feed: Feed) -> bool:
    try:
        run(feed)
    except ModelError:
        return False
    return True


def _side(dim: onnx.TensorShapeProto.Dimension) -> int:
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else 0


def _feed(inputs: list[onnx.ValueInfoProto], free: tuple[int, int, int], rng: np.random.Generator, kind: int) -> Feed:
    """One feed; free sides are `free`: the batch (first sides, and of the same name), the next, the ones after."""
    named: dict[str, int] = {}
    feed: Feed = {}
    for entry in inputs:
        dims = entry.type.tensor_type.shape.dim
        unnamed: Iterator[int] = iter((free[1], *([free[2]] * len(dims))))
        shape = []
        for axis, dim in enumerate(dims):
            if side := _side(dim):
                shape.append(side)
            elif dim.dim_param in named:
                shape.append(named[dim.dim_param])
            else:
                side = free[0] if axis == 0 else next(unnamed)
                shape.append(side)
                if dim.dim_param:
                    named[dim.dim_param] = side
        feed[entry.name] = _values(entry, shape, rng, kind)
    return feed


def _values(entry: onnx.ValueInfoProto, shape: list[int], rng: np.random.Generator, kind: int) -> NDArray[Any]:
    dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    if dtype.kind == "f":
        draw = (rng.uniform(0, 1, shape), rng.normal(0, 1, shape), rng.uniform(0, 255, shape))[kind]
        return draw.astype(dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    raise ModelError(f"input {entry.name} is of type {dtype}: no random values can be made for it")
