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
from edge_runtime.errors import ConfigError, FormatError, InferenceError, SignatureError, VersionError
from edge_runtime.shipped import shipped


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model says of itself: in a bundle the manifest's `facts`, in plain ONNX the metadata's key `edge`.

    Attributes:
        name: of the model.
        task: `attention` or `detector`.
        classes: in the order of its heat maps.
        size_wh: the input it was trained and measured at; other sizes work too.
        size_multiple: input sides are padded to this.
        stride: input pixels a cell.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    size_wh: tuple[int, int]
    size_multiple: int
    stride: int


class Engine(Protocol):
    """A centre network that can be run."""

    facts: ModelFacts

    def run(self, bgr: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Heat [n, classes, h / stride, w / stride] and box [n, 4, ...] of float32 [n, 3, h, w], 0..255."""


class OnnxEngine:
    """A model file in ONNX Runtime: a bundle or plain ONNX, told apart by content.

    Args:
        path: the file.
        task: what it must be for; None: anything.
        public_key: 32 raw bytes; then it must be a bundle signed by this key's owner.

    Raises:
        FormatError: missing or torn file, not a centre network, or not for `task`.
        VersionError: made for another version of the format.
        IntegrityError: a bundle whose sizes or digests do not hold.
        SignatureError: not signed by the key's owner.
    """

    def __init__(self, path: Path, task: str | None = None, public_key: bytes | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise FormatError(f"{path}: no such model file; check the `model` setting")
        self._session, told = open_session(path, public_key)
        self.facts = _facts(path, task, told)
        self._try_out()

    def run(self, bgr: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Heat and box maps of a batch; see `Engine`.

        Raises:
            InferenceError: ONNX Runtime failed.
        """
        try:
            heat, box = self._session.run(["heat", "box"], {"bgr": bgr})
        except Exception as error:
            raise InferenceError(f"{self.path}: failed on an input of shape {bgr.shape}: {error}") from error
        return heat, box

    def _try_out(self) -> None:
        """Run once on black: the shapes must be those of a centre network. Warms the allocator too."""
        names = [i.name for i in self._session.get_inputs()], {o.name for o in self._session.get_outputs()}
        if names[0] != ["bgr"] or not {"heat", "box"} <= names[1]:
            raise FormatError(
                f"{self.path}: inputs {names[0]}, outputs {sorted(names[1])}; "
                "a centre network has input bgr and outputs heat, box"
            )
        w, h = padded_wh(self.facts.size_wh, self.facts.size_multiple)
        try:
            heat, box = self.run(np.zeros((1, 3, h, w), np.float32))
        except InferenceError as error:
            raise FormatError(f"{self.path}: does not take pictures of {w}x{h}: {error}") from error
        cells = (h // self.facts.stride, w // self.facts.stride)
        wanted = (1, len(self.facts.classes), *cells), (1, 4, *cells)
        if (heat.shape, box.shape) != wanted:
            raise FormatError(
                f"{self.path}: gives heat {heat.shape} and box {box.shape}, expected {wanted[0]} and {wanted[1]}; "
                "rebuild it with edge-build"
            )


def open_model(name_or_path: str, task: str) -> OnnxEngine:
    """The model called `name_or_path` among the shipped ones, a bundle before plain ONNX, or the file at that path.

    Raises:
        BundleError: see `OnnxEngine`.
        ConfigError: nothing of that name is shipped.
    """
    if "/" in name_or_path or "." in name_or_path:
        return OnnxEngine(Path(name_or_path).expanduser(), task)
    try:
        return OnnxEngine(shipped(f"{name_or_path}.edge"), task)
    except ConfigError:
        return OnnxEngine(shipped(f"{name_or_path}.onnx"), task)


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
            (int(told["size_wh"][0]), int(told["size_wh"][1])), int(told["size_multiple"]), int(told["stride"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{path}: field {error} of its facts is missing or wrong; rebuild it with edge-build"
        ) from None
    if not 1 <= len(facts.classes) <= 256 or min(*facts.size_wh, facts.size_multiple, facts.stride) < 1:
        raise FormatError(f"{path}: its classes, sizes or stride are out of range; rebuild it with edge-build")
    return facts
