"""Any face embedding network, ours or a user's, behind one call; a small TOML file says how it wants its faces.

`face.onnx` or `face.edge` has `face.adapter.toml` beside it, whose keys are the fields of `AdapterConfig`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.adapters import adapter_path, chosen_output, read_adapter
from edge_runtime.datatypes import BgrImage
from edge_runtime.engine import open_session
from edge_runtime.errors import FormatError, InferenceError
from edge_runtime.identity.alignment import Points
from edge_runtime.imaging.blob import blob
from edge_runtime.settings import required, setting
from edge_runtime.shipped import model_file, shipped_model

Embedding = NDArray[np.float32]
"""float32 [d]; of length 1 where the metric is cosine."""
Metric = Literal["euclidean", "cosine"]

ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""The template for 112 px that most published embedders were trained with (Deng et al. 2019, "ArcFace")."""

WANTS = "its faces: input_px, template, metric and threshold, as models/face_embedder.adapter.toml"


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """How an embedder wants its faces, and how its answers are compared."""

    input_px: int = required("side of the square face it takes", example=112)
    template: tuple[tuple[float, float], ...] = required(
        "where in that square it wants both eyes, the nose and both corners of the mouth; left is left on the picture",
        example=ARCFACE,
    )
    metric: Literal["euclidean", "cosine"] = required("euclidean | cosine (one minus the cosine)", example="cosine")
    threshold: float = required("two faces at most so far apart are one person's", example=0.6)
    colour: Literal["rgb", "bgr", "grey"] = setting("rgb", "order of its colours; grey: one channel")
    layout: Literal["nchw", "nhwc"] = setting("nchw", "order of its input's axes")
    mean: tuple[float, float, float] = setting((0.0, 0.0, 0.0), "taken from the values 0 to 255, in its own order")
    std: tuple[float, float, float] = setting((1.0, 1.0, 1.0), "what is left is divided by this")
    output: str = setting("", "which output is the embedding; empty: its only one")

    def __post_init__(self) -> None:
        if not 16 <= self.input_px <= 1024:
            raise ValueError(f"input_px = {self.input_px}: must be between 16 and 1024")
        if len(self.template) != 5 or not all(0 <= v <= self.input_px for point in self.template for v in point):
            raise ValueError(f"template: must be five points inside a square of {self.input_px} px")
        if not 0 < self.threshold < float("inf"):
            raise ValueError(f"threshold = {self.threshold}: must be above 0")
        if min(self.std) <= 0:
            raise ValueError("std: must be above 0")


class Embedder(Protocol):
    """Turns upright faces into embeddings.

    Attributes:
        name: of the network, for messages.
        digest: of the network and of how it sees faces; embeddings of two digests cannot be compared.
        config: how it wants its faces.
    """

    name: str
    digest: str
    config: AdapterConfig

    def __call__(self, face: BgrImage) -> Embedding:
        """The embedding of an upright face, uint8 [input_px, input_px, 3] BGR."""


class OnnxEmbedder:
    """A network's file in ONNX Runtime, bundle or plain ONNX; see `Embedder`.

    Args:
        path: the file; its adapter lies beside it.

    Raises:
        ConfigError: there is no adapter, or it is wrong.
        BundleError: the file cannot be used, or is no embedder.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.stem, path
        self.config = read_adapter(AdapterConfig, model_file(path, "identity.embedder"), WANTS)
        self._template = np.array(self.config.template, np.float32)
        self._session, _ = open_session(path)
        self._input = self._session.get_inputs()[0].name
        self._output = chosen_output(self._session, path, self.config.output)
        seen = dataclasses.asdict(self.config) | {"threshold": None, "metric": None}
        told = json.dumps(seen, sort_keys=True).encode()
        self.digest = hashlib.sha256(path.read_bytes() + told).hexdigest()[:16]
        self._try_out()

    @property
    def template(self) -> Points:
        """Where it wants the five points."""
        return self._template

    def __call__(self, face: BgrImage) -> Embedding:
        """The embedding of an upright face.

        Raises:
            InferenceError: ONNX Runtime failed, or what came is not finite.
        """
        try:
            (said,) = self._session.run([self._output], {self._input: blob(face, self.config)})
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise InferenceError(f"{self._path}: failed on a face of {self.config.input_px} px: {error}") from error
        embedding = np.asarray(said, np.float32).reshape(-1)
        length = float(np.linalg.norm(embedding))
        if not np.isfinite(length) or (length == 0.0 and self.config.metric == "cosine"):
            raise InferenceError(f"{self._path}: gave an embedding of length {length}; check mean, std and colour")
        return embedding / np.float32(length) if self.config.metric == "cosine" else embedding

    def _try_out(self) -> None:
        """Run once on grey: the network must take such faces and give one list of numbers for each."""
        px = self.config.input_px
        grey = np.full((px, px, 3), 127, np.uint8)
        try:
            shape = np.shape(self._session.run([self._output], {self._input: blob(grey, self.config)})[0])
        except Exception as error:
            reason = str(error).splitlines()[0][:160]
            raise FormatError(
                f"{self._path}: takes no faces of {px} px as {adapter_path(self._path).name} says ({reason})"
            ) from error
        if len(shape) < 2 or shape[0] != 1 or int(np.prod(shape)) < 2 or int(np.prod(shape)) > 4096:
            raise FormatError(f"{self._path}: gives {shape} for one face, no embedding; check identity.embedder")


def open_embedder(name_or_path: str) -> OnnxEmbedder:
    """The embedder called `name_or_path` among the shipped ones, or the file at that path.

    Raises:
        ConfigError: nothing of that name is shipped, or its adapter is missing or wrong.
        BundleError: see `OnnxEmbedder`.
    """
    if "/" in name_or_path or "." in name_or_path:
        return OnnxEmbedder(Path(name_or_path).expanduser())
    return OnnxEmbedder(shipped_model(name_or_path, "identity.embedder"))
