"""Runs a network of others on a picture: which output is asked for, which type of numbers it takes, what it raises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.adapters import adapter_path, chosen_output
from edge_runtime.datatypes import BgrImage
from edge_runtime.engine import open_session
from edge_runtime.errors import FormatError, InferenceError
from edge_runtime.imaging.blob import blob
from edge_runtime.plates.adapter import FinderAdapter, ReaderAdapter
from edge_runtime.shipped import model_file


class AdaptedNetwork:
    """One verb: call it with a picture of the adapter's size, and get its answer.

    Args:
        path: the network's file, bundle or plain ONNX.
        adapter: how it wants pictures.
        field: the setting that names it, for messages.

    Raises:
        ConfigError: the adapter asks for an output that there is not.
        BundleError: the file cannot be used, or takes no such pictures.
    """

    def __init__(self, path: Path, adapter: ReaderAdapter | FinderAdapter, field: str) -> None:
        self.path, self._adapter = path, adapter
        model_file(path, field)
        self._session, _ = open_session(path)
        taken = self._session.get_inputs()[0]
        self._input = taken.name
        self._kind = np.uint8 if taken.type == "tensor(uint8)" else np.float32
        self._output = chosen_output(self._session, path, adapter.output)
        w, h = adapter.input_wh
        try:
            self(np.full((h, w, 3), 127, np.uint8))
        except InferenceError as error:
            raise FormatError(
                f"{path}: takes no pictures of {w}x{h} as {adapter_path(path).name} says ({error})"
            ) from error

    def __call__(self, bgr: BgrImage) -> NDArray[np.float32]:
        """The answer, its sides of length 1 left out.

        Raises:
            InferenceError: ONNX Runtime failed, or what came is not finite.
        """
        try:
            (said,) = self._session.run([self._output], {self._input: blob(bgr, self._adapter).astype(self._kind)})
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise InferenceError(f"{self.path}: failed: {str(error).splitlines()[0][:160]}") from error
        answer = np.squeeze(np.asarray(said, np.float32))
        if not np.isfinite(answer).all():
            raise InferenceError(f"{self.path}: gave numbers that are not finite; check mean, std and colour")
        return answer
