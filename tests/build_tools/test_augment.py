"""Training pictures: boxes move with pixels, and a ticket always gives the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.data.augment import Classes, Example, Strength, around, fitted, mosaic, near, photometric, view
from build_tools.data.coco import LABEL_ID, Sample, read_pack, turned
from build_tools.data.dataset import Ticket, Tickets, TrainingPictures, unknown_classes
from build_tools.data.pictures import read_bgr
from build_tools.data.target_memory import TargetMemory
from build_tools.errors import DataError
from build_tools.training.task import CentreTask
from tests.build_tools.packs import Box, boxes_of, sample, write_pack

CHANNEL = {"face": 0, "person": 1, "car": 2}
CLASSES = Classes(tuple(CHANNEL), tuple((LABEL_ID[n],) for n in CHANNEL))
PICTURE_WH = (400, 300)
BOX: Box = (120, 90, 220, 150)


def lit(objects: list[tuple[str, Box]], size_wh: tuple[int, int] = PICTURE_WH) -> NDArray[np.uint8]:
    """Black, with a rectangle in the channel of its label for each object."""
    bgr = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for name, (x1, y1, x2, y2) in objects:
        bgr[int(y1) : int(y2), int(x1) : int(x2), CHANNEL[name]] = 255
    return bgr


def seen(matrix: NDArray[np.float32], size_wh: tuple[int, int], name: str = "car", box: Box = BOX) -> Example:
    return view(lit([(name, box)]), sample([(name, box)], size_wh=PICTURE_WH), CLASSES, [], matrix, size_wh, 0)


def edges(plane: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where a lit rectangle begins and ends, to a fraction of a pixel: half-lit pixels count half."""
    light = plane.astype(np.float64) / 255
    ends = []
    for line in (light.max(0), light.max(1)):
        on = np.flatnonzero(line >= 0.5)
        low, high = on[0] + 0.5, on[-1] + 0.5  # the crossing of one half lies between the centres of two pixels
        if on[0] > 0:
            low -= (line[on[0]] - 0.5) / max(line[on[0]] - line[on[0] - 1], 1e-6)
        else:
            low = 0.0
        if on[-1] < len(line) - 1:
            high += (line[on[-1]] - 0.5) / max(line[on[-1]] - line[on[-1] + 1], 1e-6)
        else:
            high = float(len(line))
        ends.append((low, high))
    (x1, x2), (y1, y2) = ends
    return np.array([x1, y1, x2, y2])


@pytest.mark.parametrize("scale", [0.2, 0.35, 0.6, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_lie_on_their_pixels_at_every_scale_and_mirrored(scale: float, mirrored: bool) -> None:
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float32)
    if mirrored:
        matrix = np.array([[-scale, 0, 400 * scale], [0, scale, 0]], np.float32)
    one = seen(matrix, (int(400 * scale), int(300 * scale)))
    np.testing.assert_allclose(edges(one.bgr[:, :, 2]), one.boxes[0], atol=0.35)


def test_a_fitted_picture_keeps_its_boxes_on_its_pixels() -> None:
    told = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        into_wh = [(320, 256), (160, 128)][seed % 2]
        one = seen(fitted(rng, PICTURE_WH, into_wh, Strength()), into_wh)
        for box in one.boxes:
            np.testing.assert_allclose(edges(one.bgr[:, :, 2]), box, atol=0.6)
            told += 1
    assert told > 50


def test_a_crop_keeps_its_boxes_on_its_pixels_and_shows_its_object() -> None:
    told = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        low: Box = (200, 100, 216, 112) if seed % 2 else BOX
        one = seen(around(rng, boxes_of([low])[0], PICTURE_WH, 128, Strength()), (128, 128), box=low)
        for box in one.boxes:
            np.testing.assert_allclose(edges(one.bgr[:, :, 2]), box, atol=0.6)
            told += 1
    assert told > 50


def test_an_object_fills_as_much_of_a_crop_as_the_recipe_says() -> None:
    rng, how = np.random.default_rng(0), Strength(object_low=0.4, object_high=0.6)
    shares = [100 * abs(float(around(rng, boxes_of([BOX])[0], PICTURE_WH, 128, how)[0, 0])) / 128 for _ in range(50)]
    assert 0.4 <= min(shares) < 0.45
    assert 0.55 < max(shares) <= 0.6


def test_a_small_object_is_enlarged_no_further_than_the_recipe_says() -> None:
    rng, how = np.random.default_rng(0), Strength(enlarge_high=1.2)
    small = [abs(float(around(rng, boxes_of([(9, 9, 21, 17)])[0], PICTURE_WH, 128, how)[0, 0])) for _ in range(50)]
    assert max(small) == pytest.approx(1.2)


def test_a_window_near_another_shows_most_of_it_with_boxes_on_their_pixels() -> None:
    window = boxes_of([(100, 50, 228, 178)])[0]
    told = []
    for seed in range(60):
        one = seen(near(np.random.default_rng(seed), window, PICTURE_WH, 128, Strength()), (128, 128))
        for box in one.boxes:
            np.testing.assert_allclose(edges(one.bgr[:, :, 2]), box, atol=0.6)
            told.append(box)
    assert len(told) == 60
    # The object is 8 pixels from the window's nearer side: 20 more or less, and some are cut off.
    margin = np.array([min(b[0], 128 - b[2]) for b in told])
    assert margin.min() == 0
    assert 15 < margin.max() < 35


def test_a_mosaic_keeps_the_boxes_of_its_quarters_on_their_pixels() -> None:
    told = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        matrices = [fitted(rng, PICTURE_WH, (320, 256), Strength()) for _ in range(4)]
        parts = [seen(m, (320, 256), name) for m, name in zip(matrices, CHANNEL, strict=False)]
        parts.append(view(lit([]), sample(size_wh=PICTURE_WH), CLASSES, [], matrices[3], (320, 256), 0))
        cut = (rng.uniform(0.3, 0.7, 2) * (320, 256)).astype(int)
        whole = mosaic(parts, (320, 256), (int(cut[0]), int(cut[1])))
        for box, k in zip(whole.boxes, whole.labels, strict=True):
            np.testing.assert_allclose(edges(whole.bgr[:, :, k]), box, atol=1.1)  # a cut falls on whole pixels
            told += 1
    assert told > 40


def test_an_object_mostly_out_of_view_is_ignored() -> None:
    one = seen(np.array([[1, 0, -200], [0, 1, 0]], np.float32), (200, 200))
    assert not len(one.boxes)
    assert one.ignore.tolist() == [[0, 90, 20, 150]]


def test_an_object_of_a_few_pixels_is_ignored() -> None:
    one = seen(np.array([[0.05, 0, 0], [0, 0.05, 0]], np.float32), (32, 32))
    assert not len(one.boxes)
    assert len(one.ignore) == 1


def test_an_unknown_class_ignores_the_whole_picture() -> None:
    own = sample([("car", BOX)], unknown=["face"], size_wh=PICTURE_WH)
    unknown = unknown_classes(own, CLASSES)
    one = view(lit([("car", BOX)]), own, CLASSES, unknown, np.eye(2, 3, dtype=np.float32), (320, 256), 0)
    assert [CLASSES.names[k] for k in one.ignore_labels] == ["face"]
    assert one.ignore.tolist() == [[0, 0, 320, 256]]


def test_a_group_is_unknown_where_one_of_its_labels_is() -> None:
    vehicle = Classes(("vehicle", "face"), ((LABEL_ID["car"], LABEL_ID["bus"]), (LABEL_ID["face"],)))
    assert unknown_classes(sample(unknown=["bus"]), vehicle) == [0]


def test_light_keeps_size_and_type() -> None:
    bgr = lit([("car", BOX)])
    for seed in range(10):
        out = photometric(np.random.default_rng(seed), bgr, Strength(grey=0.5, blur=0.5, noise=0.5, dark=0.5, jpeg=0.5))
        assert (out.shape, out.dtype) == (bgr.shape, np.uint8)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("pack") / "pack"
    return read_pack(write_pack(folder, 6), folder / "images")


def same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("crops", [False, True])
def test_a_ticket_gives_the_same_picture_in_every_run(pack: list[Sample], crops: bool) -> None:
    first, second = (TrainingPictures(pack, CLASSES, Strength(), 1, CentreTask().targets, crops) for _ in range(2))
    ticket = Ticket(5, 5, 2, 96, 96)
    once = first[ticket]
    second[Ticket(1, 1, 3, 96, 96)]  # what was asked for before does not matter
    assert same(once, second[ticket])
    assert not same(once, second[Ticket(6, 6, 2, 96, 96)])


def test_a_montage_shows_the_asked_sample_among_three_others(pack: list[Sample]) -> None:
    def crop(montage: float) -> Example:
        pictures = TrainingPictures(pack, CLASSES, Strength(montage=montage), 1, CentreTask().targets, True)
        return pictures.crop(np.random.default_rng(3), 2, 96)

    whole, four = crop(0), crop(1)
    assert whole.bgr.shape == four.bgr.shape == (96, 96, 3)
    x, y = ((four.boxes[:, :2] + four.boxes[:, 2:]) / 2 // 48).astype(int).T
    quarters = {*zip(x.tolist(), y.tolist(), strict=True)}
    assert len(quarters) >= 3  # one may have been cut around nothing
    for box, column, row in zip(four.boxes, x, y, strict=True):  # none reaches into another's quarter
        assert (box >= np.array([column, row, column, row]) * 48).all()
        assert (box <= np.array([column, row, column, row]) * 48 + 48).all()


def test_crops_are_cut_where_attention_looks_as_often_as_asked(pack: list[Sample]) -> None:
    corner = boxes_of([(0, 0, 40, 40)])

    def brightest(looks: float) -> int:
        """Of 40 crops, those of a corner that is painted white."""
        pictures = TrainingPictures(
            pack, CLASSES, Strength(enlarge_high=1), 1, CentreTask().targets, True, 0.15, None,
            lambda bgr: corner if bgr.shape == (96, 96, 3) else boxes_of([]), looks,
        )  # fmt: skip
        for bgr in pictures._pictures:
            bgr[:] = 0
            bgr[:30, :30] = 255
        means = [pictures.crop(np.random.default_rng(i), 2, 64).bgr.mean() for i in range(40)]
        return int(sum(m > 80 for m in means))

    assert brightest(0.0) < 10
    assert 10 <= brightest(0.5) < 35
    assert brightest(1.0) == 40


@pytest.mark.parametrize("crops", [False, True])
def test_a_view_that_comes_again_differs_in_its_light_alone_and_its_answers_are_remembered(
    pack: list[Sample], tmp_path: Path, crops: bool
) -> None:
    asked = []

    def targets(example: Example, classes: int) -> tuple[NDArray[Any], ...]:
        asked.append(example)
        return CentreTask().targets(example, classes)

    memory = TargetMemory(tmp_path / "targets.sqlite", "a")
    pictures = TrainingPictures(pack, CLASSES, Strength(), 1, targets, crops, memory=memory)
    first, again = pictures[Ticket(0, 7, 2, 96, 96)], pictures[Ticket(8, 7, 2, 96, 96)]
    assert len(asked) == 1
    assert same(first[1:], again[1:])
    assert not torch.equal(first[0], again[0])
    other = TrainingPictures(pack, CLASSES, Strength(), 1, targets, crops, memory=TargetMemory(memory.path, "b"))
    other[Ticket(0, 7, 2, 96, 96)]
    assert len(asked) == 2
    for mine, its in zip(first[1:], targets(asked[0], 3), strict=True):
        np.testing.assert_allclose(mine, its, rtol=2e-3)
    nearer = Strength(zoom_low=2.0, zoom_high=2.5, object_low=0.7, object_high=0.8)
    TrainingPictures(pack, CLASSES, nearer, 1, targets, crops, memory=memory)[Ticket(0, 7, 2, 96, 96)]
    assert len(asked) == 4, "the same view, but cut otherwise"


def test_a_ticket_gives_targets_of_its_size(pack: list[Sample]) -> None:
    bgr, heat, heat_weight, box, box_weight = TrainingPictures(
        pack, CLASSES, Strength(), 1, CentreTask().targets, False
    )[Ticket(0, 0, 0, 128, 96)]
    assert (bgr.shape, bgr.dtype) == ((3, 96, 128), torch.uint8)
    assert [tuple(t.shape) for t in (heat, heat_weight, box, box_weight)] == [
        (3, 12, 16), (3, 12, 16), (4, 12, 16), (12, 16),
    ]  # fmt: skip


def test_tickets_of_an_epoch_are_the_same_again_and_those_of_the_next_differ() -> None:
    def of(epoch: int) -> list[list[Ticket]]:
        tickets = Tickets(10, 4, ((64, 64), (96, 96)), 1, None)
        tickets.epoch = epoch
        return list(tickets)

    assert of(3) == of(3)
    assert of(3) != of(4)
    assert [len(batch) for batch in of(3)] == [4, 4]
    assert len({ticket.sample for batch in of(3) for ticket in batch}) == 8


@settings(max_examples=40, deadline=None)
@given(count=st.integers(8, 90), batch=st.integers(1, 8), views=st.integers(1, 4), later=st.integers(1, 3))
def test_views_come_again_in_other_batches_of_one_size(count: int, batch: int, views: int, later: int) -> None:
    def of(epoch: int) -> list[list[Ticket]]:
        tickets = Tickets(count, batch, ((64, 64), (96, 96), (128, 96)), 1, None, views)
        tickets.epoch = epoch
        return list(tickets)

    def cut(batches: list[list[Ticket]]) -> list[Ticket]:
        return sorted(ticket._replace(epoch=0) for batch in batches for ticket in batch)

    first, again = of(1), of(1 + later * views)
    assert cut(first) == cut(again)
    assert cut(first) != cut(of(2)) or views == 1
    assert [len(b) for b in again] == [batch] * (count // batch)
    assert all(len({(t.width, t.height) for t in b}) == 1 for b in again)
    assert {t.epoch for b in again for t in b} == {1 + later * views}


def test_views_of_a_phase_are_not_those_of_the_phase_before() -> None:
    def of(epoch: int, first: int) -> set[int]:
        tickets = Tickets(40, 8, ((64, 64),), 1, None, 3, first)
        tickets.epoch = epoch
        return {ticket.view for batch in tickets for ticket in batch}

    early = set().union(*(of(e, 0) for e in range(5)))
    late = [of(e, 5) for e in range(5, 10)]
    assert not early & set().union(*late)
    assert late[0] == late[3] and late[0] != late[1]


def test_a_turned_sample_is_read_turned(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), lit([("car", BOX)]))
    one = turned(sample([("car", BOX)], size_wh=PICTURE_WH, path=path))
    np.testing.assert_allclose(edges(read_bgr(one)[:, :, 2]), one.boxes[0], atol=0.01)


def test_a_picture_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"torn")
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read as a picture"):
        read_bgr(sample(path=path))
