"""A lot of a whole day, rendered, through the real classifier and the slots' state machine: what is told wrong.

    python -m tests.benchmarks.rendered_lot [--days 4] [--stays 3] [--passing 300] [--calm 60] [--all] [--json]

Each day has another seed. The lot is looked at each second around whatever happens, and every `--calm` seconds in
between, so that a day takes about a minute. `--all` takes every slot of the camera, also those whose cars stand on each
other's polygons. Needs the pictures of `../shared/data/parking`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from tests.parking_lot import APART, Figures, pklot, simulate


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="rendered_lot", description=__doc__)
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--stays", type=int, default=3, help="cars a slot and day at the most")
    parser.add_argument("--passing", type=int, default=300, help="cars, persons, lorries and lamps that pass in a day")
    parser.add_argument("--calm", type=float, default=60.0, help="seconds between two looks when nothing happens")
    parser.add_argument("--all", action="store_true", help="every slot of the camera")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def described(seed: int, day: Figures) -> str:
    """A day in words."""
    false = sum(day.false_by_slot.values())
    worst = max(day.false_by_slot.items(), key=lambda item: item[1])
    lines = [
        f"day {seed}: {day.slots} slots, {day.looks} looks, {day.changes} changes: {day.told_right} told, "
        f"{day.changes - day.told_right} missed, latest after {day.delay_max_s:.0f} s; {day.wrong_final} wrong final "
        f"states; {false} false transitions, at most {worst[1]} a slot (slot {worst[0]})"
    ]
    return "\n".join([*lines, *(f"  {text}" for text in day.faults)])


def main() -> None:
    """Print each day, and the sums that the targets speak of."""
    asked = arguments()
    ids = [s["id"] for s in pklot()[0]["slots"]] if asked.all else list(APART)
    days = []
    for seed in range(1, asked.days + 1):
        days.append(simulate(ids, seed, asked.stays, asked.passing, asked.calm))
        if not asked.json:
            print(described(seed, days[-1]), flush=True)
    if asked.json:
        print(json.dumps([dataclasses.asdict(day) for day in days], indent=1))
        return
    false = [n for day in days for n in day.false_by_slot.values()]
    print(
        f"{len(days)} days: {sum(d.wrong_final for d in days)} wrong final states, "
        f"{sum(false) / len(false):.3f} false transitions a slot and day, at most {max(false)}, "
        f"{sum(d.changes - d.told_right for d in days)} of {sum(d.changes for d in days)} changes missed"
    )


if __name__ == "__main__":
    main()
