"""All samples of a recipe: packs read, teachers asked, one split for ever."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from build_tools.data import coco, slots, teacher
from build_tools.data.coco import LABEL_ID, Sample
from build_tools.errors import DataError
from build_tools.recipe import Recipe, TeacherEntry


def gather(recipe: Recipe, folder: Path, cache: Path, around_slots: bool) -> tuple[list[Sample], list[Sample]]:
    """(train, validation) samples of the recipe in `folder`; what teachers say is kept in `cache`.

    With `around_slots`, parking frames are background where neither a slot nor a teacher's suspicion is.

    Raises:
        DataError: a pack or picture is missing, with the path to mend.
        ModelError: a teacher is missing.
    """
    samples: list[Sample] = []
    often: dict[str, int] = {}
    for pack in recipe.data:
        images = folder / pack.images
        if not images.is_dir():
            raise DataError(f"{images}: no such folder of pictures; check `data.images` in the recipe")
        if pack.slots:
            its = slots.read_slots(folder / pack.labels, images, pack.slots)
        else:
            its = coco.read_pack(folder / pack.labels, images)
        if pack.sources:
            its = [s for s in its if s.source in pack.sources]
        if not its:
            raise DataError(f"{folder / pack.labels}: no picture there; check `data.sources` in the recipe")
        samples += [replace(s, unknown=s.unknown - set(pack.absent)) for s in its]
        often |= {teacher.key(s): pack.repeat for s in its}
    nothing = np.zeros((0, 4), np.float32)
    suspicions: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for entry in recipe.teachers:
        config = teacher_config(entry)
        one = teacher.Teacher(config, folder)
        with tqdm(
            total=len(samples), desc=f"asking {one.path.stem}", unit="picture", disable=not sys.stderr.isatty()
        ) as bar:
            said = teacher.ask(one, samples, cache, bar.update)
        samples = [teacher.complete(s, said[teacher.key(s)], config) for s in samples]
        for name, (boxes, _, labels) in said.items():
            suspicions[name].append(boxes[labels != LABEL_ID["face"]])
    # Slots' frames have no label but their slots: far cars and passing ones have none.
    overhead = {entry.slots for entry in recipe.data if entry.slots}
    if around_slots:
        samples = [
            slots.clear_around(s, np.concatenate([nothing, *suspicions[teacher.key(s)]])) if s.source in overhead else s
            for s in samples
        ]
    for sample in [s for s in samples if s.source in overhead]:
        for _ in range(3):
            sample = coco.turned(sample)
            samples.append(sample)
    train, held = coco.split(samples, recipe.train.held_out)
    return [s for s in train for _ in range(often[teacher.key(s)])], held


def teacher_config(entry: TeacherEntry) -> teacher.TeacherConfig:
    """The teacher as the recipe names it."""
    return teacher.TeacherConfig(entry.model, entry.decoder, entry.size_wh, entry.labels, entry.accept, entry.doubt)


def fingerprint(recipe: Recipe, folder: Path) -> str:
    """sha256 over the packs' label files and the teachers' weights."""
    files = [folder / d.labels for d in recipe.data] + [folder / t.model for t in recipe.teachers]
    return coco.digest(files)
