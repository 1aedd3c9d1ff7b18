"""The training of a face embedder: what a larger one says of a face, from a poorer picture of it."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from build_tools import recipe as recipes
from build_tools.data.aligned_faces import open_adapter
from build_tools.data.coco import digest
from build_tools.data.face_crops import is_held_back
from build_tools.data.key_points import PointTeacher
from build_tools.data.upright_faces import UprightFaces, poorer, read_upright
from build_tools.errors import DataError, ModelError, RecipeError
from build_tools.evaluation.identity import embeddings
from build_tools.nets.centre import NetConfig, parameter_count
from build_tools.nets.embedder import STRIDE, EmbedderNet, Embedding, distance
from build_tools.report.plots import distance_curves
from build_tools.training.checkpoint import Checkpoint
from build_tools.training.export import Lessons
from build_tools.training.points_trainer import packs_of
from build_tools.training.short_loop import as_input, learn
from edge_runtime.identity.embedder import AdapterConfig

F32 = NDArray[np.float32]


class EmbedderTrainer:
    """Trains the recipe's face embedder in `out`; one verb: `run`.

    Args:
        recipe_path: of a recipe whose net.family is embedder.
        out: folder.
        resume: go on after the last finished epoch in `out`.

    Raises:
        RecipeError: a side that is no multiple of 32, more than a phase, not one teacher of points, no embedder to
            learn from, or one whose embeddings are of another length.
        DataError: a training is in `out` already.
    """

    def __init__(self, recipe_path: Path, out: Path, resume: bool) -> None:
        self.recipe = r = recipes.load(recipe_path)
        self.digest = recipes.digest(recipe_path)  # now: the file may change or go while the training runs
        self.recipe_path, self.out, self.folder = recipe_path, out, recipe_path.parent
        self._view = 0
        self.checkpoint = Checkpoint(out / f"checkpoint-{self.digest[:16]}.pt")
        w, h = r.size_wh
        if len(r.phases) != 1 or r.net.family != "embedder" or w != h or w % STRIDE:
            raise RecipeError(
                f"{recipe_path}: an embedder needs one phase, net.family = embedder and a square size_wh, its side a "
                f"multiple of {STRIDE}"
            )
        if len(r.teachers) != 1 or r.teachers[0].decoder != "yunet" or not r.embedding.teacher:
            raise RecipeError(
                f"{recipe_path}: an embedder needs one of teachers with decoder yunet, for points, and "
                "embedding.teacher, which it learns from"
            )
        if any(out.glob("checkpoint-*.pt")) and not resume:
            raise DataError(f"{out}: a training is here already; add --resume, or give another --out")

    def run(self) -> Path:
        """Train; the path of the exported ONNX.

        Raises:
            DataError: data cannot be read, or there is too little of it.
            ModelError: the teacher is none.
        """
        started = time.process_time()
        r = self.recipe
        side, phase = r.size_wh[0], r.phases[0]
        torch.set_num_threads(r.train.threads)
        torch.manual_seed(r.seed)
        faces, held = (self._faces(held_back=back) for back in (False, True))
        if len(faces) < r.train.batch:
            raise DataError(f"{self.recipe_path}: {len(faces)} faces to learn from are fewer than train.batch")
        teacher = _Teacher(self.folder / r.embedding.teacher, self.folder / r.embedding.teacher_adapter)
        net = EmbedderNet(side, NetConfig(r.net.stem, r.net.widths, r.net.depths, r.net.neck))
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(net).eval()
        seen = as_input(poorer(np.random.default_rng(r.seed), held.plain(), side))
        truth = torch.from_numpy(teacher(held.plain()))
        if truth.shape[1] != r.net.neck:
            raise RecipeError(f"{self.recipe_path}: net.neck = {r.net.neck}: the teacher says {truth.shape[1]} numbers")
        print(
            f"{r.name}: {parameter_count(net):,} parameters, {len(faces):,} faces to learn from, {len(held):,} held "
            f"back, cpu_s {time.process_time() - started:.0f}",
            flush=True,
        )
        wanted: list[F32] = []

        def at_epoch(epoch: int) -> None:
            view = epoch % phase.views if phase.views else epoch
            wanted[:] = [self._answers(faces, teacher, view)]
            self._view = view

        def lesson(rng: np.random.Generator, chosen: NDArray[np.intp]) -> Tensor:
            views = np.stack([self._look(faces, self._view, i) for i in chosen.tolist()])
            return distance(net(as_input(poorer(rng, views, side))), torch.from_numpy(wanted[0][chosen]))

        @torch.no_grad()
        def held_out() -> float:
            said = torch.cat([average(seen[i : i + 256]) for i in range(0, len(seen), 256)])
            return float(distance(said, truth))

        history = learn(
            r, net, average, len(faces), lesson, held_out, started, at_epoch=at_epoch, checkpoint=self.checkpoint
        )  # fmt: skip
        (self.out / "history.json").write_text(json.dumps({"epochs": history}, indent=1))
        distance_curves(history, self.out / "curves.png", r.name)
        seconds = time.process_time() - started
        lessons = Lessons(r, self.digest, self.folder, len(faces), len(held), seconds)
        return lessons.export(average, Embedding(), "embedding", STRIDE, side, self.out)

    def _look(self, faces: UprightFaces, view: int, index: int) -> NDArray[np.uint8]:
        """A face as it is in one of the views, always the same."""
        return faces.view(np.random.default_rng((self.recipe.seed, view, index)), index)

    def _answers(self, faces: UprightFaces, teacher: Callable[[NDArray[np.uint8]], F32], view: int) -> F32:
        """What the teacher says of each face in a view, [n, d]; asked once."""

        def ask() -> F32:
            parts, quiet = [], not sys.stderr.isatty()
            for start in tqdm(
                range(0, len(faces), 64), desc=f"asking about view {view + 1}", unit="x64", disable=quiet
            ):
                mine = range(start, min(start + 64, len(faces)))
                parts.append(teacher(np.stack([self._look(faces, view, i) for i in mine])))
            return np.concatenate(parts)

        return np.asarray(_kept(self.out / f"answers-{self.digest[:16]}-{view}.npy", ask), np.float32)

    def _faces(self, *, held_back: bool) -> UprightFaces:
        """The faces to learn from, or those that are only reported on; kept, so that points are told once."""
        r = self.recipe
        adapter, packs = self._adapter(), packs_of(r, self.folder)

        def turn() -> NDArray[np.uint8]:
            teacher = PointTeacher(self.folder / r.teachers[0].model, r.teachers[0].accept)
            template, share = np.array(adapter.template, np.float32), r.train.held_back
            with tqdm(desc="turning faces upright", total=sum(len(p.pictures()) for p in packs), unit="picture") as bar:
                return read_upright(
                    packs, teacher, template, adapter.input_px,
                    lambda name: is_held_back(name, share) == held_back, bar.update,
                ).wide  # fmt: skip

        return UprightFaces(_kept(self.faces_file(held_back=held_back), turn), adapter.input_px)

    def faces_file(self, *, held_back: bool) -> Path:
        """Where the faces are kept: another name for other data, another teacher or another split."""
        r = self.recipe
        labels = digest([p.labels for p in packs_of(r, self.folder)])
        asked = (r.data, r.teachers, r.train.held_back, held_back, self._adapter(), labels)
        return self.out.parent / "teachers" / f"upright-{hashlib.sha256(repr(asked).encode()).hexdigest()[:16]}.npy"

    def _adapter(self) -> AdapterConfig:
        return open_adapter(self.folder / self.recipe.embedding.teacher_adapter)


def _kept(file: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array in `file`, made where there is none yet; the file is whole or absent."""
    if not file.is_file():
        made = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial.npy")
        np.save(partial, made)
        partial.replace(file)
    return np.asarray(np.load(file))


class _Teacher:
    """The embedder that is learned from; called with faces [n, side, side, 3] it gives its embeddings [n, d]."""

    def __init__(self, path: Path, adapter: Path) -> None:
        if not path.is_file():
            raise ModelError(f"{path}: no such embedder; check embedding.teacher in the recipe")
        self._proto, self._adapter = onnx.load(path), open_adapter(adapter)

    def __call__(self, faces: NDArray[np.uint8]) -> F32:
        return embeddings(self._proto, self._adapter, faces)
