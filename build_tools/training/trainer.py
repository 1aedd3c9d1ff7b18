"""The training loop of a centre network: resumable, seeded, with a running average of weights that is what we keep."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from build_tools import recipe as recipes
from build_tools.data.augment import Example
from build_tools.data.coco import Sample
from build_tools.data.dataset import Tickets, TrainingPictures, balance
from build_tools.data.gather import fingerprint, gather
from build_tools.errors import DataError
from build_tools.evaluation.detection import Scored, figures
from build_tools.nets.centre import STRIDE, CentreNet, NetConfig, parameter_count
from build_tools.report.plots import curves
from build_tools.training.export import export_onnx
from build_tools.training.losses import box_loss, heat_loss
from edge_runtime.decoding import decode_centres


class Trainer:
    """Trains the recipe's network in `out`; one verb: `run`."""

    def __init__(self, recipe_path: Path, out: Path, resume: bool) -> None:
        self.recipe = recipes.load(recipe_path)
        self.recipe_path, self.out, self.folder = recipe_path, out, recipe_path.parent
        self.classes = self.recipe.members()
        self.checkpoint = out / "checkpoint.pt"
        if self.checkpoint.is_file() and not resume:
            raise DataError(f"{self.checkpoint}: a training is here already; add --resume, or give another --out")
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.recipe.seed)
        torch.set_num_threads(self.recipe.train.threads)
        net = self.recipe.net
        self.net = CentreNet(len(self.classes.names), NetConfig(net.stem, net.widths, net.depths, net.neck)).to(
            memory_format=torch.channels_last
        )  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0
        self.seconds = 0.0

    def run(self) -> Path:
        """Train to the last epoch; the path of the exported ONNX.

        Raises:
            DataError: data cannot be read.
        """
        t = self.recipe.train
        train, held = gather(self.recipe, self.folder, self.out.parent / "teachers")
        crops = t.view == "crop"
        pictures = TrainingPictures(train, self.classes, self.recipe.augment, self.recipe.seed, STRIDE, crops)
        weights = balance(train, self.classes) if crops else None
        tickets = Tickets(len(train), t.batch, t.sizes_wh, self.recipe.seed, weights)
        validation = self._validation(held, crops)
        decay, plain = _parameter_groups(self.net)
        optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": t.decay}, {"params": plain, "weight_decay": 0.0}], lr=t.rate
        )
        self._restore(optimiser)
        total = t.epochs * len(tickets)
        print(f"{self.recipe.name}: {parameter_count(self.net):,} parameters, {len(train):,} pictures to train on, "
              f"{len(held)} held out, {total:,} steps", flush=True)  # fmt: skip
        while self.epoch < t.epochs:
            started = time.monotonic()
            tickets.epoch = self.epoch
            loader: DataLoader[tuple[torch.Tensor, ...]] = DataLoader(
                pictures, batch_sampler=tickets, num_workers=t.workers  # type: ignore[arg-type]
            )  # fmt: skip
            losses = np.zeros(2)
            for batch in tqdm(loader, desc=f"epoch {self.epoch + 1}/{t.epochs}", disable=not sys.stderr.isatty()):
                for group in optimiser.param_groups:
                    group["lr"] = self._rate(total)
                losses += self._learn(optimiser, batch)
            self.epoch += 1
            self.seconds += time.monotonic() - started
            row = {"epoch": self.epoch, "heat": float(losses[0]) / len(tickets), "box": float(losses[1]) / len(tickets)}
            if self.epoch % t.validate_every == 0 or self.epoch == t.epochs:
                row |= self._validate(validation)
            self.history.append(row)
            self._save(optimiser)
            print(" ".join(f"{k} {v:.3f}" for k, v in row.items()), f"seconds {self.seconds:.0f}", flush=True)
        return self._export(train, held)

    def _rate(self, total: int) -> float:
        t = self.recipe.train
        if self.step < t.warmup:
            return t.rate * (self.step + 1) / t.warmup
        progress = (self.step - t.warmup) / max(total - t.warmup, 1)
        return t.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _learn(self, optimiser: torch.optim.Optimizer, batch: list[torch.Tensor]) -> NDArray[np.float64]:
        """One step; the two losses."""
        bgr, heat, heat_weight, box, box_weight = batch
        self.net.train()
        logits, distances = self.net(bgr.float().contiguous(memory_format=torch.channels_last))
        lh, lb = heat_loss(logits, heat, heat_weight), box_loss(distances, box, box_weight)
        optimiser.zero_grad(set_to_none=True)
        (lh + self.recipe.train.box_weight * lb).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        optimiser.step()
        self.step += 1
        # Young averages follow fast, or the first epochs' noise would linger.
        keep = min(self.recipe.train.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)
        return np.array([float(lh.detach()), float(lb.detach())])

    def _validation(self, held: list[Sample], crops: bool) -> list[Example]:
        """Fixed pictures to validate on: letterboxed wholes, or the crops of a fixed seed."""
        pictures = TrainingPictures(held, self.classes, self.recipe.augment, self.recipe.seed, STRIDE, crops)
        examples = []
        w, h = self.recipe.size_wh
        canvas = (w + -w % 32, h + -h % 32)
        for i, sample in enumerate(held):
            if crops:
                rng = np.random.default_rng((self.recipe.seed, 999, i))
                examples.append(pictures.crop(rng, i, canvas[0]))
            else:
                scale = min(w / sample.size_wh[0], h / sample.size_wh[1])
                examples.append(pictures.seen(i, np.array([[scale, 0, 0], [0, scale, 0]], np.float32), canvas, 0))
        return examples

    @torch.no_grad()
    def _validate(self, examples: list[Example]) -> dict[str, float]:
        """AP50 of the averaged network on the held-out pictures, by class."""
        items: list[list[Scored]] = [[] for _ in self.classes.names]
        for e in examples:
            chw = torch.from_numpy(np.ascontiguousarray(e.bgr.transpose(2, 0, 1)))[None].float()
            logits, distances = self.average(chw.contiguous(memory_format=torch.channels_last))
            boxes, scores, labels = decode_centres(
                torch.sigmoid(logits[0]).contiguous().numpy(),
                distances[0].contiguous().numpy(),
                STRIDE,
                0.02,
                0.5,
            )
            for k in range(len(items)):
                mine, own, crowd = labels == k, e.labels == k, e.ignore_labels == k
                truth = np.concatenate([e.boxes[own], e.ignore[crowd]])
                is_crowd = np.arange(len(truth)) >= own.sum()
                side = (truth[:, 2:] - truth[:, :2]).min(1, initial=np.inf)
                items[k].append(Scored(boxes[mine], scores[mine], truth, is_crowd, side, "held out"))
        return {f"ap50_{n}": figures(i).get("ap50", 0.0) for n, i in zip(self.classes.names, items, strict=True)}

    def _save(self, optimiser: torch.optim.Optimizer) -> None:
        """Checkpoint, history and curves; the checkpoint is whole or absent."""
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(
            {
                "net": self.net.state_dict(), "average": self.average.state_dict(), "optimiser": optimiser.state_dict(),
                "epoch": self.epoch, "step": self.step, "seconds": self.seconds, "history": self.history,
                "recipe": recipes.digest(self.recipe_path),
            },
            partial,
        )  # fmt: skip
        partial.replace(self.checkpoint)
        (self.out / "history.json").write_text(json.dumps(self.history, indent=1))
        curves(self.history, self.out / "curves.png", self.recipe.name)

    def _restore(self, optimiser: torch.optim.Optimizer) -> None:
        if not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if state["recipe"] != recipes.digest(self.recipe_path):
            raise DataError(f"{self.checkpoint}: made by another version of the recipe; give another --out")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.history = state["history"]
        print(f"resumed after epoch {self.epoch}", flush=True)

    def _export(self, train: list[Sample], held: list[Sample]) -> Path:
        facts = {
            "format": 1,
            "name": self.recipe.name,
            "task": self.recipe.task,
            "classes": list(self.classes.names),
            "size_wh": list(self.recipe.size_wh),
            "size_multiple": 32,
            "stride": STRIDE,
            "input": "float32 NCHW, BGR, 0..255",
            "decoding": "centre-map",
            "provenance": {
                "recipe_sha256": recipes.digest(self.recipe_path),
                "data_sha256": fingerprint(self.recipe, self.folder),
                "seed": self.recipe.seed,
                "epochs": self.epoch,
                "hours": round(self.seconds / 3600, 2),
                "parameters": parameter_count(self.net),
                "pictures": len(train),
                "held_out": len(held),
                "net": asdict(self.recipe.net),
            },
        }
        path = self.out / f"{self.recipe.name}.onnx"
        export_onnx(self.average, self.recipe.size_wh, facts, path)
        print(f"wrote {path}, {path.stat().st_size:,} bytes", flush=True)
        return path


def _parameter_groups(net: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(weights that decay, biases, norms and depthwise kernels that do not)."""
    decay: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for p in net.parameters():
        (decay if p.ndim == 4 and p.shape[1] > 1 else plain).append(p)
    return decay, plain
