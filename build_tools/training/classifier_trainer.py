"""The training loop of patch classifiers: minutes on one core, seeded, the running average of weights is kept."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from build_tools import recipe as recipes
from build_tools.data.patch_light import relit
from build_tools.data.slot_patches import SlotFrame, plain_patches, read_frames, split, varied, wide_patches
from build_tools.errors import DataError, RecipeError
from build_tools.nets.centre import NetConfig, parameter_count
from build_tools.nets.patch import STRIDE, PatchNet, Presence
from build_tools.training.export import Lessons
from build_tools.training.short_loop import learn

SURE = 0.98
"""What is taught as certain: a few labels are wrong."""
Patches = tuple[NDArray[np.uint8], NDArray[np.bool_]]


class ClassifierTrainer:
    """Trains the recipe's classifier in `out`; one verb: `run`."""

    def __init__(self, recipe_path: Path, out: Path) -> None:
        self.recipe = recipes.load(recipe_path)
        self.digest = recipes.digest(recipe_path)  # now: the file may change or go while the training runs
        self.recipe_path, self.out = recipe_path, out
        if len(self.recipe.phases) != 1 or self.recipe.net.family != "patch":
            raise RecipeError(f"{recipe_path}: a classifier has one phase, and net.family = patch")
        if self.recipe.size_wh != (STRIDE, STRIDE):
            raise RecipeError(f"{recipe_path}: size_wh must be [{STRIDE}, {STRIDE}], as slots are cut")

    def run(self) -> Path:
        """Train; the path of the exported ONNX.

        Raises:
            DataError: data cannot be read, or there is too little of it.
        """
        started = time.process_time()
        r, train = self.recipe, self.recipe.train
        torch.set_num_threads(train.threads)
        torch.manual_seed(r.seed)
        train_on, choose, report = split(self._frames(), train.held_back, train.held_out)
        wide, held = wide_patches(train_on), plain_patches(choose)
        if len(wide[1]) < train.batch:
            raise DataError(f"{self.recipe_path}: {len(wide[1])} slots to learn from are fewer than train.batch")
        net = r.net
        self.net = PatchNet(NetConfig(net.stem, net.widths, net.depths, net.neck))
        self.average = copy.deepcopy(self.net).eval()
        print(
            f"{r.name}: {parameter_count(self.net):,} parameters, {len(wide[1]):,} slots of {len(train_on)} frames to "
            f"learn from, {len(held[1]):,} of {len(choose)} to choose by, {len(report)} frames held back",
            flush=True,
        )
        history = self._epochs(wide, held, started)
        found = {f.path.name: round(accuracy(self.average, plain_patches([f])), 4) for f in report}
        held_back = accuracy(self.average, plain_patches(report))
        print(f"held back: accuracy {held_back:.4f}", flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "history.json").write_text(json.dumps({"epochs": history, "held_back": found}, indent=1))
        seconds = time.process_time() - started
        lessons = Lessons(r, self.digest, self.recipe_path.parent, len(train_on), len(choose), seconds)
        return lessons.export(self.average, Presence(), "probability", STRIDE, STRIDE, self.out)

    def _frames(self) -> list[SlotFrame]:
        folder = self.recipe_path.parent
        return [f for d in self.recipe.data for f in read_frames(folder / d.labels, folder / d.images, d.slots)]

    def _epochs(self, wide: Patches, held: Patches, started: float) -> list[dict[str, float]]:
        def lesson(rng: np.random.Generator, chosen: NDArray[np.intp]) -> torch.Tensor:
            wanted = torch.from_numpy(np.where(wide[1][chosen], SURE, 1 - SURE).astype(np.float32))
            said = self.net(_tensor(relit(rng, varied(rng, wide[0][chosen])))).flatten()
            return binary_cross_entropy_with_logits(said, wanted)

        return learn(
            self.recipe, self.net, self.average, len(wide[1]), lesson, lambda: accuracy(self.average, held), started
        )


@torch.no_grad()
def accuracy(net: torch.nn.Module, patches: Patches) -> float:
    """Share of slots that the network, in evaluation mode, sees as they are labelled."""
    said = net(_tensor(patches[0])).flatten().numpy() > 0
    return float((said == patches[1]).mean())


def _tensor(patches: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(patches.transpose(0, 3, 1, 2))).float()
