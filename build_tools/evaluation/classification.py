"""How many digits a model reads wrongly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_tools.bundle.export import open_any
from build_tools.data import mnist
from build_tools.data.calibration import digit_input, model_inputs
from build_tools.data.pictures import InputEntry
from build_tools.errors import DataError
from build_tools.model import Model
from build_tools.passes.activations import session

DIGITS_A_RUN = 500


def wrong_digits(model: Model, digits: NDArray[np.uint8], labels: NDArray[np.int64], divisor: float) -> int:
    """Digits whose highest score is another's.

    Args:
        model: one input that takes 28x28 pixels; its first output has ten scores.
        digits: uint8 [n, 28, 28].
        labels: int64 [n].
        divisor: what pixels, 0..255, are divided by.

    Raises:
        DataError: a model with other inputs or outputs.
    """
    runner = session(model.proto)
    name, (shape, _) = next(iter(model_inputs(model.proto).items()))
    entry = InputEntry(mean=(0.0,), std=(divisor,))
    step = DIGITS_A_RUN if shape[0] is None else 1
    wrong = 0
    for start in range(0, len(digits), step):
        blob = np.stack([digit_input(d, shape, entry) for d in digits[start : start + step]])
        scores = np.asarray(runner.run(None, {name: blob})[0])
        if scores.size != 10 * len(blob):
            raise DataError(f"the model's first output has shape {scores.shape}; of digits it must have ten scores")
        wrong += int(np.count_nonzero(scores.reshape(len(blob), 10).argmax(1) != labels[start : start + step]))
    return wrong


def evaluate_digits(path: Path, folder: Path, split: mnist.Split = "test", divisor: float = 255.0) -> dict[str, float]:
    """What `edge-build evaluate --mnist` prints.

    Args:
        path: ONNX or `.edge`.
        folder: MNIST's.
        split: which digits.
        divisor: see `wrong_digits`.

    Returns:
        `error` in percent, `wrong` and `digits` as counts, `model_bytes` of the whole file, and of a bundle
        `weights_bytes`: its weights with every table, codebook and position they need.
    """
    digits, labels = mnist.read(folder, split)
    wrong = wrong_digits(open_any(path), digits, labels, divisor)
    found = {"error": round(100 * wrong / len(labels), 4), "wrong": wrong, "digits": len(labels)}
    return found | file_bytes(path)


def file_bytes(path: Path) -> dict[str, int]:
    """`model_bytes`, and `weights_bytes` where the file is a bundle."""
    found = {"model_bytes": path.stat().st_size}
    if path.suffix == ".edge":
        from zipfile import ZipFile

        with ZipFile(path) as bundle:
            found["weights_bytes"] = bundle.getinfo("weights.bin").file_size
    return found
