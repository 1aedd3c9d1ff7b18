"""The recipe of a model: what it is, what it learns from and for how long, and how it is made small.

One file serves `edge-build train` (data, net, phases, ...) and `edge-build compress` (passes, evaluation, ...).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from build_tools.data.augment import Classes, Strength
from build_tools.data.coco import LABEL_ID, LABELS
from build_tools.data.pictures import InputEntry
from build_tools.errors import RecipeError
from build_tools.passes.registry import Step, build_steps
from build_tools.training.constraints import During
from edge_runtime import settings
from edge_runtime.settings import setting


@dataclass(frozen=True, slots=True)
class DataEntry:
    """A pack of labelled pictures, paths relative to the recipe."""

    labels: str = setting("", "COCO-form JSON, or slots JSON")
    images: str = setting("", "folder its file names are relative to")
    slots: str = setting("", "source of parking frames to read from a slots JSON; empty: COCO form")
    plates: str = setting("", "source of a plate-text pack to read (a list with texts, its train split)")
    shuffle: float = setting(0.0, "chance that a plate's characters change places, once it is read", low=0, high=1)
    drawn: int = setting(0, "plates that are drawn, in place of a pack", low=0)
    persons: str = setting("", "part of an identity pack (a folder a person and split.json) to read; empty: COCO form")
    sources: tuple[str, ...] = setting((), "COCO form: only pictures of these sources; empty: all")
    absent: tuple[str, ...] = setting((), "labels that its pictures do not show, though the pack does not say so")
    repeat: int = setting(1, "times an epoch shows its pictures", low=1, high=16)


@dataclass(frozen=True, slots=True)
class TeacherEntry:
    """A detector by others that fills in labels."""

    model: str = setting("", "ONNX file, relative to the recipe")
    decoder: Literal["yunet", "yolox"] = setting("yolox", "how its outputs are read")
    size_wh: tuple[int, int] = setting((416, 416), "pictures are fitted into this for it", low=32)
    labels: tuple[str, ...] = setting((), "labels it is asked for")
    accept: float = setting(0.5, "from this score on it is believed", low=0, high=1)
    doubt: float = setting(0.2, "between this and `accept` the place is ignored", low=0, high=1)
    dense: bool = setting(False, "net.family pyramid: its answer at every cell of a training picture is learned, too")
    closer: bool = setting(False, "dense: it sees training pictures twice as large as the network does")


@dataclass(frozen=True, slots=True)
class NetEntry:
    """The network: its family, widths and depths."""

    family: Literal["centre", "pyramid", "patch", "points", "reader"] = setting(
        "centre",
        "centre: heat maps at stride 8 | pyramid: scores and boxes at strides 8, 16 and 32 | patch: one probability | "
        "points: of a crop | reader: a line of characters",
    )
    stem: int = setting(16, "channels at stride 2", low=1)
    widths: tuple[int, int, int, int] = setting((32, 64, 64, 96), "channels at strides 4, 8, 16, 32", low=1)
    depths: tuple[int, int, int, int] = setting((1, 2, 2, 1), "blocks there", low=0)
    neck: int = setting(64, "channels where the levels meet", low=1)


@dataclass(frozen=True, slots=True)
class TrainEntry:
    """The loop."""

    view: Literal["picture", "crop"] = setting("picture", "picture: whole pictures | crop: windows around objects")
    attention: str = setting("", "view crop: network that says where to look, relative to the recipe")
    sizes_wh: tuple[tuple[int, int], ...] = setting(((320, 256),), "canvas sizes, drawn per batch", low=32)
    batch: int = setting(32, "pictures a step", low=1)
    decay: float = setting(0.0005, "weight decay", low=0)
    warmup: int = setting(300, "steps of warm-up", low=1)
    average: float = setting(0.999, "decay of the running average of weights that is kept", low=0, high=1)
    box_weight: float = setting(3.0, "weight of the box loss beside the heat loss", low=0)
    held_out: float = setting(0.06, "share of the pictures kept for validation", low=0, high=0.5)
    held_back: float = setting(
        0.0, "classifier, landmarks: share of the frames that is only reported on", low=0, high=0.5
    )
    validate_every: int = setting(4, "epochs between two validations", low=1)
    threads: int = setting(1, "CPU threads", low=1)
    bfloat16: bool = setting(
        False,
        "detectors: steps in bfloat16, a third faster where the processor has AMX or AVX512-BF16; slower elsewhere",
    )
    workers: int = setting(1, "processes that prepare pictures", low=0)


@dataclass(frozen=True, slots=True)
class PhaseEntry:
    """A stretch of training with its own learning rate, from warm-up to the end of a cosine."""

    epochs: int = setting(40, "passes over the data", low=1)
    rate: float = setting(0.002, "highest learning rate (cosine after a warm-up)", low=0)
    optimiser: Literal["adamw", "muon"] = setting("adamw", "muon: learns more from each picture, for 7 % more time")
    background: float = setting(0.15, "share of crops cut around no object", low=0, high=1)
    looks: float = setting(
        0.0, "share of crops cut where train.attention looks, as the runtime would; most show nothing", low=0, high=1
    )
    sizes_wh: tuple[tuple[int, int], ...] = setting(
        (), "its canvas sizes; small ones at first save most of the time; empty: train.sizes_wh", low=32
    )
    view: Literal["", "picture", "crop"] = setting("", "its view; empty: train.view")
    calm: bool = setting(False, "no mosaic and little zoom: pictures as the node will see them")
    views: int = setting(
        0,
        "after so many epochs the same views come again in another light, and what dense teachers answered to them is "
        "remembered; 0: new views in each epoch",
        low=0,
    )
    around_slots: bool = setting(False, "parking frames: what no slot and no teacher suspects is background")
    depths: tuple[int, ...] = setting((), "net.depths from this phase on: blocks are added; empty: as before", low=0)


@dataclass(frozen=True, slots=True)
class EvaluationEntry:
    """What accuracy is measured on, before the first pass and after each."""

    kind: Literal["agreement", "mnist", "coco", "slots", "points", "identity", "plates", "none"] = setting(
        "agreement",
        "agreement: outputs against the input model's on calibration data, no labels | mnist | coco | slots | "
        "points: on faces the training holds back | identity: persons of a pack's train part | plates: of a "
        "plate-text pack's | none",
    )
    data: str = setting(
        "", "MNIST folder, COCO-form JSON, slots or plates JSON, or identity folder; relative to the recipe"
    )
    images: str = setting("", "coco, slots, plates: folder its file names are relative to")
    decoder: Literal["centre", "yunet", "ultraface", "yolox"] = setting("centre", "coco: how outputs are read")
    metric: str = setting("", "main figure: error, ap8, ap50 ...; empty: the kind's own")
    split: Literal["validation", "test"] = setting("validation", "mnist: the last 5,000 training digits | test")
    sources: tuple[str, ...] = setting((), "coco: only pictures of these sources; empty: all")
    held_out: float = setting(
        0.0,
        "coco, identity, plates: only the share of pictures or persons that a training with this held_out never sees; "
        "0: all",
        low=0,
        high=1,
    )
    limit: int = setting(0, "at most so many pictures, or persons; 0: all", low=0)


@dataclass(frozen=True, slots=True)
class EmbeddingEntry:
    """How faces come to an embedder: their points, by a landmark head, are moved to its template."""

    adapter: str = setting("", "TOML that says how it wants its faces, as the node reads it; relative to the recipe")
    landmarks: str = setting(
        "face_landmarks.edge", "landmark head, or YuNet's ONNX in its place, relative to the recipe"
    )


@dataclass(frozen=True, slots=True)
class CalibrationEntry:
    """Unlabelled inputs that passes run the model on."""

    kind: Literal["none", "random", "images", "coco", "npz", "mnist", "faces"] = setting(
        "none",
        "images: a folder | coco: a pack's pictures | npz: arrays named as the inputs | mnist | random: noise | "
        "faces: aligned, of a pack",
    )
    path: str = setting("", "folder, COCO-form JSON or file, relative to the recipe")
    images: str = setting("", "coco, faces: folder its file names are relative to")
    count: int = setting(128, "samples, drawn by the recipe's seed", low=1)
    batch: int = setting(8, "samples a run, where the model leaves that free", low=1)


@dataclass(frozen=True, slots=True)
class BudgetEntry:
    """What a pass may cost and what the result must reach."""

    bytes: int = setting(0, "the bundle must not be larger; 0: no limit", low=0)
    loss: float = setting(0.01, "relative accuracy that may be lost against the input; beyond, a pass is undone", low=0)
    latency: float = setting(1.05, "time against the input's; beyond, a pass is undone; 0: not timed", low=0)


@dataclass(frozen=True, slots=True)
class CodingEntry:
    """How weights are coded in the bundle; always without loss."""

    coder: Literal["smallest", "raw", "huffman", "rans", "adaptive"] = setting(
        "smallest", "smallest: the best for each tensor | adaptive: context models, smallest and slow (under 1 MB)"
    )
    half: bool = setting(True, "round what no pass put on a grid (biases, scales) to 16 bits")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe."""

    name: str = setting("", "name of the model")
    task: Literal["attention", "detector", "classifier", "landmarks", "embedder", "reader"] = setting(
        "attention", "what the runtime uses it for"
    )
    classes: tuple[str, ...] = setting((), "classes in the order of the network's outputs")
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # labels that make up a class of another name
    size_wh: tuple[int, int] = setting((320, 240), "input size it is measured at", low=32)
    seed: int = setting(1, "seed of everything random")
    data: tuple[DataEntry, ...] = setting((), "packs")
    teachers: tuple[TeacherEntry, ...] = setting((), "teachers")
    net: NetEntry = field(default_factory=NetEntry)
    train: TrainEntry = field(default_factory=TrainEntry)
    phases: tuple[PhaseEntry, ...] = (PhaseEntry(),)
    augment: Strength = field(default_factory=Strength)
    during: During = field(default_factory=During)
    input: InputEntry = field(default_factory=InputEntry)
    embedding: EmbeddingEntry = field(default_factory=EmbeddingEntry)
    evaluation: EvaluationEntry = field(default_factory=EvaluationEntry)
    calibration: CalibrationEntry = field(default_factory=CalibrationEntry)
    budget: BudgetEntry = field(default_factory=BudgetEntry)
    coding: CodingEntry = field(default_factory=CodingEntry)
    passes: tuple[Step, ...] = ()

    def members(self) -> Classes:
        """The classes with the labels each is made of.

        Raises:
            RecipeError: a class that is neither a label nor a group of labels.
        """
        members = []
        for name in self.classes:
            labels = self.groups.get(name, (name,))
            unknown = [label for label in labels if label not in LABEL_ID]
            if unknown:
                raise RecipeError(f"recipe {self.name}: classes: {unknown[0]} is not one of {', '.join(LABELS)}")
            members.append(tuple(LABEL_ID[label] for label in labels))
        return Classes(self.classes, tuple(members))


def read(path: Path) -> Recipe:
    """The recipe at `path`, for whatever it is good for.

    Raises:
        RecipeError: unreadable file, unknown key, wrong type or value.
    """
    table = settings.read_toml(path, RecipeError)
    passes = table.pop("passes", [])
    if not isinstance(passes, list):
        raise RecipeError(f"{path}: passes must be a list of [[passes]] tables")
    recipe = settings.build(Recipe, table, str(path), RecipeError)
    return replace(recipe, passes=build_steps(passes, str(path)))


def load(path: Path) -> Recipe:
    """The recipe at `path`, for training.

    Raises:
        RecipeError: see `read`; no data, classes or phases, or canvas sizes that the network cannot take.
    """
    recipe = read(path)
    if recipe.task == "embedder":
        raise RecipeError(
            f'{path}: task = "embedder": an embedder is taken from elsewhere and not trained from nothing; '
            f"edge-build compress MODEL.onnx --recipe {path} --out {path.stem}.edge"
        )
    if not recipe.name or not recipe.classes or not recipe.data:
        raise RecipeError(f"{path}: name, classes and at least one [[data]] entry are needed")
    if not recipe.phases or not recipe.train.sizes_wh:
        raise RecipeError(f"{path}: phases and train.sizes_wh must not be empty; leave them out for the defaults")
    for entry in recipe.data:
        strange = sorted(set(entry.absent) - set(LABELS))
        if strange:
            raise RecipeError(f"{path}: data.absent: {strange[0]} is not one of {', '.join(LABELS)}")
    for phase in recipe.phases:
        where, sizes_wh = ("phases", phase.sizes_wh) if phase.sizes_wh else ("train", recipe.train.sizes_wh)
        crops = (phase.view or recipe.train.view) == "crop"
        if phase.looks and not (crops and recipe.train.attention):
            raise RecipeError(f'{path}: phases.looks needs view = "crop" and the network of train.attention')
        for w, h in sizes_wh:
            if w % 32 or h % 32 or (crops and w != h):
                raise RecipeError(
                    f"{path}: {where}.sizes_wh has {w}x{h}: must be multiples of 32, and square for crops"
                )
    if recipe.task not in ("classifier", "landmarks", "reader"):  # whose classes are no labels
        recipe.members()
    return recipe


def load_passes(path: Path) -> Recipe:
    """The recipe at `path`, for compressing.

    Raises:
        RecipeError: see `read`; no passes.
    """
    recipe = read(path)
    if not recipe.passes:
        raise RecipeError(f"{path}: no [[passes]]; `edge-build recipe --default` shows a sound recipe")
    return recipe


def digest(path: Path) -> str:
    """sha256 of the recipe's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
