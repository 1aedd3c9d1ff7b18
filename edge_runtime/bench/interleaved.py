"""Times things against each other: one after the other in every round, so that the machine's drift falls on all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

BEST_OF = 3
"""Runs a round, of which the fastest counts: the others were disturbed by something else."""
WARM_UP_ROUNDS = 2
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one model: median milliseconds, ratio to the first model, and a 95 % interval of that ratio's median."""

    name: str
    median_ms: float
    ratio: float
    ratio_ci: tuple[float, float]


def interleaved(
    runs: Sequence[tuple[str, Callable[[], object]]],
    rounds: int,
    progress: Callable[[int], object] = lambda _: None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> list[Timing]:
    """Time every run once a round.

    Args:
        runs: name and what is timed; ratios are to the first.
        rounds: timed rounds, after a warm-up.
        progress: told of each round done.
        clock_ns: monotonic nanoseconds.
    """
    times: list[list[float]] = [[] for _ in runs]
    for index in range(rounds + WARM_UP_ROUNDS):
        for (_, run), mine in zip(runs, times, strict=True):
            best = min(_once_ms(run, clock_ns) for _ in range(BEST_OF))
            if index >= WARM_UP_ROUNDS:
                mine.append(best)
        progress(1)
    rng = np.random.default_rng(0)
    out = []
    for (name, _), mine in zip(runs, times, strict=True):
        ratios = np.array(mine) / np.maximum(times[0], 1e-9)
        drawn = np.median(rng.choice(ratios, (_RESAMPLES, len(ratios))), 1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        out.append(Timing(name, statistics.median(mine), float(np.median(ratios)), (float(low), float(high))))
    return out


def quiet_clock(threads: int) -> Callable[[], int]:
    """The clock that others on this machine disturb least: a session of one thread runs on the caller's, and so the
    processor time of that thread is its time alone. (With 10 processes on 2 cores: within 13 % of the idle machine's,
    where wall time was up to 6 times as long.)"""
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns


def session_options(threads: int) -> ort.SessionOptions:
    """One session alone on `threads` threads, which do not spin between runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def noise_feed(session: ort.InferenceSession, size_wh: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Inputs for a timing: noise of 0..255, in the shape of a picture where sides are free."""
    feed: dict[str, NDArray[Any]] = {}
    for entry in session.get_inputs():
        w, h = size_wh
        free = {1: 3, 2: h, 3: w} if len(entry.shape) == 4 else {}
        shape = [d if isinstance(d, int) and d > 0 else free.get(i, 1) for i, d in enumerate(entry.shape)]
        kind = np.dtype(_NUMPY.get(entry.type, "float32"))
        high = 255 if kind.kind == "f" or kind == np.uint8 else 1
        feed[entry.name] = np.random.default_rng(0).uniform(0, high, shape).astype(kind)
    return feed


_NUMPY = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(uint8)": "uint8",
    "tensor(int8)": "int8", "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip


def _once_ms(run: Callable[[], object], clock_ns: Callable[[], int]) -> float:
    start = clock_ns()
    run()
    return (clock_ns() - start) / 1e6
