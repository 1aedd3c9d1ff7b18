"""Scores a model in the making on a recipe's evaluation data: before the first pass and after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from build_tools.data import mnist
from build_tools.data.calibration import digit_input, model_inputs
from build_tools.data.coco import LABELS, Sample, read_pack, split
from build_tools.data.decoders import DECODERS
from build_tools.data.pictures import Preparation, read_bgr
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.detection import Scored, report
from build_tools.evaluation.identity import Persons
from build_tools.evaluation.plates import Plates
from build_tools.evaluation.points import Points
from build_tools.evaluation.slots import Slots
from build_tools.model import Model, save_onnx
from build_tools.passes.activations import misfit, session
from build_tools.passes.contract import Calibration, Score
from build_tools.recipe import EvaluationEntry, Recipe
from edge_runtime.geometry import non_maximum_suppression

Evaluate = Callable[[Model], Score]
SCORE_MIN = 0.02
"""Boxes scored below this are not counted, as for the peers."""
MAX_BOXES = 2000
"""Best boxes that suppression looks at."""


def evaluator(recipe: Recipe, original: Model, calibration: Calibration | None, folder: Path) -> Evaluate | None:
    """What the recipe's `[evaluation]` table asks for, or None for kind = "none".

    Raises:
        RecipeError: a key is missing for its kind.
        DataError: the data cannot be read.
    """
    entry = recipe.evaluation
    if entry.kind == "none":
        return None
    if entry.kind == "agreement":
        if calibration is None:
            raise RecipeError(
                "evaluation.kind = agreement compares outputs on calibration data: set calibration.kind (images: your "
                'photos; random: noise), give --calibration PHOTOS, or set evaluation.kind = "none"'
            )
        return Agreement(original, calibration, entry.metric or "agreement")
    if entry.kind == "points":
        return Points(recipe, folder)
    if not entry.data:
        raise RecipeError(f"evaluation.data is missing: evaluation.kind = {entry.kind} needs it")
    if entry.kind == "mnist":
        return Digits(recipe, folder / entry.data)
    if entry.kind == "slots":
        return Slots(entry, folder)
    if entry.kind == "plates":
        return Plates(entry, folder)
    if entry.kind == "identity":
        return Persons(recipe, folder)
    if entry.decoder == "centre":
        return Centre(entry, recipe, folder)
    return Boxes(entry, recipe, folder)


class Agreement:
    """How alike a model's outputs are to the original's on unlabelled data.

    `agreement` is 1 - relative root mean square error, averaged over outputs; `top1` the share of samples whose
    largest value in the last axis of the first output stands at the same place.
    """

    def __init__(self, original: Model, calibration: Calibration, metric: str) -> None:
        self._original, self._calibration, self._metric = original, calibration, metric

    def __call__(self, model: Model) -> Score:
        """The score; 1 is equal."""
        wrong: list[float] = []
        power: list[float] = []
        same: list[float] = []
        for truth, mine in zip(
            _outputs(self._original, self._calibration), _outputs(model, self._calibration), strict=True
        ):
            if not wrong:
                wrong, power = [0.0] * len(truth), [0.0] * len(truth)
            for i, (a, b) in enumerate(zip(truth, mine, strict=True)):
                if a.shape != b.shape:
                    raise DataError(
                        f"output {i} has shape {b.shape} instead of {a.shape}; a pass changed the interface"
                    )
                wrong[i] += float(np.square(a.astype(np.float64) - b).sum())
                power[i] += float(np.square(a.astype(np.float64)).sum())
            same.append(float((truth[0].argmax(-1) == mine[0].argmax(-1)).mean()))
        relative = np.sqrt(np.array(wrong) / np.maximum(power, 1e-20))
        figures = {"agreement": float(1 - relative.mean()), "top1": float(np.mean(same))}
        return _score(self._metric, figures)


class Digits:
    """Error on MNIST: the share of digits read wrongly."""

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self._input = recipe.input
        self._digits, self._labels = mnist.read(path, recipe.evaluation.split)
        if recipe.evaluation.limit:
            self._digits = self._digits[: recipe.evaluation.limit]
            self._labels = self._labels[: recipe.evaluation.limit]

    def __call__(self, model: Model) -> Score:
        """The score; 0 is perfect."""
        runner = session(model.proto)
        name, (shape, _) = next(iter(model_inputs(model.proto).items()))
        step = 500 if shape[0] is None else 1
        wrong = 0
        for start in range(0, len(self._digits), step):
            blob = np.stack([digit_input(d, shape, self._input) for d in self._digits[start : start + step]])
            said = np.asarray(runner.run(None, {name: blob})[0]).reshape(len(blob), -1).argmax(1)
            wrong += int(np.count_nonzero(said != self._labels[start : start + step]))
        return Score("error", wrong / len(self._digits), False, {"wrong": wrong, "digits": len(self._digits)})


class Boxes:
    """Average precision of a detector by others, read by one of `data.decoders`."""

    def __init__(self, entry: EvaluationEntry, recipe: Recipe, folder: Path) -> None:
        self._decode, self._iou_max = DECODERS[entry.decoder]
        self._metric, self._input = entry.metric or "ap50", recipe.input
        self._samples = _chosen(entry, folder)

    def __call__(self, model: Model) -> Score:
        """The score; figures as `edge-build evaluate` has them."""
        prepare, runner = Preparation(self._input, model.proto), session(model.proto)
        per_class: dict[str, list[Scored]] = {}
        for sample in self._samples:
            ready = prepare(read_bgr(sample))
            w, h = prepare.canvas_wh
            boxes, scores, labels = self._decode(_said(runner, prepare.name, ready.blob), w, h)
            likely = np.flatnonzero(scores >= SCORE_MIN)
            likely = likely[np.argsort(-scores[likely], kind="stable")[:MAX_BOXES]]
            boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
            kept = non_maximum_suppression(boxes, scores, labels, self._iou_max)
            limit = np.array(sample.size_wh * 2, np.float32)
            found = np.clip(boxes[kept] / np.float32(ready.scale), 0, limit).astype(np.float32)
            for label in set(LABELS) - sample.unknown:
                mine = labels[kept] == LABELS.index(label)
                own, crowd = (a == LABELS.index(label) for a in (sample.labels, sample.ignore_labels))
                truth = np.concatenate([sample.boxes[own], sample.ignore[crowd]])
                side = (truth[:, 2:] - truth[:, :2]).min(1, initial=np.inf) * np.float32(ready.scale)
                ignored = np.arange(len(truth)) >= own.sum()
                row = Scored(found[mine], scores[kept][mine], truth, ignored, side.astype(np.float32), sample.source)
                per_class.setdefault(label, []).append(row)
        return _score(self._metric, report(per_class))


class Centre:
    """Average precision of one of our centre networks, by `evaluation.evaluate`."""

    def __init__(self, entry: EvaluationEntry, recipe: Recipe, folder: Path) -> None:
        self._metric, self._recipe = entry.metric or "ap50", recipe
        self._samples = _chosen(entry, folder)

    def __call__(self, model: Model) -> Score:
        """The score; figures as `edge-build evaluate` has them."""
        import tempfile

        from build_tools.evaluation.evaluate import Subject, evaluate
        from edge_runtime.config import AttentionConfig, CroppingConfig

        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            save_onnx(model, path)
            size_wh = self._recipe.input.size_wh
            subject = Subject(path, None, size_wh, CroppingConfig(), AttentionConfig())
            found = evaluate(subject, self._samples, self._recipe.groups, lambda _: None)
        return _score(self._metric, found)


def _chosen(entry: EvaluationEntry, folder: Path) -> list[Sample]:
    """The pictures that the entry asks for."""
    samples = read_pack(folder / entry.data, folder / entry.images)
    known = {s.source for s in samples}
    for source in entry.sources:
        if source not in known:
            raise RecipeError(f"evaluation.sources: {source} is not in {entry.data}; one of {', '.join(sorted(known))}")
    samples = [s for s in samples if not entry.sources or s.source in entry.sources]
    if entry.held_out:
        samples = split(samples, entry.held_out)[1]
    return samples[: entry.limit] if entry.limit else samples


def _said(runner: ort.InferenceSession, name: str, blob: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    try:
        return [np.asarray(o) for o in runner.run(None, {name: blob})]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise DataError(
            f"the model does not take a picture of shape {blob.shape}: set input.size_wh and input.multiple in the "
            f"recipe ({str(error).splitlines()[0][:120]})"
        ) from error


def _score(metric: str, figures: dict[str, object] | dict[str, float]) -> Score:
    numbers = {k: float(v) for k, v in figures.items() if isinstance(v, int | float)}
    if metric not in numbers:
        raise RecipeError(f"evaluation.metric = {metric}: was not measured; one of {', '.join(sorted(numbers))}")
    return Score(metric, numbers[metric], True, numbers)


def _outputs(model: Model, calibration: Calibration) -> Iterator[list[NDArray[np.float32]]]:
    """Outputs feed by feed: memory stays constant."""
    runner = session(model.proto)
    for feed in calibration:
        try:
            said = runner.run(None, feed)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise DataError(misfit(feed, error)) from error
        yield [np.asarray(o) for o in said]
