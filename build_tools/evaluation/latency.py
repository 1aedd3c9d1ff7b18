"""Times networks against each other: interleaved rounds in one process, ratios to the first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from build_tools.errors import ModelError
from edge_runtime.bundle.reader import is_bundle, open_bundle

BEST_OF = 3
"""Runs a round, of which the fastest counts: the others were disturbed by something else."""
WARM_UP_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one model: median milliseconds, ratio to the first model, and a 95 % interval of that ratio's median."""

    name: str
    median_ms: float
    ratio: float
    ratio_ci: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model to be timed.

    Attributes:
        name: of its row.
        source: an ONNX file or bundle, or the serialised ONNX itself.
        size_wh: input size where it leaves that free; rounded up to a multiple of 32.
    """

    name: str
    source: Path | bytes
    size_wh: tuple[int, int] = (320, 240)


def bench(
    candidates: Sequence[Candidate], rounds: int, threads: int = 1, progress: Callable[[int], object] = lambda _: None
) -> list[Timing]:
    """Time every model once a round, so that the machine's drift falls on all alike.

    Args:
        candidates: the models; ratios are to the first.
        rounds: timed rounds.
        threads: of each session.
        progress: told of each round done.

    Raises:
        ModelError: a model cannot be opened or run.
    """
    runs = [_runner(c, threads) for c in candidates]
    times: list[list[float]] = [[] for _ in runs]
    for index in range(rounds + WARM_UP_ROUNDS):
        for run, mine in zip(runs, times, strict=True):
            best = min(_once_ms(run) for _ in range(BEST_OF))
            if index >= WARM_UP_ROUNDS:
                mine.append(best)
        progress(1)
    rng = np.random.default_rng(0)
    out = []
    for candidate, mine in zip(candidates, times, strict=True):
        ratios = np.array(mine) / np.array(times[0])
        drawn = np.median(rng.choice(ratios, (2000, len(ratios))), 1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        out.append(Timing(candidate.name, statistics.median(mine), float(np.median(ratios)), (float(low), float(high))))
    return out


def _once_ms(run: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


def _runner(candidate: Candidate, threads: int) -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    source = candidate.source
    if isinstance(source, Path) and is_bundle(source):
        session = open_bundle(source).session(options)
    else:
        try:
            session = ort.InferenceSession(
                source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(
                f"{candidate.name}: cannot be opened to be timed: {str(error).splitlines()[0][:200]}"
            ) from error
    try:
        feed = {i.name: _values(i, candidate.size_wh) for i in session.get_inputs()}
        session.run(None, feed)
    except Exception as error:
        raise ModelError(f"{candidate.name}: cannot be timed: {str(error).splitlines()[0][:200]}") from error
    return lambda: session.run(None, feed)


def _values(entry: ort.NodeArg, size_wh: tuple[int, int]) -> NDArray[np.generic]:
    """An input's values: noise of 0..255 in the shape of a picture where sides are free."""
    w, h = (s + -s % 32 for s in size_wh)
    free = {0: 1, 1: 3, 2: h, 3: w} if len(entry.shape) == 4 else {}
    shape = [d if isinstance(d, int) and d > 0 else free.get(i, 1) for i, d in enumerate(entry.shape)]
    rng = np.random.default_rng(0)
    if "int" in entry.type:
        return np.zeros(shape, np.int64 if "int64" in entry.type else np.int32)
    return rng.uniform(0, 255, shape).astype(np.float64 if "double" in entry.type else np.float32)
