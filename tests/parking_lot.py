"""A lot of a whole day, rendered from real car crops over the real empty lot: cars come and go, and much else passes.

The pictures are those of `../shared/data/parking` (PKLot, one fixed camera), which are not part of the project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.config import ParkingConfig, SlotConfig
from edge_runtime.datatypes import Event
from edge_runtime.detection.classifier import SlotClassifier
from edge_runtime.engine import open_model
from edge_runtime.events.appearance import Moment
from edge_runtime.events.parking import Parking
from tests.car_crops import Image, Quad, car_of, paste_car, quad_of

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "parking"
DAY_S = 24 * 3600
APART = (1, 2, 4, 6, 11, 12, 14, 16, 21, 22, 30, 31)
"""Slots of the fixed camera whose cars do not stand on each other's polygons."""
SETTLED_S = 45.0
"""So long after a car has come or gone the lot is looked at as often as a node does, each second."""
WITHIN_S = 60.0
"""An event within this long of what it tells of is right."""


def pklot() -> list[dict]:  # type: ignore[type-arg]
    """The frames of the fixed camera, as `slots.json` has them; skips where the pictures are absent."""
    path = FOLDER / "slots.json"
    if not path.exists():
        pytest.skip("no ../shared/data/parking here: its pictures are not part of the project")
    return [f for f in json.loads(path.read_text())["frames"] if f["source"] == "pklot"]


def slots_of(frame: dict, ids: Sequence[int] | None = None) -> tuple[SlotConfig, ...]:  # type: ignore[type-arg]
    """A frame's slots as configuration."""
    w, h = frame["width"], frame["height"]
    return tuple(
        SlotConfig(str(s["id"]), tuple((min(max(x / w, 0), 1), min(max(y / h, 0), 1)) for x, y in s["polygon"]))
        for s in frame["slots"]
        if ids is None or s["id"] in ids
    )


def picture(frame: dict) -> Image:  # type: ignore[type-arg]
    """A frame's picture, uint8 [h, w, 3]."""
    return np.asarray(cv2.imread(str(FOLDER / frame["file"])), np.uint8)


@dataclass(frozen=True, slots=True)
class Stay:
    """A car in a slot from `start_s` to `end_s`."""

    slot: int
    start_s: float
    end_s: float
    car: int


@dataclass(frozen=True, slots=True)
class Passing:
    """Something that moves over the picture: a car or a person, or the light of a lamp."""

    kind: str
    start_s: float
    end_s: float
    way: tuple[float, float, float, float]
    car: int


@dataclass(slots=True)
class Day:
    """What happens; made from a seed."""

    stays: list[Stay] = field(default_factory=list)
    passing: list[Passing] = field(default_factory=list)

    def occupied(self, slot: int, at_s: float) -> bool:
        """Whether a car stands there then."""
        return any(s.slot == slot and s.start_s <= at_s < s.end_s for s in self.stays)


def a_day(rng: np.random.Generator, quads: Sequence[Quad], size_wh: tuple[int, int], stays: int, passing: int) -> Day:
    """So many stays a slot at the most, of 10 minutes to 8 hours, and so many things that pass within 24 hours."""
    day = Day()
    for slot in range(len(quads)):
        at_s = float(rng.uniform(600, 6 * 3600))
        for _ in range(int(rng.integers(0, stays + 1))):
            end_s = at_s + float(np.exp(rng.uniform(np.log(600), np.log(8 * 3600))))
            day.stays.append(Stay(slot, at_s, end_s, int(rng.integers(1 << 20))))
            at_s = end_s + float(rng.uniform(600, 4 * 3600))
    for _ in range(passing):
        kind = str(rng.choice(["car", "car", "person", "headlight", "lorry"]))
        # Along a line through a slot, so that something is hidden for certain.
        through = quads[int(rng.integers(len(quads)))].mean(0)
        angle, reach = float(rng.uniform(0, 2 * np.pi)), size_wh[0] / 3
        step = np.array((np.cos(angle), np.sin(angle))) * reach
        start_s = float(rng.uniform(0, DAY_S - 60))
        # A person takes up to 30 s over the picture, a car or lorry up to 8.
        lasts_s = float(rng.uniform(10, 30) if kind == "person" else rng.uniform(3, 8))
        way = tuple(map(float, (*(through - step), *(through + step))))
        day.passing.append(Passing(kind, start_s, start_s + lasts_s, way, int(rng.integers(1 << 20))))  # type: ignore[arg-type]
    return day


class Renderer:
    """One verb: `frame`, the picture at a second of the day.

    Args:
        ids: the slots that are used.
        rng: for the sensor's noise.
    """

    def __init__(self, ids: Sequence[int], rng: np.random.Generator) -> None:
        frames = pklot()
        self._rng = rng
        self.empty = [picture(f) for f in frames if f["sequence"] == 0]
        self.slots = slots_of(frames[0], ids)
        self.size_wh = (frames[0]["width"], frames[0]["height"])
        self.quads = [quad_of([(x * self.size_wh[0], y * self.size_wh[1]) for x, y in s.points]) for s in self.slots]
        self._cars = [
            car_of(picture(f), quad_of(s["polygon"]))
            for f in frames
            for s in f["slots"]
            if s["occupied"] and s["id"] in ids
        ]
        self._standing: tuple[tuple[int, ...], Image] | None = None

    def frame(self, day: Day, at_s: float) -> Image:
        """uint8 [h, w, 3]."""
        hour = at_s / 3600
        there = [s for s in day.stays if s.start_s <= at_s < s.end_s]
        # Shadows wander: five pictures of one Sunday, one after the other.
        ground = int(np.clip((hour - 6) / 12, 0, 0.999) * len(self.empty))
        key = (ground, *(day.stays.index(s) for s in there))
        if self._standing is None or self._standing[0] != key:
            bgr = self.empty[ground].copy()
            for stay in sorted(there, key=lambda s: float(self.quads[s.slot][:, 1].max())):
                paste_car(bgr, self.quads[stay.slot], self._cars[stay.car % len(self._cars)])
            self._standing = key, bgr
        bgr = self._standing[1].copy()
        passing = [p for p in day.passing if p.start_s <= at_s < p.end_s]
        for p in passing:
            if p.kind != "headlight":
                self._pass(bgr, p, (at_s - p.start_s) / (p.end_s - p.start_s))
        daylight = float(np.clip(1.3 * np.sin((hour - 5.5) / 13 * np.pi), 0.22, 1))
        lit = cv2.convertScaleAbs(bgr, alpha=daylight)
        for p in passing:
            if p.kind == "headlight":
                x, y = _place(p, (at_s - p.start_s) / (p.end_s - p.start_s))
                rows, columns = np.ogrid[: lit.shape[0], : lit.shape[1]]
                spot = 140 * np.exp(-(((columns - x) / 40) ** 2) - ((rows - y) / 20) ** 2).astype(np.float32)
                lit = cv2.add(lit, cv2.merge([spot] * 3), dtype=cv2.CV_8U)
        noise = self._rng.integers(-3, 4, lit.shape[:2], np.int8).astype(np.float32) * np.float32(2.2 - 1.5 * daylight)
        return np.asarray(cv2.add(lit, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)

    def _pass(self, bgr: Image, p: Passing, share: float) -> None:
        x, y = _place(p, share)
        if p.kind == "person":
            cv2.ellipse(bgr, (round(x), round(y)), (3, 8), 0, 0, 360, _colour(p.car), -1)
            return
        quad = self.quads[p.car % len(self.quads)]
        shape = quad - quad.mean(0)
        at = np.array((x, y), np.float32)
        if p.kind == "lorry":  # as large as three cars, in one colour
            cv2.fillConvexPoly(bgr, np.round(shape * 2.2 + at).astype(np.int32), _colour(p.car))
        else:
            paste_car(bgr, np.asarray(shape + at, np.float32), self._cars[p.car % len(self._cars)])


def _place(p: Passing, share: float) -> tuple[float, float]:
    x1, y1, x2, y2 = p.way
    return x1 + (x2 - x1) * share, y1 + (y2 - y1) * share


def _colour(number: int) -> tuple[int, int, int]:
    return 30 + number % 180, 30 + number // 7 % 180, 30 + number // 53 % 180


def looks(day: Day, calm_s: float) -> Iterator[float]:
    """Seconds at which the lot is looked at: each second around whatever happens, else every `calm_s`."""
    busy = sorted([(p.start_s - 2, p.end_s + 15) for p in day.passing]
                  + [(t - 2, t + SETTLED_S) for s in day.stays for t in (s.start_s, s.end_s)])  # fmt: skip
    at_s, i = 0.0, 0
    while at_s < DAY_S:
        yield at_s
        while i < len(busy) and busy[i][1] < at_s:
            i += 1
        now_busy = i < len(busy) and busy[i][0] <= at_s
        upcoming = busy[i][0] if i < len(busy) else DAY_S
        at_s += 1.0 if now_busy else max(1.0, min(calm_s, np.ceil(upcoming - at_s)))


@dataclass(frozen=True, slots=True)
class Figures:
    """How a day went."""

    slots: int
    looks: int
    changes: int
    told_right: int
    wrong_final: int
    false_by_slot: dict[str, int]
    delay_max_s: float
    faults: list[str]


def simulate(ids: Sequence[int], seed: int, stays: int, passing: int, calm_s: float) -> Figures:
    """One day through the real classifier and the state machine."""
    rng = np.random.default_rng(seed)
    renderer = Renderer(ids, rng)
    day = a_day(rng, renderer.quads, renderer.size_wh, stays, passing)
    classify = SlotClassifier(open_model("slot_classifier", "classifier"), renderer.slots)
    parking = Parking(renderer.slots, ParkingConfig())
    events: list[Event] = []
    count = 0
    for at_s in looks(day, calm_s):
        probable = classify(renderer.frame(day, at_s), renderer.size_wh)
        events += parking.update(probable.tolist(), Moment(round(at_s * 1e9), None, renderer.size_wh))
        count += 1
    return _judged(day, renderer, parking, events, count)


def _judged(day: Day, renderer: Renderer, parking: Parking, events: list[Event], count: int) -> Figures:
    names = [s.name for s in renderer.slots]
    false, right, delay_max_s, changes, faults = dict.fromkeys(names, 0), 0, 0.0, 0, []
    for slot, name in enumerate(names):
        truth = sorted(
            [(0.0, "free")]
            + [(s.start_s, "occupied") for s in day.stays if s.slot == slot and s.start_s < DAY_S]
            + [(s.end_s, "free") for s in day.stays if s.slot == slot and s.end_s < DAY_S]
        )
        changes += len(truth)
        for event in (e for e in events if e.slot == name):
            at_s = event.at_ns / 1e9
            fitting = [(t, state) for t, state in truth if state == event.state and 0 <= at_s - t <= WITHIN_S]
            if fitting:
                truth.remove(fitting[0])
                right, delay_max_s = right + 1, max(delay_max_s, at_s - fitting[0][0])
                continue
            false[name] += 1
            near = [p.kind for p in day.passing if p.start_s <= at_s and at_s - p.end_s <= WITHIN_S]
            faults.append(f"slot {name} told {event.state} at {_clock(at_s)}; passed: {', '.join(near) or 'nothing'}")
        faults += [f"slot {name} not told {state} at {_clock(at_s)}" for at_s, state in truth]
    final = parking.states()
    wrong = sum(final.get(n) != ("occupied" if day.occupied(i, DAY_S - 60) else "free") for i, n in enumerate(names))
    return Figures(len(names), count, changes, right, wrong, false, delay_max_s, faults)


def _clock(at_s: float) -> str:
    minutes, seconds = divmod(int(at_s), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
