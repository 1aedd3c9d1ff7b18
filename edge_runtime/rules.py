"""What a user draws on the picture: zones, lines and parking slots, how they are judged, and which plates are his.

Points are shares of the frame (0 to 1, x to the right, y down), so that they survive a change of resolution.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edge_runtime import polygons
from edge_runtime.events import schedule
from edge_runtime.plates.matching import SEPARATORS, plain
from edge_runtime.polygons import Point
from edge_runtime.settings import required, setting, toml

CORNERS_MAX = 200
AREA_MIN = 1e-4
"""Polygons that cover less of the frame than this are slips of the hand."""
LENGTH_MIN = 0.01
"""And so are lines shorter than this share of the frame."""
SIDE_MIN_PX = 16
"""Slivers at the border and specks, of which the networks are right too seldom to act on."""
SQUARE = ((0.1, 0.5), (0.6, 0.5), (0.6, 1.0), (0.1, 1.0))


class Timed(Protocol):
    """A rule that works at some times."""

    @property
    def active(self) -> str:
        """When it works; empty: always."""

    @property
    def quiet(self) -> str:
        """When it tells nothing; empty: never."""


@dataclass(frozen=True, slots=True)
class ZoneConfig:
    """An area that is entered and left by tracks: a track stands where the middle of its box's lower edge stands."""

    name: str = required("unique over zones, lines and slots; part of topics: a-z 0-9 _ -", example="path")
    points: tuple[Point, ...] = required("corners as shares of the frame, three or more", example=SQUARE)
    labels: tuple[str, ...] = setting((), "who counts: labels of the models, or the group vehicle; empty: all but face")
    enter_s: float = setting(0.3, "inside this long before zone_enter", low=0)
    leave_s: float = setting(1.0, "outside this long before zone_leave", low=0)
    dwell_s: float = setting(0.0, "one dwell event when inside this long; 0: none", low=0)
    min_score: float = setting(0.0, "an entering track must be scored at least this, on average", low=0, high=1)
    min_side_px: int = setting(SIDE_MIN_PX, "and its shorter side have so many pixels of the full frame", low=0)
    min_age_s: float = setting(0.0, "and be followed this long", low=0)
    cooldown_s: float = setting(0.0, "after a zone_leave of a label, no zone_enter of it for this long", low=0)
    active: str = setting("", 'local times it works, as "22:00-06:00" or "mon-fri 08:00-18:00; sat"; empty: always')
    quiet: str = setting("", "local times it tells nothing, written alike; empty: none")

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_polygon(self.points)
        check_hours(self)


@dataclass(frozen=True, slots=True)
class LineConfig:
    """A line that tracks cross: from the left-hand side of a -> b to its right-hand side is `in`, back is `out`."""

    name: str = required("unique over zones, lines and slots; part of topics: a-z 0-9 _ -", example="gate")
    points: tuple[Point, ...] = required("its two ends a, b as shares of the frame", example=((0.2, 0.5), (0.8, 0.5)))
    labels: tuple[str, ...] = setting((), "who counts: labels of the models, or the group vehicle; empty: all but face")
    min_score: float = setting(0.0, "a crossing track must be scored at least this, on average", low=0, high=1)
    min_side_px: int = setting(SIDE_MIN_PX, "and its shorter side have so many pixels of the full frame", low=0)
    min_age_s: float = setting(0.0, "and be followed this long", low=0)
    cooldown_s: float = setting(0.0, "after a crossing, none of that label that way is told for so long", low=0)
    active: str = setting("", 'local times it works, as "22:00-06:00" or "mon-fri 08:00-18:00; sat"; empty: always')
    quiet: str = setting("", "local times it tells nothing, written alike; empty: none")

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_points(self.points)
        if len(self.points) != 2:
            raise ValueError(f"points: a line has two ends, not {len(self.points)}; draw one line for each segment")
        (x1, y1), (x2, y2) = self.points
        if max(abs(x2 - x1), abs(y2 - y1)) < LENGTH_MIN:
            raise ValueError(f"points = {toml(self.points)}: its ends are nearly one point; draw it longer")
        check_hours(self)


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """What every zone and line asks of things of one label, beside what it asks itself."""

    label: str = required("a label of the models, or the group vehicle", example="person")
    min_score: float = setting(0.0, "scored at least this, on average", low=0, high=1)
    min_side_px: int = setting(0, "its shorter side has so many pixels of the full frame", low=0)
    min_age_s: float = setting(0.0, "followed this long", low=0)


@dataclass(frozen=True, slots=True)
class SlotConfig:
    """A parking slot, free or occupied."""

    name: str = required("unique over zones, lines and slots; part of topics: a-z 0-9 _ -", example="14")
    points: tuple[Point, ...] = required("corners as shares of the frame, three or more", example=SQUARE)

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_polygon(self.points)


@dataclass(frozen=True, slots=True)
class ParkingConfig:
    """How slots are judged."""

    model: str = setting("slot_classifier", "a model in models/ by name, or a path")
    every_s: float = setting(1.0, "seconds between two looks at the slots", low=0.1)
    min_dwell_s: float = setting(10.0, "a slot is occupied, or free, this long before it is told", low=0)


@dataclass(frozen=True, slots=True)
class PlatesConfig:
    """Which plate it is: read on vehicles, and compared with a list."""

    enabled: bool = setting(False, "read the plates of vehicles; plates are personal data: say so where you do it")
    allow: tuple[str, ...] = setting((), "plates that are expected; blanks, dots and dashes do not count")
    finder: str = setting(
        "plate_finder",
        "a model in models/ by name, or a path; privacy.level crops blurs what it finds, enabled or not; empty: none",
    )
    reader: str = setting("plate_reader", "a model in models/ by name, or a path with NAME.adapter.toml beside it")
    min_width_px: int = setting(60, "plates with fewer pixels across in the frame are not read", low=16)
    readings: int = setting(3, "readings that agree before anything is said of a plate", low=1, high=12)
    sure: float = setting(0.6, "how sure they must be of its worst character", low=0, high=1)
    tell: Literal["listed", "read", "none"] = setting(
        "listed", "events carry: listed: the plate of the list, of others nothing | read: what was read | none: neither"
    )
    active: str = setting("", 'local times it works, as "22:00-06:00" or "mon-fri 08:00-18:00; sat"; empty: always')
    quiet: str = setting("", "local times it tells nothing, written alike; empty: none")

    def __post_init__(self) -> None:
        check_hours(self)
        seen: dict[str, int] = {}
        for i, text in enumerate(self.allow):
            bare = plain(text)
            strange = next((c for c in text if not c.isalnum() and c not in SEPARATORS), None)
            if strange is not None:
                raise ValueError(f"allow[{i}] = {toml(text)}: {strange} stands on no plate; list each plate as it is")
            if not 3 <= len(bare) <= 12:
                raise ValueError(f"allow[{i}] = {toml(text)}: a plate has 3 to 12 letters and digits")
            if bare in seen:
                raise ValueError(f"allow[{i}] = {toml(text)}: is allow[{seen[bare]}] once more; leave one out")
            seen[bare] = i


def check_names(tables: Sequence[tuple[str, Sequence[ZoneConfig | LineConfig | SlotConfig]]]) -> None:
    """Refuse two rules of one name; `-` and `_` are one where names become ids, as in Home Assistant.

    Raises:
        ValueError: which two, by list and position.
    """
    taken: dict[str, tuple[str, str]] = {}
    for kind, rules in tables:
        for i, rule in enumerate(rules):
            where = f"{kind}[{i}].name"
            plainly = rule.name.replace("-", "_")
            other, name = taken.setdefault(plainly, (where, rule.name))
            if other != where:
                but = "" if name == rule.name else f", {toml(name)}, but for - and _"
                raise ValueError(f"{where} = {toml(rule.name)}: {other} has that name{but}; give it another")


def _check_name(name: str) -> None:
    if not re.fullmatch("[a-z0-9_-]+", name):
        fit = re.sub("[^a-z0-9_-]+", "-", name.lower()).strip("-")
        raise ValueError(
            f"name = {toml(name)}: may hold a-z, 0-9, _ and - only" + (f", as in {toml(fit)}" if fit else "")
        )


def _check_points(points: Sequence[Point]) -> None:
    for i, point in enumerate(points):
        if not all(0 <= share <= 1 for share in point):
            raise ValueError(
                f"points[{i}] = {toml(point)}: lies outside the frame; points are shares of its width and height, "
                "0 to 1: divide pixels by the frame's size"
            )


def _check_polygon(points: Sequence[Point]) -> None:
    _check_points(points)
    if len(points) < 3:
        raise ValueError(f"points: an area has three corners or more, not {len(points)}; add corners")
    if len(points) > CORNERS_MAX:
        raise ValueError(f"points: an area has {CORNERS_MAX} corners at the most, not {len(points)}; leave some out")
    if polygons.area(points) < AREA_MIN and len(points) == 3:
        raise ValueError(f"points = {toml(points)}: the area is next to nothing; draw it larger")
    crossing = polygons.crossing_sides(points)
    if crossing is not None:
        i, j = ((side, (side + 1) % len(points)) for side in crossing)
        raise ValueError(
            f"points: the sides {i[0]}-{i[1]} and {j[0]}-{j[1]} cross or touch (corners count from 0); "
            "list the corners in their order around the area"
        )
    if polygons.area(points) < AREA_MIN:
        raise ValueError(f"points = {toml(points)}: the area is next to nothing; draw it larger")


def check_hours(rule: Timed) -> None:
    """Refuse times that cannot be read.

    Raises:
        ValueError: which, and how it should be written.
    """
    for name, text in (("active", rule.active), ("quiet", rule.quiet)):
        try:
            schedule.parse(text)
        except ValueError as error:
            raise ValueError(f"{name} = {toml(text)}: {error}") from None
