"""Looking at vehicles: whose turn it is, which plates are large enough, and whose plate it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.config import PlatesConfig
from edge_runtime.datatypes import BgrImage, Picture, Track, Yuv420
from edge_runtime.errors import ConfigError
from edge_runtime.events.appearance import Moment
from edge_runtime.plate_recognition import PlateRecognition
from edge_runtime.plates.finder import plate_in
from edge_runtime.plates.looker import EVERY_S, PlateLooker, PlateNetworks
from edge_runtime.plates.reading import Reading
from edge_runtime.tracking.tracker import TrackerOutput

Box = tuple[float, float, float, float]
CAR: Box = (100, 100, 300, 220)


@dataclass
class MagentaFinder:
    """Finds what is painted magenta; a real finder, if an easy one."""

    size_wh: tuple[int, int] = (192, 160)
    looked: int = 0

    def __call__(self, bgr: BgrImage) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.looked += 1
        assert bgr.shape[1] <= self.size_wh[0] and bgr.shape[0] <= self.size_wh[1]
        y, x = np.nonzero((bgr[..., 0] > 128) & (bgr[..., 1] < 100) & (bgr[..., 2] > 128))
        if not len(x):
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32), np.ones(1, np.float32)


@dataclass
class WidthReader:
    """Reads how wide the cut-out is."""

    alphabet: str = "0123456789"
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, plate: BgrImage) -> Reading:
        self.seen.append(plate.shape)
        return Reading(f"{plate.shape[1]:03}", (1.0,) * 3)


def networks() -> PlateNetworks:
    return PlateNetworks(MagentaFinder(), WidthReader())


def scene(*plates: Box) -> BgrImage:
    out = np.full((400, 700, 3), 90, np.uint8)
    for x1, y1, x2, y2 in plates:
        out[int(y1) : int(y2), int(x1) : int(x2)] = (255, 0, 255)
    return out


def track(id_: int, box: Box = CAR, *, label: str = "car", lost: bool = False, confirmed: bool = True) -> Track:
    return Track(id_, label, 0.9, 0.9, box, 0, 0, 5, confirmed, lost)


def looks(looker: PlateLooker, picture: BgrImage, tracks: Sequence[Track], times: int = 1) -> list[int | None]:
    found = [looker.look(picture, tracks, round(i * EVERY_S * 1e9), lambda _: True) for i in range(times)]
    return [None if seen is None else seen.track for seen in found]


@pytest.mark.parametrize("yuv", [False, True])
def test_a_plate_is_found_in_pixels_of_the_frame(yuv: bool) -> None:
    picture: Picture = scene((150, 190, 250, 215))
    if yuv:
        i420 = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
        u, v = (i420[row : row + 100].reshape(200, 350) for row in (400, 500))
        picture = Yuv420(i420[:400], u, v)
    found = plate_in(picture, CAR, MagentaFinder())
    assert found is not None
    np.testing.assert_allclose(found[0], (150, 190, 250, 215), atol=3)
    assert plate_in(picture, (900, 100, 1000, 220), MagentaFinder()) is None


def test_what_lies_beside_the_vehicle_is_not_its_plate() -> None:
    assert plate_in(scene((302, 190, 310, 215)), CAR, MagentaFinder()) is None


@dataclass
class Forgetful(MagentaFinder):
    """Sees a plate from afar alone."""

    def __call__(self, bgr: BgrImage) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = super().__call__(bgr)
        return (boxes, scores) if self.looked == 1 else (boxes[:0], scores[:0])


def test_what_is_no_plate_on_a_closer_look_is_none() -> None:
    assert plate_in(scene((150, 190, 250, 215)), CAR, Forgetful()) is None


def test_a_plate_is_cut_a_little_wider_than_it_is_and_read_at_native_pixels() -> None:
    used = networks()
    seen = PlateLooker(used, 60).look(scene((150, 190, 250, 215)), [track(1)], 0, lambda _: True)
    assert seen is not None and seen.track == 1
    assert seen.width_px == pytest.approx(100, abs=4)
    assert int(seen.reading.text) == pytest.approx(116, abs=6)


def test_two_vehicles_take_turns() -> None:
    other: Box = (400, 100, 600, 220)
    looker = PlateLooker(networks(), 60)
    picture = scene((150, 190, 250, 215), (450, 190, 550, 215))
    assert set(looks(looker, picture, [track(1), track(2, other)], 2)) == {1, 2}


def test_a_vehicle_is_looked_at_four_times_a_second_however_fast_frames_come() -> None:
    looker, picture = PlateLooker(networks(), 60), scene((150, 190, 250, 215))
    found = [looker.look(picture, [track(1)], i * 10_000_000, lambda _: True) for i in range(100)]
    assert sum(seen is not None for seen in found) == 4


def test_what_is_small_unwanted_lost_unconfirmed_or_no_vehicle_costs_no_look() -> None:
    used = networks()
    looker, picture = PlateLooker(used, 60), scene((110, 110, 140, 120))
    assert looks(looker, picture, [track(1, (100, 100, 150, 150))]) == [None]
    assert looks(looker, picture, [track(1, lost=True)]) == [None]
    assert looks(looker, picture, [track(1, confirmed=False)]) == [None]
    assert looks(looker, picture, [track(1, label="person")]) == [None]
    assert looks(looker, picture, [track(1, label="bicycle")]) == [None]
    assert looker.look(picture, [track(1)], 0, lambda _: False) is None
    assert isinstance(used.finder, MagentaFinder) and used.finder.looked == 0


def test_a_narrow_plate_is_found_but_not_read() -> None:
    used = networks()
    assert looks(PlateLooker(used, 60), scene((150, 190, 190, 200)), [track(1)]) == [None]
    assert isinstance(used.reader, WidthReader) and not used.reader.seen


def test_a_plate_in_front_of_another_vehicle_is_not_the_other_s() -> None:
    front: Box = (120, 140, 320, 260)
    picture = scene((150, 190, 250, 215))  # inside both boxes
    assert looks(PlateLooker(networks(), 60), picture, [track(1), track(2, front)], 2) in ([None, 2], [2, None])


def test_a_listed_plate_that_the_reader_cannot_read_is_refused() -> None:
    config = PlatesConfig(enabled=True, allow=("123", "皖 A 45"))
    with pytest.raises(
        ConfigError, match=r'plates.allow\[1\] = "\S+ A 45": plate_reader cannot read .; leave it out, as in "45"'
    ):
        PlateRecognition(config, networks())


def test_in_its_quiet_hours_no_plate_is_looked_for() -> None:
    nets = networks()
    plates = PlateRecognition(PlatesConfig(enabled=True, quiet="22:00-06:00", readings=1), nets)
    picture, seen = scene((150, 180, 230, 200)), TrackerOutput((track(1),), ())
    night, day = datetime(2026, 11, 24, 23), datetime(2026, 11, 25, 7)
    told = [plates.update(picture, seen, Moment(i * 10**9, None, (700, 400), night)) for i in range(5)]
    assert (told, nets.finder.looked) == ([[]] * 5, 0)  # type: ignore[attr-defined]
    for i in range(5, 10):
        told.append(plates.update(picture, seen, Moment(i * 10**9, None, (700, 400), day)))
    assert sum(map(len, told)) == 1
