"""The faces in a recipe's packs, and those that its embedder learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from build_tools.data.aligned_faces import open_adapter
from build_tools.data.coco import digest
from build_tools.data.face_crops import FacePack, is_held_back
from build_tools.data.key_points import PointTeacher
from build_tools.data.upright_faces import UprightFaces, read_upright
from build_tools.errors import RecipeError
from build_tools.recipe import Recipe
from edge_runtime.identity.embedder import AdapterConfig


def packs_of(recipe: Recipe, folder: Path) -> list[FacePack]:
    """The recipe's packs of faces, paths relative to `folder`."""
    return [FacePack(folder / d.labels, folder / d.images, d.persons) for d in recipe.data]


class RecipeFaces:
    """The faces in a recipe's packs, turned upright as its embedder wants them.

    Args:
        recipe: with [[data]], one teacher of points, and embedding.adapter.
        folder: what its paths are relative to.

    Raises:
        RecipeError: no packs, not one teacher with points, or the adapter is missing or wrong.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        if not recipe.data or len(recipe.teachers) != 1 or recipe.teachers[0].decoder != "yunet":
            raise RecipeError(
                f"recipe {recipe.name}: faces to learn from need [[data]], and one of [[teachers]] with decoder yunet, "
                "which tells their points"
            )
        self._adapter = open_adapter(folder / recipe.embedding.adapter)
        self._recipe, self._folder = recipe, folder
        self._packs = packs_of(recipe, folder)

    @property
    def adapter(self) -> AdapterConfig:
        """How the embedder wants them."""
        return self._adapter

    def faces(
        self, share: float, cache: Path, progress: Callable[[int, int], None], *, held_back: bool
    ) -> UprightFaces:
        """Those to learn from, or the share that is only judged by; kept in `cache`, so that points are told once.

        Args:
            share: of the pictures, by a digest of their names, that is held back.
            cache: folder.
            progress: told how many pictures were looked at, and of how many.
            held_back: which of the two.

        Raises:
            DataError: a picture or pack cannot be read, or there is no face at all.
        """
        file = self.file(share, cache, held_back=held_back)
        if not file.is_file():
            entry, total = self._recipe.teachers[0], sum(len(p.pictures()) for p in self._packs)
            points, done = PointTeacher(self._folder / entry.model, entry.accept), count(1)
            made = read_upright(
                self._packs, points, np.array(self._adapter.template, np.float32), self._adapter.input_px,
                lambda name: is_held_back(name, share) == held_back, lambda _: progress(next(done), total),
            ).wide  # fmt: skip
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial.npy")
            np.save(partial, made)
            partial.replace(file)
        return UprightFaces(np.load(file), self._adapter.input_px)

    def file(self, share: float, cache: Path, *, held_back: bool) -> Path:
        """Where the faces are kept: another name for other data, another teacher or another split."""
        labels = digest([p.labels for p in self._packs])
        asked = (self._recipe.data, self._recipe.teachers, share, held_back, self._adapter, labels)
        return cache / f"upright-{hashlib.sha256(repr(asked).encode()).hexdigest()[:16]}.npy"
