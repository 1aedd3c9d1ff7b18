"""Trains the model in the making further: with labels or a teacher, holding what earlier passes made, or making more.

This file holds the settings and the pass; the training itself, which needs torch, is `training.fine_tune`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from build_tools.data.distortion import Distortion
from build_tools.errors import PassError
from build_tools.graph import Graph, node_name
from build_tools.model import Model
from build_tools.passes.contract import Change, Context
from build_tools.training.constraints import Distillation, During
from edge_runtime.settings import setting

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Train:
    """Training of any ONNX model whose operators are differentiable (see `nets.operators`)."""

    KIND: ClassVar[str] = "train"

    data: Literal["mnist", "unlabelled", "faces"] = setting(
        "unlabelled",
        "mnist: digits with labels | unlabelled: pictures or the recipe's calibration data, and a teacher | faces: of "
        "the recipe's packs, upright; the teacher sees them clearly, the student a poorer picture",
    )
    path: str = setting(
        "", "folder of MNIST's files, folder of pictures, or COCO-form JSON; relative to the recipe; empty: calibration"
    )
    images: str = setting("", "COCO-form JSON: folder its file names are relative to")
    limit: int = setting(0, "at most so many samples to train on (and digits to judge by); 0: all", low=0)
    held_out: float = setting(
        0.05, "without labels: share of the samples that judge which epoch is best", low=0, high=0.5
    )
    epochs: int = setting(5, "passes over the data", low=1)
    steps: int = setting(0, "steps in all, in place of `epochs`; 0: by epochs", low=0)
    batch: int = setting(32, "samples a step", low=1)
    optimizer: Literal["adamw", "sgd"] = setting("adamw", "sgd: with Nesterov momentum of 0.9")
    rate: float = setting(0.001, "highest learning rate", low=0)
    warmup: float = setting(0.05, "share of the training in which the rate rises; it falls in a cosine", high=1, low=0)
    decay: float = setting(0.0001, "weight decay of layers' weights", low=0)
    average: float = setting(0.99, "decay of the running average of weights that is kept; 0: the last", low=0, high=1)
    smoothing: float = setting(0.0, "label smoothing", low=0, high=1)
    augment: float = setting(1.0, "how hard pictures are changed (zoom, mirror, light, noise); 0: not", low=0, high=1)
    distort: Distortion = field(default_factory=Distortion)
    hold_zeros: bool = setting(True, "weights of layers that are zero stay zero")
    hold_grids: bool = setting(True, "weights stay on their grids: codebooks move their values, levels are rounded to")
    threads: int = setting(1, "CPU threads", low=1)
    during: During = field(default_factory=During)
    distill: Distillation = field(default_factory=Distillation)

    def __post_init__(self) -> None:
        """Settle what settings say together, while the recipe is read: passes before this one may take hours."""
        if self.data == "mnist" and not self.path:
            raise PassError("train.path is missing: data = mnist needs the folder of MNIST's four files")
        if self.data != "mnist" and self.distill.weight <= 0:  # there is nothing but the teacher to learn from
            object.__setattr__(self, "distill", replace(self.distill, weight=1.0))

    def requires(self, model: Model, context: Context) -> None:
        """Refuse what cannot be trained, before any data is read."""
        # torch takes seconds to import: only a recipe that trains pays for it
        from build_tools.nets.from_onnx import OnnxModule

        if not OnnxModule(model).parameter_of:
            raise PassError("train: the model has no floating-point weights to train; train before it is quantised")
        graph = Graph(model.proto)
        for index, node in enumerate(graph.nodes):
            weight = node.input[1] if node.op_type in LAYERS and len(node.input) > 1 else ""
            if weight in graph.constants and weight not in graph.initialisers:
                raise PassError(
                    f"train: the weight of node {node_name(node, index)} is a Constant node, which is not trained; "
                    "put a doctor pass before"
                )
        if self.data == "faces" and (context.faces is None or len(model.proto.graph.input) != 1):
            raise PassError(
                'train: data = "faces" needs an embedder of one input, and in the recipe [[data]], one of [[teachers]] '
                "with decoder yunet, and embedding.adapter"
            )
        if self.data == "unlabelled" and not self.path and context.calibration is None:
            raise PassError("train: no data: give train.path a folder of pictures, or the recipe a [calibration]")
        for key, path in (("path", self.path), ("distill.teacher", self.distill.teacher)):
            if path and not (context.folder / path).exists():
                raise PassError(f"train.{key} = {path}: not found beside the recipe, in {context.folder}")

    def run(self, model: Model, context: Context) -> Change:
        """Train; the epoch that is best on held-out data, settled on its grids."""
        from build_tools.training.fine_tune import FineTune

        return FineTune(model, self, context).run()

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Shapes are kept, values are finite, and what was to stay zero is zero."""
        names = set(change.model.weight_names())
        for name in before.weight_names():
            if name not in names:
                raise PassError(f"train: weight {name} was lost")
            old, new = before.weight(name), change.model.weight(name)
            if old.shape != new.shape or old.dtype != new.dtype:
                raise PassError(f"train: {name} was {old.dtype}{old.shape} and is {new.dtype}{new.shape}")
            if np.issubdtype(new.dtype, np.floating) and not np.isfinite(new).all():
                raise PassError(f"train: {name} is no longer finite; lower train.rate")
            if self.hold_zeros and name in change.layers and np.any(new[old == 0]):
                raise PassError(f"train: weights of {name} that were zero came back")
