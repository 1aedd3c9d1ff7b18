"""The persons a node knows: for each name the embeddings of some photos, no pixels; compared with a track's views."""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import ConfigError
from edge_runtime.identity.embedder import Embedder, Metric

FORMAT = 1
NAME_MAX = 64

Embeddings = NDArray[np.float32]
"""float32 [n, d]."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Who is enrolled.

    Attributes:
        embedder: name of the network that made the embeddings.
        digest: of that network; see `Embedder`.
        persons: by name, float32 [photos, d] each.
    """

    embedder: str
    digest: str
    persons: Mapping[str, Embeddings]

    @staticmethod
    def empty(embedder: Embedder) -> Gallery:
        """Nobody, to be enrolled with this network."""
        return Gallery(embedder.name, embedder.digest, {})

    def enrolled(self, name: str, embeddings: Embeddings) -> Gallery:
        """The gallery with these photos added to what is known of `name`."""
        known = self.persons.get(name)
        joined = embeddings if known is None else np.concatenate([known, embeddings])
        return Gallery(self.embedder, self.digest, {**self.persons, name: joined})

    def removed(self, name: str) -> Gallery:
        """The gallery without `name`.

        Raises:
            ConfigError: nobody of that name is enrolled.
        """
        if name not in self.persons:
            raise ConfigError(f"{name}: not enrolled; enrolled are: {', '.join(self.persons) or 'nobody'}")
        return Gallery(self.embedder, self.digest, {n: e for n, e in self.persons.items() if n != name})

    def require(self, embedder: Embedder, origin: str) -> None:
        """Refuse embeddings of another network.

        Raises:
            ConfigError: with the remedy.
        """
        if self.digest != embedder.digest:
            raise ConfigError(
                f"{origin}: made with the embedder {self.embedder} ({self.digest}), but identity.embedder is "
                f"{embedder.name} ({embedder.digest}), and embeddings of two networks cannot be compared; "
                "set it back, or delete the file and enrol again"
            )

    def distances(self, views: Embeddings, metric: Metric) -> dict[str, float]:
        """How far each person is from these views [n, d] of one face, nearest first.

        It is the mean over all pairs of a view and a photo: of the squared distance, then its root, or of one minus the
        cosine. Unlike the distance between means, which shrinks the more views it has, this one stays comparable with
        the distance of two single pictures, so that one threshold holds for any number of views and photos.
        """
        found = {name: mean_distance(views, photos, metric) for name, photos in self.persons.items()}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def to_json(self) -> bytes:
        """What is kept, before it is sealed."""
        persons = {
            name: [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in photos]
            for name, photos in self.persons.items()
        }
        kept = {"format": FORMAT, "embedder": self.embedder, "digest": self.digest, "persons": persons}
        return json.dumps(kept, ensure_ascii=False).encode()


def mean_distance(a: Embeddings, b: Embeddings, metric: Metric) -> float:
    """The distance between two sets of embeddings [n, d] and [m, d]; see `Gallery.distances`."""
    products = a.astype(np.float64) @ b.T.astype(np.float64)
    if metric == "cosine":
        return float(1.0 - products.mean())
    squares = (a.astype(np.float64) ** 2).sum(1).mean() + (b.astype(np.float64) ** 2).sum(1).mean()
    return float(np.sqrt(max(squares - 2 * products.mean(), 0.0)))


def from_json(content: bytes, origin: str) -> Gallery:
    """The gallery that `to_json` made.

    Raises:
        ConfigError: made by another version of this program, or not a gallery.
    """
    try:
        kept = json.loads(content)
        if kept["format"] != FORMAT:
            raise ConfigError(f"{origin}: has format {kept['format']}, this program reads {FORMAT}; update it")
        persons = {
            str(name): np.stack([np.frombuffer(base64.b64decode(row, validate=True), "<f4") for row in rows])
            for name, rows in kept["persons"].items()
        }
        sizes = {photos.shape[1] for photos in persons.values()}
        if len(sizes) > 1 or not all(np.isfinite(photos).all() for photos in persons.values()):
            raise ValueError("embeddings do not agree")
        return Gallery(str(kept["embedder"]), str(kept["digest"]), persons)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, binascii.Error) as error:
        raise ConfigError(f"{origin}: is no gallery ({error}); delete it and enrol again") from None


def checked_name(name: str) -> str:
    """A person's name as it is kept: composed, without blanks around it.

    Raises:
        ConfigError: empty, too long, or with signs that cannot be printed.
    """
    plain = unicodedata.normalize("NFC", name).strip()
    if not plain or len(plain) > NAME_MAX or not plain.isprintable():
        raise ConfigError(f"{name!r}: a name has 1 to {NAME_MAX} printable letters")
    return plain
