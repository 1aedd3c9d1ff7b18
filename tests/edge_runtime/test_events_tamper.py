"""A camera that is covered, blinded, defocused, moved, frozen or noisy is told of, and nothing else is."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.config import TamperConfig
from edge_runtime.datatypes import TamperKind
from edge_runtime.events.appearance import Moment
from edge_runtime.events.tamper import Tamper
from edge_runtime.imaging.lores import make_lores

Image = NDArray[np.uint8]
Alter = Callable[[Image, np.random.Generator], Image]

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "data" / "clips"
DEMO = ROOT / "models" / "demo.mp4"
NAMES = ("demo", "front_door", "lot_cars_overhead", "lot_mixed_short", "one_by_one", "road_overhead",
         "three_people_approach")  # fmt: skip
STEP_S = 0.25
MAIN_WH, LORES_WH = (480, 360), (320, 240)

# What the module promises, with the times of TamperConfig.
WITHIN_S: dict[TamperKind, float] = {
    "covered": 4.0, "blinded": 4.0, "defocused": 10.0, "moved": 10.0, "frozen": 11.0, "noise": 10.0,
}  # fmt: skip
CLEARED_WITHIN_S = 3.0
WELL_S = 12.0
ILL_S = 14.0


@functools.cache
def pictures(name: str) -> tuple[Image, ...]:
    """A picture each quarter of a second of a clip, at most 480 wide; skips where the clip is absent."""
    path = DEMO if name == "demo" else CLIPS / f"{name}.mp4"
    if not path.exists():
        pytest.skip(f"no {path.name} here: the clips of ../shared/data/clips are not part of the project")
    clip = cv2.VideoCapture(str(path))
    fps = clip.get(cv2.CAP_PROP_FPS)
    taken: list[Image] = []
    for i in itertools.count():
        whole, picture = clip.read()
        if not whole:
            return tuple(taken)
        if i / fps >= len(taken) * STEP_S:
            taken.append(make_lores(np.asarray(picture, np.uint8), MAIN_WH))
    raise AssertionError


def watched(small: Iterable[Image], tamper: Tamper, start_s: float = 0.0) -> list[tuple[float, str, str | None]]:
    """(seconds, type, kind) of what a sequence of small pictures leads to, a quarter of a second apart."""
    told = []
    for i, lores in enumerate(small):
        at_s = start_s + i * STEP_S
        for event in tamper.update(lores, Moment(round(at_s * 1e9), at_s, (768, 432))):
            told.append((at_s, event.type, event.kind))
    return told


@functools.cache
def small_pictures(name: str) -> tuple[Image, ...]:
    """The same, as small pictures."""
    return tuple(make_lores(picture, LORES_WH) for picture in pictures(name))


def looped(name: str, seconds: float, alter: Alter | None = None, skip_s: float = 0.0) -> Iterator[Image]:
    """Small pictures of the clip, again and again for so long; what alters them does so before they are made small."""
    rng = np.random.default_rng(7)
    for i in range(round(seconds / STEP_S)):
        n = (i + round(skip_s / STEP_S)) % len(pictures(name))
        yield small_pictures(name)[n] if alter is None else make_lores(alter(pictures(name)[n], rng), LORES_WH)


@functools.cache
def acquainted(name: str) -> Tamper:
    """One that has watched the clip for `WELL_S` and found nothing; to be copied."""
    tamper = Tamper(TamperConfig())
    assert watched(looped(name, WELL_S), tamper) == []
    return tamper


@functools.cache
def grains(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Some pictures of noise of standard deviation 1; making them anew for each frame would take most of the time."""
    return np.random.default_rng(3).standard_normal((8, *shape), np.float32)


def noisy(picture: NDArray[Any], rng: np.random.Generator, sigma: float) -> Image:
    grain = grains(picture.shape)[rng.integers(8)][:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
    return np.clip(picture + np.float32(sigma) * grain, 0, 255).astype(np.uint8)


def black_tape(picture: Image, rng: np.random.Generator) -> Image:
    return noisy(np.full(picture.shape, 4.0, np.float32), rng, 2)


def hand(picture: Image, rng: np.random.Generator) -> Image:
    """Skin far out of focus: a few soft folds and the grain of the sensor."""
    h, w = picture.shape[:2]
    folds = cv2.resize(rng.standard_normal((5, 7, 3)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    return noisy(np.array((60, 75, 130), np.float32) + 14 * folds, rng, 3)


def cloth_at_night(picture: Image, rng: np.random.Generator) -> Image:
    """Nearly dark under a cloth, so that the camera turns up its gain and with it the noise."""
    h, w = picture.shape[:2]
    folds = cv2.resize(rng.standard_normal((5, 7, 3)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    return noisy(np.float32(40) + 6 * folds, rng, 6)


def white_out(picture: Image, rng: np.random.Generator) -> Image:
    return np.clip(picture * np.float32(0.15) + 235, 0, 255).astype(np.uint8)


def torch(picture: Image, rng: np.random.Generator) -> Image:
    """A lamp into the lens: a white disc whose glare fills the rest."""
    h, w = picture.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    away = np.hypot(x - 0.55 * w, y - 0.4 * h) / w
    return np.clip(picture * np.float32(0.2) + (300 - 180 * away)[..., None], 0, 255).astype(np.uint8)


def blurred(share_of_width: float) -> Alter:
    def alter(picture: Image, rng: np.random.Generator) -> Image:
        sigma = share_of_width * picture.shape[1]
        return noisy(cv2.GaussianBlur(picture, (0, 0), sigma), rng, 1)

    return alter


def warped(matrix: Callable[[int, int], Any]) -> Alter:
    def alter(picture: Image, rng: np.random.Generator) -> Image:
        h, w = picture.shape[:2]
        turned = cv2.warpAffine(picture, np.float32(matrix(w, h)), (w, h), borderMode=cv2.BORDER_REFLECT)
        return np.asarray(turned, np.uint8)

    return alter


def shifted(right: float, down: float) -> Alter:
    return warped(lambda w, h: [[1, 0, right * w], [0, 1, down * h]])


def turned_about(degrees: float) -> Alter:
    return warped(lambda w, h: cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0))


def night_noise(picture: Image, rng: np.random.Generator) -> Image:
    return noisy(picture, rng, 20)


ALTERATIONS: dict[str, tuple[TamperKind, Alter]] = {
    "black tape": ("covered", black_tape),
    "a hand": ("covered", hand),
    "a cloth at night": ("covered", cloth_at_night),
    "white-out": ("blinded", white_out),
    "a torch": ("blinded", torch),
    "a slight blur": ("defocused", blurred(0.004)),
    "a blur": ("defocused", blurred(0.008)),
    "a heavy blur": ("defocused", blurred(0.015)),
    "a shift of 8 %": ("moved", shifted(0.08, 0.05)),
    "a shift of 30 %": ("moved", shifted(-0.3, 0.1)),
    "a turn by 10 degrees": ("moved", turned_about(10)),
    "night noise": ("noise", night_noise),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_each_tampering_is_told_of_in_time_and_once_and_cleared_after(name: str, alteration: str) -> None:
    kind, alter = ALTERATIONS[alteration]
    tamper = copy.deepcopy(acquainted(name))
    ill = watched(looped(name, ILL_S, alter, skip_s=WELL_S), tamper, WELL_S)
    assert [(type_, what) for _, type_, what in ill] == [("tamper", kind)]
    assert ill[0][0] <= WELL_S + WITHIN_S[kind]
    assert tamper.raised == (kind,)
    after = watched(looped(name, 4.0, skip_s=WELL_S + ILL_S), tamper, WELL_S + ILL_S)
    assert [(type_, what) for _, type_, what in after] == [("tamper_clear", kind)]
    assert after[0][0] <= WELL_S + ILL_S + CLEARED_WITHIN_S


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_that_repeats_is_frozen_until_it_moves_on(name: str) -> None:
    tamper = copy.deepcopy(acquainted(name))
    still = next(looped(name, STEP_S, skip_s=WELL_S))
    ill = watched(itertools.repeat(still, round(ILL_S / STEP_S)), tamper, WELL_S)
    assert [(type_, what) for _, type_, what in ill] == [("tamper", "frozen")]
    assert ill[0][0] <= WELL_S + WITHIN_S["frozen"]
    after = watched(looped(name, 4.0), tamper, WELL_S + ILL_S)
    assert [(type_, what) for _, type_, what in after] == [("tamper_clear", "frozen")]
    assert after[0][0] <= WELL_S + ILL_S + CLEARED_WITHIN_S


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_told_of_an_unaltered_clip(name: str) -> None:
    once = len(pictures(name)) * STEP_S
    assert watched(looped(name, max(2 * once, 30.0)), Tamper(TamperConfig())) == []


@pytest.mark.parametrize("shift_s", [3.0, 8.0, 14.0])
def test_exposure_that_jumps_with_each_white_car_is_no_tampering_wherever_the_clip_starts(shift_s: float) -> None:
    assert watched(looped("demo", 35.0, skip_s=shift_s), Tamper(TamperConfig())) == []
