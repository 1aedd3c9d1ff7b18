"""The golden event files: what zones and lines tell of the demo and of six real clips. They are made anew by

    python -m tests.golden [NAME ...]

which says what changed. A better network changes some: look at each before you commit it. The real clips lie beside the
repository and are not part of it; where they are absent, their files stay as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent / "end_to_end" / "golden"
"""For each clip its rules, NAME.toml, and its events, NAME.jsonl."""
CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
NAMES = (
    "front_door",
    "lot_cars_overhead",
    "lot_mixed_short",
    "one_by_one",
    "road_overhead",
    "three_people_approach",
)
RULES = ("zone_enter", "zone_leave", "dwell", "line_cross")
FIELDS = ("zone", "line", "type", "direction", "media_s")


def clip_of(name: str) -> str | None:
    """What `replay` is given as the clip; None where it is absent."""
    path = CLIPS / f"{name}.mp4"
    return "demo" if name == "demo" else str(path) if path.is_file() else None


def replayed(name: str, clip: str) -> str:
    """What `edge-runtime replay` prints of a clip by its rules."""
    command = [sys.executable, "-m", "edge_runtime.cli", "replay", clip, "--config", str(FOLDER / f"{name}.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def golden_of(printed: str) -> str:
    """The lines of a golden file: of the events that zones and lines tell, what they are held by."""
    events = [event for event in map(json.loads, printed.splitlines()) if event["type"] in RULES]
    return "".join(json.dumps({key: event[key] for key in FIELDS}) + "\n" for event in events)


def main(names: Sequence[str]) -> None:
    """Write the files anew and say of each how it changed."""
    for name in names or ("demo", *NAMES):
        file, clip = FOLDER / f"{name}.jsonl", clip_of(name)
        if clip is None:
            print(f"{name}: {CLIPS / name}.mp4 is absent; its file stays as it is")
            continue
        before = Counter(file.read_text().splitlines() if file.exists() else ())
        file.write_text(golden_of(replayed(name, clip)))
        now = Counter(file.read_text().splitlines())
        print(f"{name}: {now.total()} events, {(now - before).total()} new, {(before - now).total()} gone")


if __name__ == "__main__":
    main(sys.argv[1:])
