"""What models answer to one fixed input: noted where they were made, compared where they run.

A bundle's digests say that a file is whole; this says that the processor and the libraries of a node compute with it
what they should. The input is noise of a fixed seed in place of a picture.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bench.models import found, runner
from edge_runtime.errors import FormatError, InferenceError

FILE = "reference.json"
"""Of the shipped models, beside them."""
SIZE_WH = (320, 240)
"""Of inputs whose sides are free."""
SAMPLES = 16
"""Values noted of an output, evenly spaced over it."""
TOLERANCE = 0.01
"""Share of an output's spread by which a value may differ: other processors add up in another order, and round
otherwise. A kernel that computes something else is off by whole spreads."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output.

    Attributes:
        shape: of it.
        spread: standard deviation of its values.
        values: `SAMPLES` of them, or all where there are fewer.
    """

    shape: tuple[int, ...]
    spread: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model answers.

    Attributes:
        sha256: of the model's file.
        outputs: in the model's order.
    """

    sha256: str
    outputs: tuple[Output, ...]


def answers(name_or_path: str) -> Reference:
    """What a model answers here.

    Raises:
        FormatError: no model, or one that does not run on noise.
    """
    outputs = runner(name_or_path, SIZE_WH, 1)()
    digest = hashlib.sha256(found(name_or_path).read_bytes()).hexdigest()
    return Reference(digest, tuple(_noted(output) for output in outputs))


def difference(here: Reference, there: Reference) -> float:
    """The largest difference between two models' answers, as a share of its output's spread; infinite where shapes
    or numbers of outputs differ, or a value is not finite."""
    if [o.shape for o in here.outputs] != [o.shape for o in there.outputs]:
        return float("inf")
    largest = 0.0
    for mine, its in zip(here.outputs, there.outputs, strict=True):
        apart = np.abs(np.subtract(mine.values, its.values)).max(initial=0.0) / max(its.spread, 1e-6)
        largest = max(largest, float(apart) if np.isfinite(apart) else float("inf"))
    return largest


def check(name: str, there: Reference) -> float:
    """Hold a model against what is noted of it; the largest difference, see `difference`.

    Raises:
        FormatError: another file than the one noted.
        InferenceError: it answers something else here.
    """
    here = answers(name)
    path = found(name)
    if here.sha256 != there.sha256:
        raise FormatError(f"{path}: is not the file that {FILE} was made of; install this version of edge-runtime anew")
    apart = difference(here, there)
    if apart > TOLERANCE:
        raise InferenceError(
            f"{path}: answers otherwise here than where it was made, by {apart:.3g} of an output's spread "
            f"({TOLERANCE} may be); install onnxruntime and numpy anew, or another version of onnxruntime"
        )
    return apart


def read(path: Path) -> dict[str, Reference]:
    """The references in a file, by name of the model's file.

    Raises:
        FormatError: missing, torn, or something else.
    """
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Reference(
                str(entry["sha256"]),
                tuple(Output(tuple(o["shape"]), float(o["spread"]), tuple(o["values"])) for o in entry["outputs"]),
            )
            for name, entry in told.items()
        }
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); install edge-runtime anew") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: is no file of references ({error}); install edge-runtime anew") from None


def text(references: dict[str, Reference]) -> str:
    """The file's content."""
    return json.dumps({name: asdict(reference) for name, reference in sorted(references.items())}, indent=1) + "\n"


def _noted(output: NDArray[Any]) -> Output:
    values = np.asarray(output, np.float64).ravel()
    at = np.unique(np.linspace(0, max(len(values) - 1, 0), SAMPLES).astype(int))[: len(values)]
    return Output(output.shape, float(f"{values.std():.6g}"), tuple(float(f"{v:.6g}") for v in values[at]))
