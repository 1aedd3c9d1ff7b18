"""What a person at the terminal reads of an event."""

from __future__ import annotations

from typing import Any

import pytest

from edge_runtime.datatypes import Event, TrackFacts
from edge_runtime.publishing.console import sentence

CAR = TrackFacts(3, "car", 0.9, (1.2, 2, 30, 40), 2.0)
REST = "score 0.90, age 2.0 s, box 1, 2, 30, 40"


@pytest.mark.parametrize(("facts", "said"), [
    ({"type": "line_cross", "track": CAR, "line": "gate", "direction": "out"},
     f"line_cross   car 3 at 7.60 s, gate out, {REST}"),
    ({"type": "zone_enter", "track": CAR, "zone": "lot"}, f"zone_enter   car 3 at 7.60 s, lot, {REST}"),
    ({"type": "track_start", "track": CAR}, f"track_start  car 3 at 7.60 s, {REST}"),
    ({"type": "slot_free", "slot": "14"}, "slot_free    14 at 7.60 s"),
    ({"type": "tamper", "kind": "covered"}, "tamper       covered at 7.60 s"),
])  # fmt: skip
def test_an_event_is_one_sentence_that_names_its_rule(facts: dict[str, Any], said: str) -> None:
    assert sentence(Event(at_ns=0, media_s=7.6, **facts)) == said
