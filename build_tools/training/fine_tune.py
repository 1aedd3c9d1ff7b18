"""The training loop for any ONNX model: labels, a teacher or both, under constraints, resumable, best epoch kept."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from build_tools.bundle.export import open_any
from build_tools.errors import ModelError, PassError
from build_tools.model import Model
from build_tools.nets.from_onnx import OnnxModule
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.train import Train
from build_tools.training.activation_nodes import quantize_activations
from build_tools.training.batches import Batch, Source
from build_tools.training.checkpoint import Checkpoint
from build_tools.training.constraints import During
from build_tools.training.distillation import Loss, OnnxTeacher, Teacher, logits_of, make_loss, tensors_wanted
from build_tools.training.label_free import open_unlabelled
from build_tools.training.labelled import Digits
from build_tools.training.student import Average, Student, learn, put, taken

LARGEST_GRADIENT = 10.0
"""Norm beyond which gradients are shortened: one odd batch must not undo an epoch."""
ALIKE = 1e-3
"""A batch that is run at once may differ from its samples run one by one by this, relative to the largest value."""
SAVE_EVERY_S = 120.0


class FineTune:
    """Trains one model; one verb: `run`.

    Args:
        model: the model in the making.
        settings: see `Train`.
        context: data, teacher, seed, folder for checkpoints.
        teacher: a function to learn from in place of the teacher that the settings name.
        clock: seconds, for how often checkpoints are written.

    Raises:
        ModelError, DataError, PassError: model, data and settings do not fit each other.
    """

    def __init__(
        self,
        model: Model,
        settings: Train,
        context: Context,
        teacher: Teacher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        torch.set_num_threads(settings.threads)
        self._model, self._settings, self._context, self._clock = model, settings, context, clock
        self._source: Source
        if settings.data == "mnist":
            self._source = Digits(settings, model.proto, context)
        else:
            self._source = open_unlabelled(settings, model.proto, context)
        self._epoch_steps = len(self._source)
        self._steps = settings.steps or settings.epochs * self._epoch_steps
        first = next(iter(self._source.batches(0, 0)))
        self._its = self._find_teacher()
        asked = [model.proto] if teacher is not None or self._its is None else [model.proto, self._its.proto]
        self._any_batch = all(takes_batches(proto, first) for proto in asked)
        self._module = OnnxModule(model, self._any_batch)
        self._student = Student(model, self._module, settings, self._steps, self._epoch_steps, context.calibration)
        self._inner = self._student.inner()
        self._scores = logits_of(model.proto)
        self._capture: list[str] = [self._scores] if settings.data == "mnist" else []
        self._distilled: Loss | None = None
        self._teacher = teacher
        self._learned = list(self._student.learned)
        if self._its is not None:
            self._learned += self._open_teacher(self._its.proto, first)
        self._average = Average(self._student.learned, settings.average)
        self._optimiser = _optimiser(self._student.groups(), self._learned, settings)

    def run(self) -> Change:
        """Train to the end, or from where an interrupted run left off."""
        checkpoint = Checkpoint(self._context.work / f"train-{self._fingerprint()}.pt")
        history: list[float] = []
        best: tuple[float, list[Tensor]] | None = None
        step = 0
        if (state := checkpoint.read()) is not None:
            step, history, best = self._restore(state)
        elif (before := self._judge(0)) is not None:
            history = [before]
            best = (before, taken(self._student.learned)) if _due_after(self._settings.during) == 0 else None
        saved = self._clock()
        while step < self._steps:
            epoch, start = divmod(step, self._epoch_steps)
            for batch in self._source.batches(epoch, start):
                self._step(batch, step)
                step += 1
                self._context.progress("training", step, self._steps)
                if step == self._steps:
                    break
                if self._clock() - saved > SAVE_EVERY_S:
                    checkpoint.write(self._state(step, history, best))
                    saved = self._clock()
            figure = self._judge(step)
            if figure is not None:
                history.append(figure)
                ready = step >= _due_after(self._settings.during) * self._steps or step == self._steps
                if ready and (best is None or figure <= best[0]):
                    with self._average.in_place():
                        best = (figure, taken(self._student.learned))
            checkpoint.write(self._state(step, history, best))
            saved = self._clock()
        put(self._student.learned, best[1] if best is not None else self._average.values)
        return self._change(history, best[0] if best is not None else None)

    def _step(self, batch: Batch, step: int) -> None:
        """One step of the optimiser. A graph that takes one sample at a time is given the batch's one by one."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.rate * _warm_cosine(step, self._steps, self._settings.warmup)
        weights = self._student.effective(step)
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        self._optimiser.zero_grad(set_to_none=True)
        parts = [batch] if self._any_batch else batch.singles()
        for part in parts:
            loss = self._loss(part, leaves) * (len(part) / len(batch))
            if not torch.isfinite(loss):
                raise PassError(f"train: the loss is {float(loss)} at step {step}; lower train.rate")
            loss.backward()  # type: ignore[no-untyped-call]
        learn(weights, {name: leaf.grad for name, leaf in leaves.items()}, self._student.constraints.penalty())
        torch.nn.utils.clip_grad_norm_(self._student.learned, LARGEST_GRADIENT)
        self._optimiser.step()
        self._student.constraints.after_step(step)
        self._average.update(step)

    def _loss(self, batch: Batch, weights: dict[str, Tensor]) -> Tensor:
        said = self._module(batch.feeds, weights, self._capture, self._inner)
        share = self._settings.distill.weight
        loss = torch.zeros(())
        if batch.labels is not None and share < 1:
            scores = said[self._scores].flatten(1)
            loss = (1 - share) * F.cross_entropy(scores, batch.labels, label_smoothing=self._settings.smoothing)
        if self._distilled is not None and self._teacher is not None:
            loss = loss + share * self._distilled(
                said, self._teacher(batch.feeds if batch.clear is None else batch.clear)
            )
        return loss

    @torch.no_grad()
    def _judge(self, step: int) -> float | None:
        """Error on held-out labels, or the loss against the teacher; None where nothing is held out."""
        wrong, count = 0.0, 0
        with self._average.in_place():
            weights = self._student.effective(step)
            for batch in self._source.held_out():
                for part in [batch] if self._any_batch else batch.singles():
                    if part.labels is None:
                        wrong += float(self._loss(part, weights)) * len(part)
                    else:
                        said = self._module(part.feeds, weights, self._capture, self._inner)[self._scores].flatten(1)
                        wrong += float((said.argmax(1) != part.labels).sum())
                    count += len(part)
        return wrong / count if count else None

    def _find_teacher(self) -> Model | None:
        """The model that the settings name, or the one that came; None where nothing is learned from one."""
        settings = self._settings.distill
        if settings.weight <= 0:
            return None
        return open_any(self._context.folder / settings.teacher) if settings.teacher else self._context.original

    def _open_teacher(self, its: onnx.ModelProto, first: Batch) -> list[torch.nn.Parameter]:
        """Set up the teacher and the loss against it; what has to be learned with it."""
        settings = self._settings.distill
        pairs = tensors_wanted(settings, self._model.proto, its)
        wanted = list(dict.fromkeys(name for _, name in pairs))
        part = first if self._any_batch else first.singles()[0]
        if self._teacher is None:
            self._teacher = OnnxTeacher(its, wanted, self._settings.threads, self._any_batch)
        self._capture = list(dict.fromkeys([*self._capture, *(name for name, _ in pairs)]))
        with torch.no_grad():
            said = self._module(part.feeds, capture=self._capture)
        self._distilled, learned = make_loss(settings, self._model.proto, its, (said, self._teacher(part.feeds)))
        return learned

    def _change(self, history: list[float], best: float | None) -> Change:
        values, grids = self._student.settle()
        made = self._module.to_model(values, grids)
        quantize_activations(made.proto, self._student.constraints.activation_ranges())
        facts: dict[str, dict[str, Fact]] = {}
        for name in sorted(self._module.kernels & values.keys()):
            facts[name] = {"sparsity": float((values[name] == 0).mean())}
            if name in grids:
                facts[name]["bits"] = grids[name].bits
        kind = "error" if self._settings.data == "mnist" else "loss"
        told = f"held-out {kind} {history[0]:.4f} -> {best:.4f}" if best is not None else "nothing held out to judge by"
        summary = f"trained {self._steps} steps of {self._settings.batch}: {told}"
        return Change(made, summary, facts, tuple(self._student.refused))

    def _fingerprint(self) -> str:
        """Of all that the training depends on, but for the contents of files of data."""
        digest = hashlib.sha256(self._model.proto.SerializeToString(deterministic=True))
        if self._its is not None:
            digest.update(self._its.proto.SerializeToString(deterministic=True))
        digest.update(repr((self._settings, self._context.seed, self._context.input, self._epoch_steps)).encode())
        return digest.hexdigest()[:16]

    def _state(self, step: int, history: list[float], best: tuple[float, list[Tensor]] | None) -> dict[str, Any]:
        return {
            "step": step, "history": history, "best": best, "learned": taken(self._learned),
            "average": self._average.values, "optimiser": self._optimiser.state_dict(),
            "constraints": self._student.constraints.state_dict(),
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> tuple[int, list[float], tuple[float, list[Tensor]] | None]:
        put(self._learned, state["learned"])
        self._average.values = state["average"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._student.constraints.load_state_dict(state["constraints"])
        return state["step"], state["history"], state["best"]


def takes_batches(proto: onnx.ModelProto, batch: Batch) -> bool:
    """Whether a batch at once gives what its samples give one by one, with reshapes freed (see `free_batch`)."""
    if len(batch) < 2:
        return False
    two = Batch({n: v[:2] if v.ndim and len(v) == len(batch) else v for n, v in batch.feeds.items()})
    outputs = [o.name for o in proto.graph.output]
    plain = OnnxTeacher(proto, outputs, 1, any_batch=False)
    singles = [plain(single.feeds) for single in two.singles()]
    try:
        both = OnnxTeacher(proto, outputs, 1, any_batch=True)(two.feeds)
    except ModelError:
        return False
    for name, value in both.items():
        apart = torch.cat([s[name] for s in singles])
        if apart.shape != value.shape or float((apart - value).abs().max()) > ALIKE * float(apart.abs().max()):
            return False
    return True


def _optimiser(
    groups: list[dict[str, Any]], learned: list[torch.nn.Parameter], settings: Train
) -> torch.optim.Optimizer:
    chosen = {id(p) for group in groups for p in group["params"]}
    groups = [*groups, {"params": [p for p in learned if id(p) not in chosen], "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.rate)


def _warm_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the highest rate: up in a line, down in a cosine to a hundredth."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def _due_after(during: During) -> float:
    """Share of the training after which the weights are what is asked of them, so that epochs can be compared."""
    ends = [0.0]
    if during.prune.target > 0 or during.prune.layers:
        ends.append(max(during.prune.begin, during.prune.end))
    if during.quantize.bits or during.quantize.layers:
        ends.append(during.quantize.begin)
    if during.codebook.bits or during.codebook.layers:
        ends.append(during.codebook.begin)
    if during.entropy.bytes:
        ends.append(during.entropy.end)
    return max(ends)
