"""Plates on pictures that leave: looked for on every vehicle in view, hidden with a margin, and only at `crops`."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.config import PrivacyConfig
from edge_runtime.datatypes import BgrImage, Frame
from edge_runtime.plates.hiding import plate_areas
from edge_runtime.publishing.snapshots import Snapshots
from edge_runtime.publishing.topics import Topics
from tests.builders import NAMES, detections
from tests.edge_runtime.test_plates_looker import CAR, MagentaFinder, scene, track

PLATE = (150, 190, 250, 215)
WHOLE = (0.0, 0.0, 700.0, 400.0)
NONE = detections()


def magenta(picture: BgrImage) -> int:
    """Pixels that still look like the plate."""
    return int(((picture[..., 0] > 200) & (picture[..., 1] < 60) & (picture[..., 2] > 200)).sum())


def shown(level: str, finder: MagentaFinder | None, picture: BgrImage, *tracks: object) -> list[BgrImage]:
    put: list[bytes] = []
    told = Snapshots(
        PrivacyConfig(level=level), Topics("edge", "porch", "front"), NAMES, lambda _, p: put.append(p), finder  # type: ignore[arg-type]
    )  # fmt: skip
    told.update(Frame(picture, picture[::4, ::4], 0, 0), NONE, tracks)  # type: ignore[arg-type]
    pictures = [cv2.imdecode(np.frombuffer(p, np.uint8), cv2.IMREAD_COLOR) for p in put]
    return [np.asarray(p, np.uint8) for p in pictures if p is not None]


def test_a_plate_is_gone_at_crops_and_stays_where_pictures_may_show_all() -> None:
    (blurred,) = shown("crops", MagentaFinder(), scene(PLATE), track(1))
    assert magenta(blurred) == 0
    (legible,) = shown("snapshots", MagentaFinder(), scene(PLATE), track(1))
    assert magenta(legible) > 2000
    (unasked,) = shown("crops", None, scene(PLATE), track(1))
    assert magenta(unasked) > 2000
    assert shown("events", MagentaFinder(), scene(PLATE), track(1)) == []


def test_the_plate_of_a_car_behind_is_hidden_on_another_s_picture_too() -> None:
    picture = scene(PLATE, (330, 150, 345, 158))
    behind = track(2, (290, 90, 400, 180), lost=True)
    assert len(plate_areas(picture, (70, 70, 350, 240), NONE, [track(1), behind], MagentaFinder())) >= 2
    seen = detections([(290, 90, 400, 180)], [0.1], ["car"])
    finder = MagentaFinder()
    plate_areas(picture, (70, 70, 350, 240), seen, [track(1), behind], finder)
    again = MagentaFinder()
    plate_areas(picture, (70, 70, 350, 240), NONE, [track(1), behind], again)
    assert finder.looked == again.looked, "the same car is looked at once"


def test_nobody_looks_at_persons_nor_at_what_is_not_shown() -> None:
    finder = MagentaFinder()
    plate_areas(scene(), (0, 0, 90, 90), NONE, [track(1), track(2, (0, 0, 80, 80), label="person")], finder)
    assert finder.looked == 1, "the picture as a whole"


@given(st.integers(0, 150), st.integers(0, 70), st.integers(30, 60), st.integers(12, 24))
def test_wherever_the_plate_is_on_the_car_all_of_it_is_hidden(x: int, y: int, w: int, h: int) -> None:
    plate = (CAR[0] + x, CAR[1] + y, min(CAR[0] + x + w, CAR[2]), CAR[1] + y + h)
    areas = plate_areas(scene(plate), WHOLE, NONE, [track(1)], MagentaFinder())
    assert any(a <= plate[0] and b <= plate[1] and c >= plate[2] and d >= plate[3] for a, b, c, d in areas)
