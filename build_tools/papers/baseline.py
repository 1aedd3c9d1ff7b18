"""The uncompressed networks of the papers' table, trained plainly: gradient descent on digits as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from build_tools.data import mnist
from build_tools.model import Model, load_model, save_onnx
from build_tools.nets.from_onnx import OnnxModule
from build_tools.nets.lenet import lenet_5, lenet_300_100
from build_tools.passes.contract import Progress

Name = Literal["lenet300", "lenet5"]
MAKERS = {"lenet300": lenet_300_100, "lenet5": lenet_5}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Caffe's solver for LeNet, but that the rate falls along a cosine.

    Attributes:
        epochs: passes over the 55,000 training digits.
        rate: highest learning rate.
        momentum: of the gradient.
        decay: of the weights.
        batch: digits a step.
    """

    epochs: int
    rate: float = 0.02
    momentum: float = 0.9
    decay: float = 0.0005
    batch: int = 64


SCHEDULES: dict[Name, Schedule] = {"lenet300": Schedule(30, rate=0.05), "lenet5": Schedule(12)}


def train_baseline(name: Name, digits: Path, schedule: Schedule, seed: int, progress: Progress) -> Model:
    """A baseline after the last epoch; nothing is chosen by any error.

    Args:
        name: of the network.
        digits: MNIST's folder.
        schedule: how it is trained.
        seed: of its first weights and the order of digits.
        progress: told after each epoch.

    Raises:
        DataError: MNIST cannot be read.
    """
    images, labels = mnist.read(digits, "train")
    pixels = torch.from_numpy(images.astype(np.float32) / np.float32(255)).unsqueeze(1)
    truth = torch.from_numpy(labels)
    module = OnnxModule(MAKERS[name](np.random.default_rng(seed)))
    optimiser = torch.optim.SGD(
        module.parameters(), schedule.rate, momentum=schedule.momentum, weight_decay=schedule.decay, nesterov=True
    )
    steps = len(truth) // schedule.batch
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.epochs * steps)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(schedule.epochs):
        for chosen in torch.randperm(len(truth), generator=order)[: steps * schedule.batch].view(steps, -1):
            loss = functional.cross_entropy(module(pixels[chosen])["scores"], truth[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()
        progress(f"training {name}", epoch + 1, schedule.epochs)
    return module.to_model()


def baseline(name: Name, digits: Path, folder: Path, seed: int, progress: Progress, epochs: int = 0) -> Path:
    """The file of a baseline, which is trained unless it is there already.

    Args:
        name: of the network.
        digits: MNIST's folder.
        folder: where the file `NAME.onnx` lies or will lie.
        seed: see `train_baseline`.
        progress: told after each epoch.
        epochs: in place of the schedule's; 0: as published.
    """
    path = folder / f"{name}.onnx"
    if path.is_file():
        load_model(path)
        return path
    schedule = SCHEDULES[name]
    if epochs:
        schedule = Schedule(epochs, rate=schedule.rate)
    save_onnx(train_baseline(name, digits, schedule, seed, progress), path)
    return path
