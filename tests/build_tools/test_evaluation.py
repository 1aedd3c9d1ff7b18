"""Average precision and recall: the same matching as pycocotools, and what is left out of the count."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from build_tools.cli import main
from build_tools.data.coco import LABELS, read_pack
from build_tools.errors import DataError, RecipeError
from build_tools.evaluation.detection import (
    COCO_IOUS,
    Scored,
    average_precision,
    figures,
    match,
    mean_figures,
    report,
)
from build_tools.evaluation.evaluate import Subject, evaluate, looker, parse_group
from build_tools.nets.centre import CentreNet, NetConfig
from build_tools.report.plots import curves_figure
from build_tools.training.export import export_onnx
from build_tools.training.task import CentreTask
from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.config import AttentionConfig, Config, CroppingConfig
from edge_runtime.health import Health
from edge_runtime.pipeline import Pipeline
from edge_runtime.shipped import shipped
from tests.build_tools.packs import Box, boxes_of

PICTURES = 30


def scored(
    found: list[tuple[Box, float]], truth: list[Box], crowd: list[Box] | None = None, source: str = "set"
) -> Scored:
    boxes = boxes_of([*truth, *(crowd or [])])
    return Scored(
        boxes_of([box for box, _ in found]),
        np.array([score for _, score in found], np.float32),
        boxes,
        np.arange(len(boxes)) >= len(truth),
        (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf),
        source,
    )


def random_pictures(seed: int, crowds: bool) -> list[Scored]:
    """Pictures with truths, jittered finds of them, doubles, and false alarms."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(PICTURES):
        truths, places = int(rng.integers(0, 8)), int(rng.integers(1, 3)) if crowds else 0
        corner, sides = rng.uniform(0, 200, (truths + places, 2)), rng.uniform(8, 90, (truths + places, 2))
        sides[truths:] += 60
        there = np.concatenate([corner, corner + sides], 1)
        shaken = there.repeat(2, 0) + rng.normal(0, 1, (2 * len(there), 4)) * sides.repeat(2, 0).mean(1)[:, None] * 0.12
        low = rng.uniform(0, 250, (5, 2))
        alarms = np.concatenate([low, low + rng.uniform(5, 60, (5, 2))], 1)
        found = np.concatenate([shaken[rng.random(len(shaken)) < 0.7], alarms])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores = -np.sort(-rng.random(len(found)).astype(np.float32))
        found = found[rng.permutation(len(found))]
        crowd = np.arange(len(there)) >= truths
        boxes = there.astype(np.float32)
        side = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf)
        pictures.append(Scored(found.astype(np.float32), scores, boxes, crowd, side, "random"))
    return pictures


def coco_judges(pictures: list[Scored], ious: tuple[float, ...]) -> COCOeval:
    """The pictures as COCOeval sees them, over boxes of all sizes."""

    def xywh(box: np.ndarray[Any, Any]) -> list[float]:
        x1, y1, x2, y2 = (float(v) for v in box)
        return [x1, y1, x2 - x1, y2 - y1]

    truths = [
        {"image_id": i, "category_id": 1, "bbox": xywh(box), "area": xywh(box)[2] * xywh(box)[3], "iscrowd": int(crowd)}
        for i, p in enumerate(pictures)
        for box, crowd in zip(p.truth, p.crowd, strict=True)
    ]
    found = [
        {"image_id": i, "category_id": 1, "bbox": xywh(box), "score": float(score)}
        for i, p in enumerate(pictures)
        for box, score in zip(p.found, p.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(pictures))],
            "annotations": [t | {"id": n + 1} for n, t in enumerate(truths)],
            "categories": [{"id": 1}],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.params.iouThrs = np.array(ious)
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return judge


def coco_outcomes(judge: COCOeval, pictures: list[Scored], iou_index: int) -> list[list[int]]:
    verdicts: list[list[int]] = [[] for _ in pictures]
    for row in judge.evalImgs:
        if row is not None:
            hit, left_out = row["dtMatches"][iou_index] > 0, row["dtIgnore"][iou_index].astype(bool)
            verdicts[row["image_id"]] = np.where(left_out, -1, hit.astype(int)).tolist()
    return verdicts


def ap_at_101_points(scores: np.ndarray[Any, Any], outcome: np.ndarray[Any, Any], truths: int) -> float:
    """COCO's AP from our outcomes: precision envelope read at recalls 0, 0.01, ... 1."""
    kept = outcome >= 0
    hit = outcome[kept][np.argsort(-scores[kept], kind="mergesort")] == 1
    recall, precision = np.cumsum(hit) / truths, np.cumsum(hit) / np.arange(1, len(hit) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(envelope[np.minimum(at, len(hit))].mean())


def check(pictures: list[Scored], judge: COCOeval, ious: tuple[float, ...]) -> None:
    scores = np.concatenate([p.scores for p in pictures])
    truths = sum(int((~p.crowd).sum()) for p in pictures)
    for t, iou in enumerate(ious):
        outcomes = [match(p, p.crowd, iou) for p in pictures]
        assert [o.tolist() for o in outcomes] == coco_outcomes(judge, pictures, t)
        joined = np.concatenate(outcomes)
        ap, recall, _ = average_precision(scores, joined, truths)
        assert recall == pytest.approx(judge.eval["recall"][t, 0, 0, 2], abs=1e-9)
        coco_ap = judge.eval["precision"][t, :, 0, 0, 2].mean()
        assert ap_at_101_points(scores, joined, truths) == pytest.approx(coco_ap, abs=1e-9)
        assert ap == pytest.approx(coco_ap, abs=0.01)  # all points or 101: nearly the same area


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_box_is_judged_as_pycocotools_judges_it(seed: int) -> None:
    pictures = random_pictures(seed, crowds=False)
    check(pictures, coco_judges(pictures, COCO_IOUS), COCO_IOUS)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_boxes_in_crowds_are_judged_as_pycocotools_judges_them(seed: int) -> None:
    pictures = random_pictures(seed, crowds=True)
    assert any((match(p, p.crowd, 0.5) == -1).any() for p in pictures)
    check(pictures, coco_judges(pictures, (0.5,)), (0.5,))


def test_a_truth_is_hit_once() -> None:
    item = scored([((0, 0, 10, 10), 0.9), ((0, 0, 10, 11), 0.8)], [(0, 0, 10, 10)])
    assert match(item, item.crowd, 0.5).tolist() == [1, 0]


def test_a_box_in_a_crowd_is_left_out_however_small() -> None:
    item = scored([((10, 10, 12, 12), 0.9), ((90, 90, 110, 110), 0.8)], [], [(0, 0, 100, 100)])
    assert match(item, item.crowd, 0.5).tolist() == [-1, 0]


def test_small_truths_count_neither_as_missed_nor_as_hit_at_larger_sizes() -> None:
    item = scored([((0, 0, 10, 10), 0.9), ((50, 50, 90, 90), 0.8)], [(0, 0, 10, 10), (50, 50, 90, 90)])
    row = figures([item])
    assert (row["truths"], row["truths8"], row["truths16"], row["truths32"]) == (2, 2, 1, 1)
    assert (row["ap16"], row["r16"]) == (1.0, 1.0)


def test_average_precision_of_a_known_case() -> None:
    outcome = np.array([1, 0, 1, -1, 0], np.int8)
    ap, recall, recall_p90 = average_precision(np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32), outcome, 4)
    assert ap == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert (recall, recall_p90) == (0.5, 0.25)


def test_a_class_without_truths_has_no_figures_and_weighs_nothing_in_the_mean() -> None:
    empty = figures([scored([((0, 0, 10, 10), 0.9)], [])])
    assert empty == {"truths": 0}
    full = figures([scored([((0, 0, 40, 40), 0.9)], [(0, 0, 40, 40)])])
    assert mean_figures([empty, full])["ap50"] == 1.0


def test_crop_recall_is_the_share_of_truths_of_that_size_inside_a_crop() -> None:
    item = scored([], [(0, 0, 10, 10), (0, 0, 20, 20), (30, 30, 60, 60)], [(0, 0, 99, 99)])
    held = np.array([True, False, True, True])
    item = Scored(item.found, item.scores, item.truth, item.crowd, item.side_px, item.source, held)
    row = figures([item])
    assert row["crop_recall8"] == pytest.approx(2 / 3)
    assert row["crop_recall16"] == pytest.approx(1 / 2)
    assert "crop_recall32" not in row


def test_the_report_tells_sources_apart() -> None:
    hit = scored([((0, 0, 40, 40), 0.9)], [(0, 0, 40, 40)], source="near")
    miss = scored([], [(0, 0, 40, 40)], source="far")
    told: dict[str, Any] = report({"car": [hit, miss]})
    assert told["truths"] == 2
    assert told["by_source"]["near"]["ap50"] == 1.0
    assert told["by_source"]["far"]["per_class"]["car"]["ap50"] == 0.0


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that sees a face and a car of 43 px around every cell, whatever it is shown."""
    net = CentreNet(2, NetConfig(16, (16, 16, 16, 16), (0, 0, 0, 0), 16))
    with torch.no_grad():
        for head, bias in ((net.heat, 1.0), (net.box, 1.0)):
            head.weight.zero_()
            head.bias.fill_(bias)  # type: ignore[union-attr]
    facts = {
        "format": 1, "name": "everywhere", "task": "attention", "classes": ["face", "car"], "size_wh": [96, 96],
        "size_multiple": 32, "stride": 8,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "everywhere.onnx"
    export_onnx(net, CentreTask(), (96, 96), facts, path)
    return path


FACE = 1
CAR = 2


def judged(
    model: Path,
    folder: Path,
    *pictures: tuple[list[int], list[list[float]]],
    groups: dict[str, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """Evaluate on black pictures: (categories that were labelled, boxes of faces) of each."""
    images, rows = [], []
    for i, (labelled, faces) in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((96, 96, 3), np.uint8))
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 96, "labelled": labelled})
        rows += [{"image_id": i, "category_id": FACE, "bbox": box} for box in faces]
    categories = [{"id": FACE, "name": "face"}, {"id": CAR, "name": "car"}]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    subject = Subject(model, None, (96, 96), CroppingConfig(), AttentionConfig())
    return evaluate(subject, read_pack(path, folder), groups or {}, lambda _: None)


CORNER = [0.0, 0.0, 26.0, 26.0]
"""What the network finds first, cut off by the picture's corner."""


def test_a_class_unknown_in_a_picture_gives_no_false_alarms_there(everywhere: Path, tmp_path: Path) -> None:
    known = judged(everywhere, tmp_path, ([FACE, CAR], []), ([FACE, CAR], [CORNER]))
    unknown = judged(everywhere, tmp_path, ([CAR], []), ([FACE, CAR], [CORNER]))
    assert unknown["per_class"]["face"]["ap50"] == 1.0
    assert known["per_class"]["face"]["ap50"] < 0.5
    assert (known["images"], unknown["images"]) == (2, 2)


def test_pictures_left_out_of_a_group_are_told_with_the_label_they_lack(everywhere: Path, tmp_path: Path) -> None:
    told = judged(everywhere, tmp_path, ([CAR], []), ([FACE, CAR], [CORNER]), groups={"any": ("face", "car")})
    assert told["skipped"] == {"any": {"images": 1, "unlabelled": ["face"], "group": ("face", "car")}}
    assert judged(everywhere, tmp_path, ([FACE, CAR], [CORNER]))["skipped"] == {}


def evaluated(*args: object) -> int:
    return main(["evaluate", *map(str, args)])


def test_the_table_says_what_was_left_out_and_how_to_count_it(
    everywhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(everywhere, tmp_path, ([CAR], []), ([FACE, CAR], [CORNER]))
    labels = tmp_path / "labels.json"
    assert evaluated(everywhere, "--data", labels, "--images", tmp_path, "--group", "any=face,car") == 0
    assert capsys.readouterr().out.endswith(
        "any: 1 of 2 pictures left out, as face is not labelled in them; to count them: --group any=car\n"
    )


def test_what_is_not_there_is_named_by_its_option(
    everywhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(everywhere, tmp_path, ([FACE], []))
    labels, nowhere = tmp_path / "labels.json", tmp_path / "nowhere"
    (tmp_path / "empty").mkdir()
    assert evaluated(everywhere, "--data", labels, "--images", nowhere) == 1
    assert f"--images {nowhere}: no such folder" in capsys.readouterr().err
    assert evaluated(everywhere, "--data", labels, "--images", tmp_path / "empty") == 1
    assert "1 of the 1 pictures" in capsys.readouterr().err
    assert evaluated(everywhere, "--detector", nowhere, "--data", labels, "--images", tmp_path) == 4
    assert f"--detector {nowhere}: no such model file" in capsys.readouterr().err
    assert evaluated(nowhere, "--data", labels, "--images", tmp_path) == 4
    assert f"MODEL {nowhere}: no such model file" in capsys.readouterr().err


@pytest.mark.parametrize("score", ["3", "-0.1", "nan", "much"])
def test_a_region_score_that_no_region_can_have_is_refused(score: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        evaluated("model.edge", f"--region-score={score}")
    assert refused.value.code == 2
    assert f"--region-score: {score}: must be a number from 0 to 1" in capsys.readouterr().err


def test_the_legends_of_eight_classes_cover_no_curve() -> None:
    history = [{"epoch": n, "heat": 1 / n, "box": 1 / n, **{f"ap50_{c}": n / 10 for c in LABELS}} for n in range(1, 9)]
    figure = curves_figure(history, "detector")
    figure.canvas.draw()
    for axis in figure.axes:
        legend = axis.get_legend()
        assert legend is not None
        assert not legend.get_window_extent().overlaps(axis.bbox)
        assert figure.bbox.fully_contains(*legend.get_window_extent().min)
    plt.close(figure)


def test_truths_inside_a_crop_are_counted_as_such(everywhere: Path, tmp_path: Path) -> None:
    told = judged(everywhere, tmp_path, ([FACE], [CORNER]))
    assert told["crop_recall16"] == 1.0  # crops of 128 px hold all of a picture of 96


def test_a_model_without_any_labelled_class_is_refused(everywhere: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    images = [{"id": 0, "file_name": "0.png", "width": 96, "height": 96}]
    pack = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "bus"}]}
    path.write_text(json.dumps(pack))
    subject = Subject(everywhere, None, (96, 96), CroppingConfig(), AttentionConfig())
    with pytest.raises(DataError, match="labels of bus, but the model finds only face, car"):
        evaluate(subject, read_pack(path, tmp_path), {}, lambda _: None)


def test_groups_are_read() -> None:
    assert parse_group("vehicle=car, truck") == ("vehicle", ("car", "truck"))


@pytest.mark.parametrize("text", ["vehicle", "vehicle=", "=car", "vehicle=car,tank"])
def test_a_group_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="must look like vehicle=car,truck"):
        parse_group(text)


def test_attention_with_a_detector_is_evaluated_as_the_node_runs_them() -> None:
    plain, clock = Config(), SystemClock()
    camera = replace(plain.camera, source="demo")
    models = (shipped("scene_attention.edge"), shipped("crop_detector.edge"))
    look, _, _ = looker(Subject(*models, (320, 240), plain.cropping, plain.attention))
    with open_source(camera, clock, loop=False, paced=False, start_ns=0) as source:
        compared = 0
        while (frame := source.read()) is not None and compared < 3:
            if (frame.media_s or 0) * 10 % 60 >= 1:  # every 6 s: cars are there at some, nothing at others
                frame.release()
                continue
            outcome = Pipeline(plain, Health(clock)).process(frame)  # a new one: no track is carried over
            found, windows = look(frame)
            sure = found.select(found.scores >= 0.2)
            node = outcome.detections.select(outcome.detections.scores >= 0.2)
            assert outcome.plan is not None
            np.testing.assert_array_equal(windows, outcome.plan.windows)
            np.testing.assert_allclose(sure.boxes, node.boxes, atol=1e-3)
            np.testing.assert_allclose(sure.scores, node.scores, atol=1e-5)
            compared += bool(len(node))
            frame.release()
    assert compared
