"""The training loop of our networks: resumable, seeded, with a running average of weights that is what we keep."""

from __future__ import annotations

import copy
import json
import math
import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from build_tools import recipe as recipes
from build_tools.data.dataset import Tickets, TrainingPictures, balance
from build_tools.data.gather import fingerprint, gather, teacher_config
from build_tools.data.glances import Glances
from build_tools.data.target_memory import TargetMemory
from build_tools.data.teacher import Teacher
from build_tools.errors import DataError
from build_tools.nets.centre import NetConfig, Trunk, parameter_count
from build_tools.recipe import PhaseEntry
from build_tools.report.plots import curves
from build_tools.training import growth, half_floats
from build_tools.training.averaging import follow
from build_tools.training.closer_teacher import CloserTeacher
from build_tools.training.constrained_net import ConstrainedNet, check, is_asked_for, settle_export
from build_tools.training.dense_targets import CellTeacher, DenseTargets
from build_tools.training.export import export_onnx, facts_of
from build_tools.training.muon import Muon, optimiser_for
from build_tools.training.task import CentreTask, PyramidTask, Task
from build_tools.training.validation import Validation

CALM_ZOOM = (0.85, 1.25)
"""Zoom of a calm phase, around the letterbox fit."""


class Trainer:
    """Trains the recipe's network in `out`; one verb: `run`."""

    def __init__(self, recipe_path: Path, out: Path, resume: bool) -> None:
        self.recipe = recipes.load(recipe_path)
        self.digest = recipes.digest(recipe_path)  # now: the file may change or go while the training runs
        self.recipe_path, self.out, self.folder = recipe_path, out, recipe_path.parent
        check(self.recipe.during, str(recipe_path))
        growth.check(self.recipe, str(recipe_path))
        self.classes = self.recipe.members()
        self.checkpoint, self.answers = out / "checkpoint.pt", out / "targets.sqlite"
        if self.checkpoint.is_file() and not resume:
            raise DataError(f"{self.checkpoint}: a training is here already; add --resume, or give another --out")
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.recipe.seed)
        torch.set_num_threads(self.recipe.train.threads)
        net = self.recipe.net
        self.task = self._task()
        config = NetConfig(net.stem, net.widths, net.depths, net.neck)
        self.net: Trunk = self.task.network(len(self.classes.names), config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        if self.recipe.train.bfloat16:
            half_floats.prepare(self.net)
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0
        self.seconds = 0.0
        self._interrupted: dict[str, Any] | None = None
        self.constrained: ConstrainedNet | None = None
        self._constraint_state: dict[str, Any] | None = None

    def run(self) -> Path:
        """Train to the last epoch; the path of the exported ONNX.

        Raises:
            DataError: data cannot be read.
        """
        self._restore()
        ends = np.cumsum([phase.epochs for phase in self.recipe.phases]).tolist()
        counts = (0, 0)
        for phase, end in zip(self.recipe.phases, ends, strict=True):
            if self.epoch < end or end == ends[-1]:
                counts = self._phase(phase, end)
        return self._export(*counts)

    def _task(self) -> Task:
        if self.recipe.net.family == "centre":
            return CentreTask()
        dense: list[CellTeacher] = []
        for entry in [t for t in self.recipe.teachers if t.dense]:
            teacher = Teacher(teacher_config(entry), self.folder, any_size=True)
            dense.append(CloserTeacher(teacher) if entry.closer else teacher)
        return PyramidTask(DenseTargets(dense, self.classes))

    def _phase(self, phase: PhaseEntry, end: int) -> tuple[int, int]:
        """Train until epoch `end`; how many pictures were trained on and held out."""
        t = self.recipe.train
        train, held = gather(self.recipe, self.folder, self.out.parent / "teachers", phase.around_slots)
        crops = (phase.view or t.view) == "crop"
        if len(train) < t.batch:
            raise DataError(
                f"{self.recipe_path}: {len(train)} pictures to train on are fewer than train.batch = {t.batch}; "
                "lower train.batch or add data"
            )
        seed, how = self.recipe.seed, self.recipe.augment
        if phase.calm:
            how = replace(how, mosaic=0.0, zoom_low=CALM_ZOOM[0], zoom_high=CALM_ZOOM[1])
        memory = TargetMemory(self.answers, f"until epoch {end}") if phase.views else None
        glances = Glances(self.folder / t.attention, self.recipe.size_wh[0]) if phase.looks else None
        pictures = TrainingPictures(
            train, self.classes, how, seed, self.task.targets, crops, phase.background, memory, glances, phase.looks
        )
        weights = balance(train, self.classes) if crops else None
        tickets = Tickets(
            len(train), t.batch, phase.sizes_wh or t.sizes_wh, seed, weights, phase.views, end - phase.epochs
        )
        kept = TrainingPictures(held, self.classes, self.recipe.augment, seed, self.task.targets, t.view == "crop")
        validation = Validation(kept, self.recipe.size_wh)
        if growth.grow(self.net, self.average, phase.depths, self.recipe.seed + end):
            print(f"{self.recipe.name}: the network grows to {list(phase.depths)} blocks", flush=True)
        self._constrain(len(tickets))
        optimiser = self._optimiser(phase)
        total, first = phase.epochs * len(tickets), (end - phase.epochs) * len(tickets)
        print(f"{self.recipe.name}: {parameter_count(self.net):,} parameters, {len(train):,} pictures to train on, "
              f"{len(held)} held out, {total:,} steps", flush=True)  # fmt: skip
        while self.epoch < end:
            started = time.monotonic()
            tickets.epoch = self.epoch
            loader: DataLoader[tuple[torch.Tensor, ...]] = DataLoader(
                pictures, batch_sampler=tickets, num_workers=t.workers
            )
            losses = np.zeros(2)
            for batch in tqdm(loader, desc=f"epoch {self.epoch + 1}/{end}", disable=not sys.stderr.isatty()):
                for group in optimiser.param_groups:
                    group["lr"] = phase.rate * self._warm_cosine(self.step - first, total)
                losses += self._learn(optimiser, batch)
            self.epoch += 1
            self.seconds += time.monotonic() - started
            row = {"epoch": self.epoch, "heat": float(losses[0]) / len(tickets), "box": float(losses[1]) / len(tickets)}
            if self.epoch % t.validate_every == 0 or self.epoch == end:
                net = self.average if self.constrained is None else self.constrained.settled(self.average)[0]
                row |= validation(net, self.task)
            self.history.append(row)
            self._save(optimiser, ended=self.epoch == end)
            print(" ".join(f"{k} {v:.3f}" for k, v in row.items()), f"seconds {self.seconds:.0f}", flush=True)
        return len(train), len(held)

    def _warm_cosine(self, step: int, total: int) -> float:
        """Share of the highest rate at a phase's step: up in a line, down in a cosine to a hundredth."""
        warmup = self.recipe.train.warmup
        if step < warmup:
            return (step + 1) / warmup
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))

    def _constrain(self, epoch_steps: int) -> None:
        """Put the recipe's constraints on the network, once, or as they were in an interrupted training."""
        if self.constrained is not None or not is_asked_for(self.recipe.during):
            return
        state = self._constraint_state
        steps = sum(p.epochs for p in self.recipe.phases) * epoch_steps if state is None else state["steps"]
        average = self.recipe.train.average
        self.constrained = ConstrainedNet(self.net, self.recipe.during, steps, epoch_steps, average)
        if state is not None:
            self.constrained.load_state_dict(state)

    def _optimiser(self, phase: PhaseEntry) -> torch.optim.Optimizer | Muon:
        """Fresh for a phase, or as it was when a phase was interrupted."""
        decay, plain = _parameter_groups(self.net)
        groups = [
            {"params": decay, "weight_decay": self.recipe.train.decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        if self.constrained is not None and self.constrained.extra:
            groups.append({"params": self.constrained.extra, "weight_decay": 0.0})
        optimiser = optimiser_for(phase, groups)
        if self._interrupted is not None:
            optimiser.load_state_dict(self._interrupted)
            self._interrupted = None
        return optimiser

    def _learn(self, optimiser: torch.optim.Optimizer | Muon, batch: list[torch.Tensor]) -> NDArray[np.float64]:
        """One step; the two losses."""
        bgr, *targets = batch
        self.net.train()
        inputs = bgr.float().contiguous(memory_format=torch.channels_last)
        constrained = self.constrained
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.train.bfloat16):
            outputs = self.net(inputs) if constrained is None else constrained(inputs, self.step)
        outputs = tuple(o.float() for o in outputs)
        score_loss, box_loss = self.task.losses(outputs, targets)
        loss = score_loss + self.recipe.train.box_weight * box_loss
        if constrained is not None:
            loss = loss + constrained.constraints.penalty()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        optimiser.step()
        if constrained is not None:
            constrained.constraints.after_step(self.step)
            constrained.average.update(self.step)
        self.step += 1
        # Young averages follow fast, or the first epochs' noise would linger.
        keep = min(self.recipe.train.average, (1 + self.step) / (10 + self.step))
        follow(self.average, self.net, keep)
        return np.array([float(score_loss.detach()), float(box_loss.detach())])

    def _save(self, optimiser: torch.optim.Optimizer | Muon, *, ended: bool) -> None:
        """Checkpoint, history and curves; the checkpoint is whole or absent."""
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(
            {
                "net": self.net.state_dict(), "average": self.average.state_dict(),
                "optimiser": None if ended else optimiser.state_dict(),
                "epoch": self.epoch, "step": self.step, "seconds": self.seconds, "history": self.history,
                "recipe": self.digest,
                "constraints": None if self.constrained is None else self.constrained.state_dict(),
            },
            partial,
        )  # fmt: skip
        partial.replace(self.checkpoint)
        (self.out / "history.json").write_text(json.dumps(self.history, indent=1))
        curves(self.history, self.out / "curves.png", self.recipe.name)

    def _restore(self) -> None:
        """Go on where the last finished epoch ended, if there was one."""
        if not self.checkpoint.is_file():
            return
        try:
            state = torch.load(self.checkpoint, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise DataError(f"{self.checkpoint}: torn or no checkpoint; delete it, or give another --out") from error
        if state["recipe"] != self.digest:
            raise DataError(f"{self.checkpoint}: made by another version of the recipe; give another --out")
        growth.grow(self.net, self.average, growth.depths_at(self.recipe, state["epoch"]), self.recipe.seed)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self._interrupted = state["optimiser"]
        self._constraint_state = state.get("constraints")  # checkpoints of earlier versions have none
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.history = state["history"]
        print(f"resumed after epoch {self.epoch}", flush=True)

    def _export(self, pictures: int, held_out: int) -> Path:
        """Write the averaged network with all that is known of where it came from."""
        facts = facts_of(
            growth.grown(self.recipe), self.task.decoding, self.task.strides, 32,
            {
                "recipe_sha256": self.digest,
                "data_sha256": fingerprint(self.recipe, self.folder),
                "epochs": self.epoch,
                "hours": round(self.seconds / 3600, 2),
                "parameters": parameter_count(self.net),
                "pictures": pictures,
                "held_out": held_out,
            },
        )  # fmt: skip
        path = self.out / f"{self.recipe.name}.onnx"
        if self.constrained is None:
            export_onnx(self.average, self.task, self.recipe.size_wh, facts, path)
        else:
            net, grids = self.constrained.settled(self.average)
            export_onnx(net, self.task, self.recipe.size_wh, facts, path)
            settle_export(net, grids, path)
        for file in self.out.glob(f"{self.answers.name}*"):  # many times larger than the model, and of no more use
            file.unlink()
        print(f"wrote {path}, {path.stat().st_size:,} bytes", flush=True)
        return path


def _parameter_groups(net: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(weights that decay, biases, norms and depthwise kernels that do not)."""
    decay: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for p in net.parameters():
        (decay if p.ndim == 4 and p.shape[1] > 1 else plain).append(p)
    return decay, plain
