"""Times networks against each other: interleaved rounds in one process, ratios to the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from build_tools.errors import ModelError
from edge_runtime.bench.interleaved import WARM_UP_ROUNDS, Timing, interleaved, noise_feed, quiet_clock, session_options
from edge_runtime.bench.models import SIZE_MULTIPLE
from edge_runtime.bundle.reader import is_bundle, open_bundle

__all__ = ["WARM_UP_ROUNDS", "Candidate", "Timing", "bench"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A model to be timed.

    Attributes:
        name: of its row.
        source: an ONNX file or bundle, or the serialised ONNX itself.
        size_wh: input size where it leaves that free; rounded up to a multiple of `SIZE_MULTIPLE`.
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
    runs = [(c.name, _runner(c, threads)) for c in candidates]
    return interleaved(runs, rounds, progress, quiet_clock(threads))


def _runner(candidate: Candidate, threads: int) -> Callable[[], object]:
    options = session_options(threads)
    source = candidate.source
    label = source if isinstance(source, Path) else candidate.name
    if isinstance(source, Path) and is_bundle(source):
        session = open_bundle(source).session(options)
    else:
        try:
            session = ort.InferenceSession(
                source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"{label}: cannot be timed: {str(error).splitlines()[0][:200]}") from error
    try:
        w, h = (side + -side % SIZE_MULTIPLE for side in candidate.size_wh)
        feed = noise_feed(session, (w, h))
        session.run(None, feed)
    except Exception as error:
        raise ModelError(f"{label}: cannot be timed: {str(error).splitlines()[0][:200]}") from error
    return lambda: session.run(None, feed)
