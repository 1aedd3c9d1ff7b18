"""Holds zone and line events on real clips against hand-made truth: precision, recall, flaps.

    python -m tests.benchmarks.rule_truth FOLDER [section.key=value ...]

FOLDER holds the clips and `clips.json`. The zone of each clip is the whole picture, so that its truth is when things
come into the picture and go; all clips share one setting of it. The truth of the lines below was read off the pictures
(to 0.3 s), or follows from the edges by which a thing comes and goes. An event is right when its kind, its direction
and its time are: within a second of the truth, a zone_leave within a second beyond `leave_s`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime import config
from edge_runtime.clock import SystemClock
from edge_runtime.commands.replay import NOON, replay
from edge_runtime.config import LineConfig, ZoneConfig
from edge_runtime.datatypes import Event, group_of

PICTURE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
KINDS = ("person", "vehicle")
ZONE = ZoneConfig("picture", PICTURE, KINDS, leave_s=0.5, min_score=0.25)
EARLY_S = 0.6
LATE_S = 1.0
FLAP_S = 1.0

LINES: dict[str, tuple[tuple[config.rules.Point, ...], list[tuple[str, str, float, float]]]] = {
    # points; then kind, direction, and the span in which the crossing happens, in seconds of the clip
    "front_door.mp4": (((0.3, 0.0), (0.3, 1.0)), [("person", "in", 3.3, 3.3)]),
    "lot_cars_overhead.mp4": (
        ((0.0, 0.55), (1.0, 0.55)),
        [("car", "out", 4.35, 8.65), ("car", "in", 14.45, 18.3), ("car", "out", 14.95, 18.98),
         ("car", "in", 25.15, 27.85)],
    ),
    "one_by_one.mp4": (((0.75, 1.0), (0.75, 0.4)), [("person", "in", 18.8, 18.8), ("person", "in", 43.9, 43.9)]),
    "road_overhead.mp4": (
        ((0.5, 1.0), (0.5, 0.0)),
        [("car", "in", 1.95, 4.35), ("car", "in", 3.45, 6.05), ("car", "in", 3.95, 6.25), ("car", "in", 6.48, 8.65),
         ("car", "in", 9.65, 12.05)],
    ),
    "lot_mixed_short.mp4": (((0.0, 0.6), (1.0, 0.6)), [("car", "out", 1.65, 1.65)]),
    "three_people_approach.mp4": (((0.0, 0.2), (1.0, 0.2)), []),
}  # fmt: skip


@dataclass
class Tally:
    """What was told against what happened.

    Attributes:
        right: events that match a happening.
        wrong: events that match none.
        missed: happenings without an event.
    """

    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take another clip's figures."""
        self.right += other.right
        self.wrong += other.wrong
        self.missed += other.missed

    def __str__(self) -> str:
        right, told, happened = self.counts()
        precision = f"{right / told:.2f}" if told else "-"
        recall = f"{right / happened:.2f}" if happened else "-"
        return f"precision {precision} ({right} of {told}), recall {recall} ({right} of {happened})"

    def counts(self) -> tuple[int, int, int]:
        """Right events, events told, happenings."""
        return len(self.right), len(self.right) + len(self.wrong), len(self.right) + len(self.missed)


@dataclass
class Result:
    """One clip: its zone, its line, and how often a zone flapped."""

    file: str
    zone: Tally
    line: Tally
    flaps: int


Happening = tuple[str, set[str], float, float]
"""Type and direction, groups of kinds it may be told as, earliest and latest time of being told."""


def match(told: Sequence[tuple[str, str, float]], happened: Sequence[Happening]) -> Tally:
    """Pair events (what, group, when) with happenings, each once, the earliest that fits first."""
    tally, left = Tally(), sorted(happened, key=lambda h: h[3])
    for what, group, at_s in told:
        fits = [h for h in left if h[0] == what and group in h[1] and h[2] <= at_s <= h[3]]
        if fits:
            left.remove(fits[0])
            tally.right.append(f"{what} {group} {at_s:.2f} s")
        else:
            tally.wrong.append(f"{what} {group} {at_s:.2f} s")
    tally.missed = [f"{what} {'/'.join(sorted(groups))} {a:.2f}-{b:.2f} s" for what, groups, a, b in left]
    return tally


def rules(file: str) -> tuple[ZoneConfig, LineConfig]:
    """The zone and the line of a clip."""
    return ZONE, LineConfig("line", LINES[file][0], KINDS, min_score=ZONE.min_score)


def judged(file: str, truth: dict[str, Any], events: Sequence[Event]) -> Result:
    """A clip's events against its truth; what only the end of the clip ended is left out."""
    zone: list[Happening] = []
    for entry in truth["events"]:
        groups = {group_of(kind) for kind in (entry["kind"], *entry.get("accept", ()))}
        zone.append(("zone_enter", groups, entry["enter"] - EARLY_S, entry["enter"] + LATE_S))
        if entry["leave"] is not None:
            latest_s = entry["leave"] + LATE_S + ZONE.leave_s
            zone.append(("zone_leave", groups, entry["leave"] - EARLY_S, latest_s))
    line: list[Happening] = [
        (f"line_cross {direction}", {group_of(kind)}, a - EARLY_S, b + LATE_S)
        for kind, direction, a, b in LINES[file][1]
    ]
    told: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    visits: dict[int, list[float]] = defaultdict(list)
    for event in events:
        assert event.track is not None
        assert event.media_s is not None
        what = event.type + (f" {event.direction}" if event.direction else "")
        told["zone" if event.zone else "line"].append((what, group_of(event.track.label), event.media_s))
        if event.zone:
            visits[event.track.id].append(event.media_s)
    flaps = sum(b - a < ZONE.leave_s for times in visits.values() for a, b in itertools.pairwise(times))
    return Result(file, match(told["zone"], zone), match(told["line"], line), flaps)


def measured(folder: Path, overrides: list[str]) -> list[Result]:
    """Every clip that `clips.json` in `folder` lists."""
    results = []
    for clip in json.loads((folder / "clips.json").read_text())["clips"]:
        settings = config.load(None, [*overrides, f"camera.source={folder / clip['file']}"])
        zone, line = rules(clip["file"])
        settings = dataclasses.replace(settings, zones=(zone,), lines=(line,))
        events = list(replay(settings, SystemClock(), NOON))
        last_s = (clip["frames"] - 1) / clip["fps"]
        kept = [
            e for e in events if (e.zone or e.line) and (e.type != "zone_leave" or (e.media_s or 0.0) < last_s - 1e-3)
        ]
        results.append(judged(clip["file"], clip["truth"], kept))
    return results


def totals(results: Sequence[Result]) -> tuple[Tally, Tally]:
    """Zones and lines over all clips."""
    zone, line = Tally(), Tally()
    for result in results:
        zone.add(result.zone)
        line.add(result.line)
    return zone, line


def main() -> None:
    """Print what was wrong and what was missed, clip by clip, and the sums."""
    results = measured(Path(sys.argv[1]), sys.argv[2:])
    for result in results:
        print(f"{result.file}: {result.flaps} flaps")
        for name, tally in (("zone", result.zone), ("line", result.line)):
            print(f"  {name}: {tally}")
            for verdict in ("wrong", "missed"):
                for text in getattr(tally, verdict):
                    print(f"    {verdict}: {text}")
    zone, line = totals(results)
    print(f"zones: {zone}\nlines: {line}\nflaps: {sum(r.flaps for r in results)}")


if __name__ == "__main__":
    main()
