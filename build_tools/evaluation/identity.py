"""How well an embedder tells persons apart, on an identity pack, aligned by a landmark head.

The protocol: each picture of a known person is aligned (five points, a similarity transform to the embedder's template)
and embedded, and so is the one picture of each stranger. Pairs of one person are all pairs of pictures of a known
person; pairs of two are all pairs of pictures of different known persons, and each known picture with each stranger's.
Distances are Euclidean, of embeddings as they come out or, where the adapter says cosine, of length 1. `eer` is the
equal error rate over these pairs, `threshold` the distance where it is reached, `frr_at_far1` the least share of the
first kind that is refused while at most 1 % of the second is accepted. Where the face lies is not searched: it is in
the middle (`aligned_faces.FACE_BOX`), as the pack's pictures were cut by a face detector. `by_face_px` repeats this
with all pictures shrunk until the longer side of the face has so many pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.bundle.export import open_any
from build_tools.data.aligned_faces import open_adapter, open_landmarks, person_faces
from build_tools.data.coco import is_held_out
from build_tools.data.persons import STRANGERS, read_persons
from build_tools.errors import DataError, ModelError
from build_tools.evaluation.verification import Curve, pair_distances, verification_curve
from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.contract import Score
from build_tools.recipe import Recipe
from edge_runtime.identity.embedder import AdapterConfig
from edge_runtime.imaging.blob import blob

F32 = NDArray[np.float32]
FACES_PX = (20, 40, 80)
FAR = 0.01


class Persons:
    """The equal error rate on the train part of an identity pack, on the persons the recipe holds out."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        entry = recipe.evaluation
        people = read_persons(folder / entry.data, "train")
        people = [p for p in people if not entry.held_out or is_held_out(Path(p.name), entry.held_out)]
        people = people[: entry.limit] if entry.limit else people
        if len(people) < 2:
            raise DataError(f"{entry.data}: evaluation.held_out and .limit leave {len(people)} persons; two are needed")
        self._adapter = open_adapter(folder / recipe.embedding.adapter)
        head = open_landmarks(folder / recipe.embedding.landmarks)
        self._faces, self._whose = person_faces(people, head, self._adapter)

    def __call__(self, model: Model) -> Score:
        """The score; 0 is perfect."""
        said = embeddings(model.proto, self._adapter, self._faces)
        curve = verification_curve(*pair_distances(said, self._whose, said[:0]))
        figures = {"eer": curve.eer, "frr_at_far1": curve.frr_at(FAR), "threshold": curve.threshold}
        return Score("eer", curve.eer, False, figures)


def evaluate_identity(
    path: Path, folder: Path, landmarks: Path, adapter: AdapterConfig, progress: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Curve]]:
    """What `edge-build evaluate --identity` prints, and the curves by size of the faces; see the file's docstring.

    Args:
        path: ONNX or `.edge`.
        folder: of an identity pack.
        landmarks: a landmark head.
        adapter: how the model wants its faces.
        progress: told of what is being measured.

    Raises:
        DataError: the pack cannot be read.
        ModelError: not an embedder.
        FormatError: not a landmark head.
    """
    proto, head = open_any(path).proto, open_landmarks(landmarks)
    known, strangers = read_persons(folder, "calibration"), read_persons(folder, STRANGERS)

    def measured(face_px: int | None) -> tuple[Curve, tuple[int, int]]:
        progress(f"faces of {face_px} px" if face_px else "faces as they are")
        mine, whose = person_faces(known, head, adapter, face_px)
        theirs, _ = person_faces(strangers, head, adapter, face_px)
        said = embeddings(proto, adapter, np.concatenate([mine, theirs]))
        same, other = pair_distances(said[: len(mine)], whose, said[len(mine) :])
        return verification_curve(same, other), (len(same), len(other))

    plain, (same, other) = measured(None)
    by_px = {str(px): measured(px)[0] for px in FACES_PX}
    found = {
        **_figures(plain),
        "threshold": plain.threshold,
        "pairs_same": same,
        "pairs_other": other,
        "persons": len(known),
        "strangers": len(strangers),
        "by_face_px": {px: _figures(curve) for px, curve in by_px.items()},
        "model_bytes": path.stat().st_size,
        "landmarks_bytes": landmarks.stat().st_size,
    }
    return found, {"as they are": plain, **{f"{px} px": curve for px, curve in by_px.items()}}


def embeddings(proto: onnx.ModelProto, adapter: AdapterConfig, faces: NDArray[np.uint8]) -> F32:
    """What the model says of upright faces BGR uint8 [n, side, side, 3]: float32 [n, d], as the node compares them.

    Raises:
        ModelError: more than one input, or not one row of numbers a face.
    """
    runner = session(proto)
    names = [i.name for i in runner.get_inputs()]
    if len(names) != 1:
        raise ModelError(f"the model has inputs {', '.join(names)}; an embedder takes one face")
    asked = [adapter.output] if adapter.output else None
    said = [np.asarray(runner.run(asked, {names[0]: blob(face, adapter)})[0], np.float32) for face in faces]
    if any(row.ndim < 2 or row.shape[0] != 1 or row.size < 2 for row in said):
        raise ModelError(f"the model gives {said[0].shape} for one face; an embedder gives one row of numbers")
    rows = np.concatenate([row.reshape(1, -1) for row in said])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if adapter.metric == "cosine" else rows


def _figures(curve: Curve) -> dict[str, float]:
    return {"eer": curve.eer, "frr_at_far1": curve.frr_at(FAR)}
