"""Real lots through the real classifier: frames that were held back, and four days of one camera."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from build_tools.bundle.export import open_any
from build_tools.data.slot_patches import read_frames, split
from build_tools.evaluation.slots import probabilities, slot_figures
from edge_runtime.config import ParkingConfig
from edge_runtime.detection.classifier import SlotClassifier
from edge_runtime.engine import open_model
from edge_runtime.events.appearance import Moment
from edge_runtime.events.parking import Parking
from tests.parking_lot import FOLDER, picture, pklot, slots_of

MODEL = Path(__file__).resolve().parents[2] / "models" / "slot_classifier.edge"
HELD_BACK, HELD_OUT = 0.2, 0.1
"""As in `models/slot_classifier.toml`."""
REACHED = 0.93
"""Of the target of 0.97: see the card. Raise it with a better model."""
WRONG = (4, 0, 0, 4)
"""Of 160 states a day that should be right, so many are not: slot 25, whose kerb looks like a car, and one car that
looks like neither. To be none."""


def test_the_classifier_is_small_and_right_on_frames_it_was_not_trained_on() -> None:
    pklot()  # skips where the pictures are absent
    assert MODEL.stat().st_size <= 30_000
    _, _, held_back = split(read_frames(FOLDER / "slots.json", FOLDER, "acpds"), HELD_BACK, HELD_OUT)
    found = slot_figures(probabilities(open_any(MODEL), held_back), held_back)
    print(json.dumps(found, indent=1))
    assert found["accuracy"] >= REACHED


def day_errors(sequence: int) -> list[str]:
    """Slots that are told wrong from the second frame of a change on, for one of the four days."""
    frames = sorted((f for f in pklot() if f["sequence"] == sequence), key=lambda f: f["time"])
    slots = slots_of(frames[0])
    classify = SlotClassifier(open_model("slot_classifier", "classifier"), slots)
    parking, errors = Parking(slots, ParkingConfig()), []
    start = datetime.fromisoformat(frames[0]["time"])
    before: dict[str, bool] = {}
    for frame in frames:
        size_wh = (frame["width"], frame["height"])
        at_ns = round((datetime.fromisoformat(frame["time"]) - start).total_seconds() * 1e9)
        probable = classify(picture(frame), size_wh)
        parking.update(probable.tolist(), Moment(at_ns, None, size_wh))
        truth = {str(s["id"]): bool(s["occupied"]) for s in frame["slots"]}
        states = parking.states()
        for (name, occupied), p in zip(truth.items(), probable, strict=True):
            if before.get(name) == occupied and states.get(name) != ("occupied" if occupied else "free"):
                errors.append(f"{frame['time']} slot {name}: {states.get(name)}, occupied {occupied}, p {p:.2f}")
        before = truth
    return errors


def test_the_empty_sunday_stays_empty() -> None:
    errors = day_errors(0)
    print("\n".join(errors))
    assert len(errors) <= WRONG[0]


@pytest.mark.parametrize("sequence", [1, 2, 3])
def test_slots_are_right_from_the_second_frame_of_a_change_on(sequence: int) -> None:
    errors = day_errors(sequence)
    print("\n".join(errors))
    assert len(errors) <= WRONG[sequence]
