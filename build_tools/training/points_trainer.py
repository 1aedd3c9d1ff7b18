"""The training of a landmark head: YuNet's points, on crops that are moved, turned, made small and lit anew."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from build_tools import recipe as recipes
from build_tools.data.coco import digest
from build_tools.data.face_crops import CROP_PX, FaceCrops, is_held_back, plain, read_faces, varied
from build_tools.data.key_points import PointTeacher
from build_tools.data.patch_light import relit
from build_tools.data.recipe_faces import packs_of
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.points import point_errors
from build_tools.nets.centre import NetConfig, parameter_count
from build_tools.nets.points import Fractions, PointsNet, nearest_cells
from build_tools.recipe import Recipe
from build_tools.training.export import Lessons
from build_tools.training.short_loop import as_input, learn
from edge_runtime.identity.landmarks import NAMES

SOFT = 1e-6
"""Added to squared distances (fractions of the crop), so that their root has a slope at zero."""
SURE_WEIGHT = 0.02
"""Of the cross-entropy that makes the cells around a point sure of it, beside the distance: without it, 250 steps
taught nothing."""


class PointsTrainer:
    """Trains the recipe's landmark head in `out`; one verb: `run`.

    Args:
        recipe_path: of a recipe whose net.family is points.
        out: folder.

    Raises:
        RecipeError: not the points of `identity.landmarks`, another size, more than a phase, or not one teacher.
    """

    def __init__(self, recipe_path: Path, out: Path) -> None:
        self.recipe = r = recipes.load(recipe_path)
        self.digest = recipes.digest(recipe_path)  # now: the file may change or go while the training runs
        self.recipe_path, self.out = recipe_path, out
        if len(r.phases) != 1 or r.net.family != "points" or r.size_wh != (CROP_PX, CROP_PX):
            raise RecipeError(
                f"{recipe_path}: landmarks need one phase, net.family = points and size_wh = [{CROP_PX}, {CROP_PX}]"
            )
        if r.classes != NAMES:
            raise RecipeError(f"{recipe_path}: classes must be {', '.join(NAMES)}, as the node has them")

    def run(self) -> Path:
        """Train; the path of the exported ONNX.

        Raises:
            DataError: data cannot be read, or there is too little of it.
        """
        started = time.process_time()
        r = self.recipe
        torch.set_num_threads(r.train.threads)
        torch.manual_seed(r.seed)
        cache = self.out.parent / "teachers"
        crops, held = (faces_of(r, self.recipe_path.parent, cache, held_back=back) for back in (False, True))
        if len(crops) < r.train.batch:
            raise DataError(f"{self.recipe_path}: {len(crops)} faces to learn from are fewer than train.batch")
        net = PointsNet(len(NAMES), NetConfig(r.net.stem, r.net.widths, r.net.depths, r.net.neck))
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(net).eval()
        print(
            f"{r.name}: {parameter_count(net):,} parameters, {len(crops):,} faces to learn from, {len(held):,} held "
            f"back, cpu_s {time.process_time() - started:.0f}",
            flush=True,
        )

        def lesson(rng: np.random.Generator, chosen: NDArray[np.intp]) -> Tensor:
            seen, points = varied(rng, crops, chosen)
            wanted = torch.from_numpy(points)
            said, sure = net.told(as_input(relit(rng, seen)))
            away = torch.sqrt((said.reshape(wanted.shape) - wanted).square().sum(2) + SOFT).mean()
            return away - SURE_WEIGHT * (nearest_cells(wanted) * torch.log_softmax(sure, 2)).sum(2).mean()

        def held_out() -> float:
            seen, points = plain(held)
            return float(point_errors(_said(average, seen), points).mean())

        history = learn(r, net, average, len(crops), lesson, held_out, started)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "history.json").write_text(json.dumps({"epochs": history}, indent=1))
        seconds = time.process_time() - started
        lessons = Lessons(r, self.digest, self.recipe_path.parent, len(crops), len(held), seconds)
        return lessons.export(average, Fractions(), "points", CROP_PX, CROP_PX, self.out)


def faces_of(recipe: Recipe, folder: Path, cache: Path | None = None, *, held_back: bool) -> FaceCrops:
    """The recipe's faces to learn from, or those that are only reported on.

    Args:
        recipe: of landmarks.
        folder: what its paths are relative to.
        cache: folder where the faces are kept, so that the teacher is asked once.
        held_back: which of the two.

    Raises:
        RecipeError: the recipe names not just one teacher with points.
        DataError: see `read_faces`.
    """
    if len(recipe.teachers) != 1 or recipe.teachers[0].decoder != "yunet":
        raise RecipeError(f"recipe {recipe.name}: landmarks are learned from one teacher with decoder yunet")
    file = None if cache is None else faces_file(recipe, folder, cache, held_back=held_back)
    if file is not None and file.is_file():
        with np.load(file) as kept:
            return FaceCrops(kept["wide"], kept["points"], kept["px"])
    (entry,) = recipe.teachers
    teacher = PointTeacher(folder / entry.model, entry.accept)
    faces = read_faces(
        packs_of(recipe, folder), teacher, lambda name: is_held_back(name, recipe.train.held_back) == held_back
    )
    if file is not None:
        keep_faces(file, faces)
    return faces


def faces_file(recipe: Recipe, folder: Path, cache: Path, *, held_back: bool) -> Path:
    """Where `faces_of` keeps the faces: another name for other data, another teacher or another split."""
    labels = digest([pack.labels for pack in packs_of(recipe, folder)])
    asked = (recipe.data, recipe.teachers, recipe.train.held_back, held_back, labels)
    return cache / f"faces-{hashlib.sha256(repr(asked).encode()).hexdigest()[:16]}.npz"


def keep_faces(file: Path, faces: FaceCrops) -> None:
    """Keep faces in `file`, which is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, wide=faces.wide, points=faces.points, px=faces.px)
    partial.replace(file)


@torch.no_grad()
def _said(net: torch.nn.Module, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [net(as_input(crops[i : i + 256])).numpy() for i in range(0, len(crops), 256)]
    return np.asarray(np.concatenate(parts).reshape(len(crops), -1, 2), np.float32)
