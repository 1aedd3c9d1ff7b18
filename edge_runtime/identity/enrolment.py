"""Takes persons into the gallery: one good face a photo, or a photo is refused with what is wrong and what helps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import PhotoError
from edge_runtime.identity.embedder import Embedding
from edge_runtime.identity.gallery import Embeddings, Gallery, mean_distance
from edge_runtime.identity.reader import FaceNetworks
from edge_runtime.identity.view import LEAN_MOST, FaceView, view_of

SIDE_MIN_PX = 40
"""A face on a photo: the embedder knows 37 px faces of LFW about as well as large ones, but a photo is for years."""
SHARPNESS_MIN = 0.011
"""See `view.SHARP_GOOD`: fewer than one in a hundred sharp photos of LFW have less, half of those blurred by 3 px."""
BYSTANDER = 0.5
"""Another face is ignored where its side is less than this share of the largest one's."""


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """The one face of a photo, as its embedding."""

    embedding: Embedding
    view: FaceView


def read_photo(path: Path) -> BgrImage:
    """The photo as BGR, turned as its camera was held.

    Raises:
        PhotoError: it cannot be read as a picture.
    """
    if not path.is_file():
        raise PhotoError(f"{path}: no such file; check the path")
    # Without PIL: OpenCV obeys EXIF's orientation by itself.
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise PhotoError(f"{path}: is no picture that can be read; save it as JPEG or PNG")
    return np.asarray(bgr, np.uint8)


def portrait(bgr: BgrImage, origin: str, networks: FaceNetworks) -> Portrait:
    """The face on a photo.

    Args:
        bgr: uint8 [h, w, 3].
        origin: where it comes from, for messages.
        networks: between a picture and an embedding.

    Raises:
        PhotoError: no face, several, or one that is too small, blurred or turned away.
        InferenceError: a network failed.
    """
    boxes = networks.finder.on_photo(bgr)
    if not boxes:
        raise PhotoError(f"{origin}: no face is seen; take one from the front, in even light, with nothing over it")
    sides = [float(min(box[2] - box[0], box[3] - box[1])) for box in boxes]
    others = sum(side >= BYSTANDER * max(sides) for side in sides) - 1
    if others:
        raise PhotoError(f"{origin}: shows {others + 1} faces, and nobody can tell whose name it is; cut out one")
    box = boxes[int(np.argmax(sides))]
    view = view_of(bgr, [float(edge) for edge in box], networks.head, networks.embedder.config)
    side = max(sides)
    if side < SIDE_MIN_PX:
        raise PhotoError(
            f"{origin}: the face is {side:.0f} px wide, at least {SIDE_MIN_PX} are needed; come nearer, or take the "
            "original instead of a preview"
        )
    if view is None or view.lean > LEAN_MOST:
        raise PhotoError(f"{origin}: the face is turned away; look towards the camera")
    if view.sharpness < SHARPNESS_MIN:
        raise PhotoError(
            f"{origin}: the face is blurred (sharpness {view.sharpness:.3f}, at least {SHARPNESS_MIN} is needed); "
            "hold still, wipe the lens, or take it in better light"
        )
    return Portrait(networks.embedder(view.upright), view)


def doubts(name: str, embeddings: Embeddings, gallery: Gallery, networks: FaceNetworks) -> list[str]:
    """What looks wrong though each photo is fine: photos unlike each other, a person enrolled under another name.

    Args:
        name: of the person.
        embeddings: of the new photos, float32 [n, d].
        gallery: before them.
        networks: their embedder.
    """
    metric, threshold = networks.embedder.config.metric, networks.embedder.config.threshold
    known = gallery.persons.get(name)
    everything = embeddings if known is None else np.concatenate([known, embeddings])
    found = []
    for i, one in enumerate(embeddings):
        rest = np.delete(everything, len(everything) - len(embeddings) + i, axis=0)
        if len(rest) and mean_distance(one[None], rest, metric) > threshold:
            found.append(f"photo {i + 1} looks unlike the others of {name}; is it the same person?")
    for other, distance in gallery.distances(embeddings, metric).items():
        if other != name and distance <= threshold:
            found.append(f"{name} looks like {other}, who is enrolled already; known faces of either may be mistaken")
    return found
