"""Times networks against each other: interleaved rounds in one process, ratios to the first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from build_tools.errors import ModelError

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


def bench(
    models: list[Path],
    sizes_wh: list[tuple[int, int]],
    rounds: int,
    threads: int,
    progress: Callable[[int], None],
) -> list[Timing]:
    """Time every model once a round, so that the machine's drift falls on all alike.

    Args:
        models: ONNX files with one image input.
        sizes_wh: input size for each model with free sides; rounded up to a multiple of 32.
        rounds: timed rounds.
        threads: of each session.
        progress: told of each round done.

    Raises:
        ModelError: a file cannot be opened or run.
    """
    runs = [_runner(m, s, threads) for m, s in zip(models, sizes_wh, strict=True)]
    times: list[list[float]] = [[] for _ in runs]
    for index in range(rounds + WARM_UP_ROUNDS):
        for run, mine in zip(runs, times, strict=True):
            best = min(_once_ms(run) for _ in range(BEST_OF))
            if index >= WARM_UP_ROUNDS:
                mine.append(best)
        progress(1)
    rng = np.random.default_rng(0)
    out = []
    for model, mine in zip(models, times, strict=True):
        ratios = np.array(mine) / np.array(times[0])
        drawn = np.median(rng.choice(ratios, (2000, len(ratios))), 1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        out.append(Timing(model.stem, statistics.median(mine), float(np.median(ratios)), (float(low), float(high))))
    return out


def _once_ms(run: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


def _runner(model: Path, size_wh: tuple[int, int], threads: int) -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        w, h = (s + -s % 32 for s in size_wh)
        free = {0: 1, 1: 3, 2: h, 3: w}
        shape = [d if isinstance(d, int) and d > 0 else free.get(i, 1) for i, d in enumerate(entry.shape)]
        blob = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        session.run(None, {entry.name: blob})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{model}: cannot be timed: {str(error).splitlines()[0][:200]}") from error
    return lambda: session.run(None, {entry.name: blob})
