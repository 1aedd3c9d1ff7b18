"""The training of a plate reader: photos of plates and many more that are drawn, each seen anew every time."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import ctc_loss, log_softmax

from build_tools import recipe as recipes
from build_tools.data.patch_light import LIGHT, relit
from build_tools.data.plate_drawing import draw
from build_tools.data.plate_glyphs import ALPHABET
from build_tools.data.plate_shuffle import Deck
from build_tools.data.plate_text import INPUT_WH, PlateCrop, is_held_out, read_plates
from build_tools.data.plate_views import varied
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.plates import CHARACTERS, plate_figures
from build_tools.nets.centre import NetConfig, parameter_count
from build_tools.nets.reader import STEP_PX, ReaderNet, Steps
from build_tools.training.export import Lessons
from build_tools.training.short_loop import as_input, learn
from edge_runtime.plates.reader import stretched
from edge_runtime.plates.reading import read_steps

PHOTO_STRENGTH = 0.7
"""How hard a photo is changed, over a drawn plate: it has seen a camera already."""
DRAWN = "drawn"


class ReaderTrainer:
    """Trains the recipe's plate reader in `out`; one verb: `run`.

    Args:
        recipe_path: of a recipe whose net.family is reader.
        out: folder.

    Raises:
        RecipeError: another alphabet or size, or more than a phase.
    """

    def __init__(self, recipe_path: Path, out: Path) -> None:
        self.recipe = r = recipes.load(recipe_path)
        self.digest = recipes.digest(recipe_path)  # now: the file may change or go while the training runs
        self.recipe_path, self.out = recipe_path, out
        if len(r.phases) != 1 or r.net.family != "reader" or r.size_wh != INPUT_WH:
            raise RecipeError(f"{recipe_path}: a reader needs one phase, net.family = reader and size_wh = {INPUT_WH}")
        if r.classes != tuple(ALPHABET):
            raise RecipeError(f"{recipe_path}: classes must be the characters {ALPHABET}, one by one")

    def run(self) -> Path:
        """Train; the path of the exported ONNX.

        Raises:
            DataError: data cannot be read, or there is too little of it.
        """
        started = time.process_time()
        r = self.recipe
        torch.set_num_threads(r.train.threads)
        torch.manual_seed(r.seed)
        plates, held, deck = self._plates()
        if len(plates) < r.train.batch or not held:
            raise DataError(f"{self.recipe_path}: {len(plates)} plates to learn from and {len(held)} held out: too few")
        net = ReaderNet(len(ALPHABET), NetConfig(r.net.stem, r.net.widths, r.net.depths, r.net.neck))
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(net).eval()
        photos = sum(p.source != DRAWN for p in plates)
        print(
            f"{r.name}: {parameter_count(net):,} parameters, {photos:,} photos (an epoch shows some often) and "
            f"{len(plates) - photos:,} drawn plates to learn from, {len(held)} held out",
            flush=True,
        )

        def lesson(rng: np.random.Generator, chosen: NDArray[np.intp]) -> Tensor:
            mine = [deck.dealt(rng, plates[i]) for i in chosen]
            seen = [varied(rng, p.bgr, INPUT_WH, 1.0 if p.source == DRAWN else PHOTO_STRENGTH) for p in mine]
            said = net(as_input(relit(rng, np.stack(seen), LIGHT)))
            return _reading_loss(said, [p.text for p in mine])

        def judged() -> float:
            deck.epoch_over(lambda seen: _likely(average, seen))
            return figures_of(average, held)["error"]

        history = learn(r, net, average, len(plates), lesson, judged, started)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "history.json").write_text(json.dumps({"epochs": history}, indent=1))
        for source in dict.fromkeys(p.source for p in held):
            print(source, figures_of(average, [p for p in held if p.source == source]), flush=True)
        seconds = time.process_time() - started
        lessons = Lessons(r, self.digest, self.recipe_path.parent, len(plates), len(held), seconds)
        return lessons.export(average, Steps(), "steps", STEP_PX, 1, self.out)

    def _plates(self) -> tuple[list[PlateCrop], list[PlateCrop], Deck]:
        """(to learn from, photos as often as the recipe says; held out; those that are shuffled)."""
        folder, share = self.recipe_path.parent, self.recipe.train.held_out
        learned: list[PlateCrop] = []
        held: list[PlateCrop] = []
        chances: list[tuple[PlateCrop, float]] = []
        for entry in self.recipe.data:
            if entry.drawn:
                rng = np.random.default_rng((self.recipe.seed, entry.drawn))
                learned += [PlateCrop(*draw(rng), DRAWN) for _ in range(entry.drawn)]
                continue
            for plate in read_plates(folder / entry.labels, folder / entry.images, "train", entry.plates):
                if is_held_out(plate, share):
                    held.append(plate)
                else:
                    learned += [plate] * entry.repeat
                    chances.append((plate, entry.shuffle))
        return learned, held, Deck(chances, self.recipe.phases[0].epochs)


@torch.no_grad()
def figures_of(net: torch.nn.Module, plates: list[PlateCrop]) -> dict[str, float]:
    """How well a network, in evaluation mode, reads plates; see `evaluation.plates`."""
    likely = _likely(net, np.stack([stretched(p.bgr, INPUT_WH) for p in plates]))
    return plate_figures([read_steps(one, CHARACTERS) for one in likely], plates)


@torch.no_grad()
def _likely(net: torch.nn.Module, seen: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities [n, steps, characters + 1] for plates as the reader sees them, [n, 48, 128, 3]."""
    return np.asarray(torch.softmax(net(as_input(seen)), 1)[:, :, 0].permute(0, 2, 1).numpy())


def _reading_loss(said: Tensor, texts: list[str]) -> Tensor:
    """Graves et al. 2006: the probability of all ways to write the text, summed."""
    steps = log_softmax(said[:, :, 0], 1).permute(2, 0, 1)
    wanted = torch.tensor([ALPHABET.index(c) for text in texts for c in text])
    lengths = torch.tensor([len(text) for text in texts])
    every = torch.full((len(texts),), len(steps))
    loss: Tensor = ctc_loss(steps, wanted, every, lengths, blank=len(ALPHABET), zero_infinity=True)
    return loss
