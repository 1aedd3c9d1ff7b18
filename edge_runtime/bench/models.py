"""Opens a model to be timed: any ONNX file, any bundle, or a shipped model by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_runtime.bench.interleaved import noise_feed, session_options
from edge_runtime.bundle.reader import is_bundle, open_bundle
from edge_runtime.errors import ConfigError, FormatError
from edge_runtime.shipped import shipped

SIZE_MULTIPLE = 32
"""Free sides are rounded up to this: most networks halve their maps five times."""


def runner(name_or_path: str, size_wh: tuple[int, int], threads: int) -> Callable[[], list[NDArray[Any]]]:
    """Runs the model once on noise, the same each time; its outputs.

    Args:
        name_or_path: of the model.
        size_wh: of its input, where that is free.
        threads: of its session.

    Raises:
        FormatError: missing, no model, or one that does not run on noise.
    """
    path = found(name_or_path)
    options = session_options(threads)
    size = size_wh[0] + -size_wh[0] % SIZE_MULTIPLE, size_wh[1] + -size_wh[1] % SIZE_MULTIPLE
    try:
        if is_bundle(path):
            session = open_bundle(path).session(options)
        else:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = noise_feed(session, size)
        session.run(None, feed)
    except FormatError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class
        reason = str(error).splitlines()[0].split(":", 3)[-1].strip()[:160]
        raise FormatError(f"{path}: cannot be timed ({reason}); check the file and --size") from error
    return lambda: [np.asarray(output) for output in session.run(None, feed)]


def found(name_or_path: str) -> Path:
    """The file of a model.

    Raises:
        FormatError: there is none.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if "/" not in name_or_path and "." not in name_or_path:
        for suffix in (".edge", ".onnx"):
            try:
                return shipped(f"{name_or_path}{suffix}")
            except ConfigError:
                continue
    raise FormatError(f"{name_or_path}: no such model file, and no shipped model of this name; check the path")
