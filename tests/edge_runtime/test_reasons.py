"""Each event on the page says why it came, by what its rule said when it fired."""

from __future__ import annotations

import json

from edge_runtime.config import Config, LineConfig, ZoneConfig
from edge_runtime.datatypes import Event
from edge_runtime.events.appearance import track_event
from edge_runtime.events.engine import EventEngine
from edge_runtime.events.explanation import Note
from edge_runtime.reasons import Reasons
from edge_runtime.tracking.tracker import TrackerOutput
from tests.builders import NAMES
from tests.tracks import moment, standing

WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def why(reasons: Reasons, events: list[Event], more: int = 0) -> list[str | None]:
    lines = reasons.added(events, [b'{"schema":1}'] * (len(events) + more))
    return [json.loads(line).get("why") for line in lines]


def test_zones_and_lines_say_what_they_measured() -> None:
    reasons = Reasons()
    config = Config(
        zones=(ZoneConfig("path", WHOLE, enter_s=0.0, dwell_s=0.01), ZoneConfig("lot", WHOLE, enter_s=0.0)),
        lines=(LineConfig("gate", ((0.5, 0.0), (0.5, 1.0))),),
    )
    engine = EventEngine(config, NAMES, reasons.note)
    told: list[tuple[str, str | None]] = []
    for i, x in enumerate((200.0, 300.0, 400.0, 600.0, 700.0)):
        one = standing(7, x, 300.0, i / 10)
        events = engine.update(TrackerOutput((one,), ()), moment(i / 10))
        told += zip([e.type for e in events], why(reasons, events), strict=True)
    assert dict(told)["track_start"] is None
    assert [text for kind, text in told if kind == "zone_enter"] == ["zone_enter: inside for 0.00 s, score 0.90"] * 2
    assert (dict(told)["dwell"] or "").startswith("dwell: inside for 0.10 s")
    assert (dict(told)["line_cross"] or "").startswith("line_cross out")


def identity(id_: int, name: str | None) -> Event:
    face = standing(id_, 30.0, 60.0, 0.0, label="face")
    return track_event("identity", face, moment(0.0), state="known" if name else "unknown", name=name, confidence=0.8)


def test_who_a_face_is_comes_with_the_distance_and_nothing_is_carried_to_the_next_frame() -> None:
    reasons = Reasons()
    reasons.note(Note(0, None, 3, "face", "identity", "Zoë: 3 views, nearest is Zoë at 0.41 of 0.55", True))
    reasons.note(Note(0, None, 4, "face", "identity", "unsure: 3 views", False))
    assert why(reasons, [identity(3, "Zoë"), identity(4, None)], more=1) == [
        "Zoë: 3 views, nearest is Zoë at 0.41 of 0.55", None, None,
    ]  # fmt: skip
    assert why(reasons, [identity(3, "Zoë")]) == [None]
