"""Opens a model and runs it: one thread, no spinning, everything about the file checked before the first frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_runtime.bundle.format import FORMAT
from edge_runtime.bundle.reader import is_bundle, open_bundle
from edge_runtime.decoding import DECODINGS, Decoding
from edge_runtime.errors import FormatError, InferenceError, SignatureError, VersionError
from edge_runtime.shipped import model_file, shipped_model


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model says of itself: in a bundle the manifest's `facts`, in plain ONNX the metadata's key `edge`.

    Attributes:
        name: of the model.
        task: `attention`, `detector`, `classifier`, `landmarks` or `reader`.
        classes: in the order of its maps.
        size_wh: the input it was trained and measured at; other sizes work too.
        size_multiple: input sides are padded to this.
        decoding: how its maps are read; see `decoding`.
        strides: input pixels a cell, for each of its levels.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    size_wh: tuple[int, int]
    size_multiple: int
    decoding: Decoding
    strides: tuple[int, ...]

    def maps(self) -> dict[str, tuple[int, int]]:
        """Channels and stride of each output, by name."""
        if self.decoding == "levels":
            return {f"level{s}": (len(self.classes) + 4, s) for s in self.strides}
        if self.decoding == "probability":
            return {"probability": (len(self.classes), self.strides[0])}
        if self.decoding == "points":
            return {"points": (2 * len(self.classes), self.strides[0])}
        if self.decoding == "steps":
            return {"steps": (len(self.classes) + 1, self.strides[0])}
        return {"heat": (len(self.classes), self.strides[0]), "box": (4, self.strides[0])}


class Engine(Protocol):
    """One of our networks that can be run."""

    facts: ModelFacts

    def run(self, bgr: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Maps [n, channels, h / stride, w / stride] of float32 [n, 3, h, w], 0..255, as `decoding.decode` wants."""


class OnnxEngine:
    """A model file in ONNX Runtime: a bundle or plain ONNX, told apart by content.

    Args:
        path: the file.
        task: what it must be for; None: anything.
        public_key: 32 raw bytes; then it must be a bundle signed by this key's owner.

    Raises:
        FormatError: missing or torn file, not one of our networks, or not for `task`.
        VersionError: made for another version of the format.
        IntegrityError: a bundle whose sizes or digests do not hold.
        SignatureError: not signed by the key's owner.
    """

    def __init__(self, path: Path, task: str | None = None, public_key: bytes | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise FormatError(f"{path}: no such model file; check the setting that names it")
        self._session, told = open_session(path, public_key)
        self.facts = _facts(path, task, told)
        self._outputs = list(self.facts.maps())
        self._try_out()

    def run(self, bgr: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """The maps of a batch; see `Engine`.

        Raises:
            InferenceError: ONNX Runtime failed.
        """
        try:
            maps: Sequence[NDArray[np.float32]] = self._session.run(self._outputs, {"bgr": bgr})
        except Exception as error:
            raise InferenceError(f"{self.path}: failed on an input of shape {bgr.shape}: {error}") from error
        return maps

    def _try_out(self) -> None:
        """Run once on black: the shapes must be those of its facts. Warms the allocator too."""
        has = [i.name for i in self._session.get_inputs()], {o.name for o in self._session.get_outputs()}
        wanted = self.facts.maps()
        if has[0] != ["bgr"] or not set(wanted) <= has[1]:
            raise FormatError(
                f"{self.path}: inputs {has[0]}, outputs {sorted(has[1])}; "
                f"a network with {self.facts.decoding} has input bgr and outputs {', '.join(wanted)}"
            )
        w, h = padded_wh(self.facts.size_wh, self.facts.size_multiple)
        try:
            maps = self.run(np.zeros((1, 3, h, w), np.float32))
        except InferenceError as error:
            raise FormatError(f"{self.path}: does not take pictures of {w}x{h}: {error}") from error
        for values, (name, (channels, stride)) in zip(maps, wanted.items(), strict=True):
            # A reader's steps are a single row, whatever the height.
            shape = (1, channels, 1 if name == "steps" else h // stride, w // stride)
            if values.shape != shape:
                raise FormatError(
                    f"{self.path}: gives {name} {values.shape}, expected {shape}; rebuild it with edge-build"
                )


def open_model(name_or_path: str, task: str, field: str = "model") -> OnnxEngine:
    """The model called `name_or_path` among the shipped ones, a bundle before plain ONNX, or the file at that path.

    Args:
        name_or_path: without a dot or a slash it is a name.
        task: what it must be for.
        field: the setting that names it, for messages.

    Raises:
        BundleError: see `OnnxEngine`.
        ConfigError: nothing of that name is shipped.
    """
    if "/" in name_or_path or "." in name_or_path:
        return OnnxEngine(model_file(Path(name_or_path).expanduser(), field), task)
    return OnnxEngine(shipped_model(name_or_path, field), task)


def open_session(
    path: Path, public_key: bytes | None = None, threads: int = 1
) -> tuple[ort.InferenceSession, dict[str, Any]]:
    """A session for any model, bundle or plain ONNX, and what the model says of itself (empty: nothing).

    Raises:
        BundleError: the file cannot be used; see `OnnxEngine`.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # A spinning thread would burn a core of a Pi between two frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if is_bundle(path):
        bundle = open_bundle(path, public_key)
        return bundle.session(options), {"format": FORMAT, **bundle.manifest.facts}
    if public_key is not None:
        raise SignatureError(f"{path}: is plain ONNX, which has no signature; compress it with edge-build and sign it")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        reason = str(error).splitlines()[0].split(":", 3)[-1].strip()[:160]
        raise FormatError(f"{path}: not a usable model ({reason}); copy the file again or rebuild it") from error
    try:
        told = json.loads(session.get_modelmeta().custom_metadata_map.get("edge", "{}"))
    except ValueError as error:
        raise FormatError(f"{path}: its facts are not JSON ({error}); rebuild it with edge-build") from None
    return session, told


def padded_wh(size_wh: Sequence[int], multiple: int) -> tuple[int, int]:
    """The size with both sides rounded up to a multiple."""
    return size_wh[0] + -size_wh[0] % multiple, size_wh[1] + -size_wh[1] % multiple


def _facts(path: Path, task: str | None, told: Any) -> ModelFacts:
    if not told:
        raise FormatError(f"{path}: says nothing of its task and classes; train or compress it with edge-build")
    try:
        if told["format"] != FORMAT:
            raise VersionError(
                f"{path}: made for format {told['format']}, this runtime reads {FORMAT}; update one of them"
            )
        if task is not None and told["task"] != task:
            raise FormatError(f"{path}: is for {told['task']}, but {task} is needed here; check the `model` settings")
        facts = ModelFacts(
            str(told["name"]), str(told["task"]), tuple(map(str, told["classes"])),
            (int(told["size_wh"][0]), int(told["size_wh"][1])), int(told["size_multiple"]),
            told.get("decoding", "centre-map"), tuple(int(s) for s in told.get("strides", [told.get("stride")])),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{path}: field {error} of its facts is missing or wrong; rebuild it with edge-build"
        ) from None
    if facts.decoding not in DECODINGS:
        raise VersionError(f"{path}: decoding {facts.decoding!r} is none of {', '.join(DECODINGS)}; update it")
    sizes = (*facts.size_wh, facts.size_multiple, *facts.strides)
    if not 1 <= len(facts.classes) <= 256 or not 1 <= len(facts.strides) <= 8 or min(sizes) < 1:
        raise FormatError(f"{path}: its classes, sizes or strides are out of range; rebuild it with edge-build")
    return facts
