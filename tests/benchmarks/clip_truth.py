"""Runs clips through the pipeline and holds the tracks against hand-made truth.

    python -m tests.benchmarks.clip_truth FOLDER [section.key=value ...]

FOLDER holds the clips and `clips.json`. An entry counts as found when a track of its kind starts within a second of
its coming; tracks that belong to no entry are false. Faces have no truth here and are only counted.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime import config
from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.datatypes import Event, group_of
from edge_runtime.health import Health
from edge_runtime.pipeline import Pipeline

IN_TIME_S = 1.0
EARLY_S = 0.6
"""The truth's times are good to 0.3 s, and a track begins a little before it is told of."""


@dataclass
class Seen:
    """One track as its events told of it, seconds in the clip."""

    label: str
    first_s: float
    told_s: float
    best_score: float


@dataclass
class Result:
    """One clip held against its truth: delays by entry (None: missed), false tracks, faces."""

    file: str
    delays_s: list[tuple[str, float | None]] = field(default_factory=list)
    false_tracks: list[Seen] = field(default_factory=list)
    faces: int = 0
    frame_ms: float = 0.0
    crops_per_frame: float = 0.0

    @property
    def in_time(self) -> int:
        """Entries that were tracked in time."""
        return sum(d is not None and d <= IN_TIME_S for _, d in self.delays_s)


def tracks_of(clip: Path, overrides: list[str]) -> tuple[dict[int, Seen], Health]:
    """Every track told of in the clip."""
    clock = SystemClock()
    settings = config.load(None, [*overrides, f"camera.source={clip}"])
    health = Health(clock)
    pipeline = Pipeline(settings, health)
    seen: dict[int, Seen] = {}

    def take(events: list[Event]) -> None:
        for event in events:
            track, at_s = event.track, event.media_s
            assert track is not None
            assert at_s is not None
            if event.type == "track_start":
                seen[track.id] = Seen(track.label, at_s - track.age_s, at_s, track.score)
            entry = seen[track.id]
            entry.label, entry.best_score = track.label, max(entry.best_score, track.score)

    with open_source(settings.camera, clock, loop=False, paced=False, start_ns=0) as source:
        while (frame := source.read()) is not None:
            start_ns = clock.now_ns()
            take(list(pipeline.process(frame).events))
            health.frame_done(start_ns)
            frame.release()
    take(pipeline.finish())
    return seen, health


def compare(clip: Path, truth: dict[str, Any], overrides: list[str]) -> Result:
    """The clip's tracks against its truth."""
    seen, health = tracks_of(clip, overrides)
    result = Result(clip.name, faces=sum(s.label == "face" for s in seen.values()))
    result.frame_ms = health.stages["frame"].percentile_ms(0.5)
    result.crops_per_frame = health.as_dict()["crops_per_frame"]
    belongs: set[int] = set()
    for event in truth["events"]:
        kinds = {group_of(k) for k in (event["kind"], *event.get("accept", ()))}
        until_s = event["leave"] if event["leave"] is not None else truth["seconds"]
        mine = [
            (s.told_s, i)
            for i, s in seen.items()
            if group_of(s.label) in kinds and event["enter"] - EARLY_S <= s.first_s <= until_s
        ]
        belongs |= {i for _, i in mine}
        result.delays_s.append((event["what"], min(mine)[0] - event["enter"] if mine else None))
    result.false_tracks = [s for i, s in seen.items() if i not in belongs and s.label != "face"]
    return result


def all_clips(folder: Path, overrides: list[str]) -> list[Result]:
    """Every clip that `clips.json` in `folder` lists."""
    clips = json.loads((folder / "clips.json").read_text())["clips"]
    return [compare(folder / c["file"], c["truth"] | {"seconds": c["seconds"]}, overrides) for c in clips]


def main() -> None:
    """Print a line per entry and per false track, and the sums."""
    results = all_clips(Path(sys.argv[1]), sys.argv[2:])
    for r in results:
        print(f"{r.file}: {r.frame_ms:.1f} ms a frame, {r.crops_per_frame:.2f} crops, {r.faces} face tracks")
        for what, delay in r.delays_s:
            told = "MISSED" if delay is None else f"{delay:+.2f} s" + ("" if delay <= IN_TIME_S else "  LATE")
            print(f"   {what}: {told}")
        for s in r.false_tracks:
            print(f"   false: {s.label} from {s.first_s:.2f} s, best score {s.best_score:.2f}")
    entries = sum(len(r.delays_s) for r in results)
    false = sum(len(r.false_tracks) for r in results)
    print(f"{sum(r.in_time for r in results)} of {entries} in time, {false} false tracks")


if __name__ == "__main__":
    main()
