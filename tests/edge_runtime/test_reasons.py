"""Each event on the page says why it came, by what its rule said when it fired."""

from __future__ import annotations

import json

from edge_runtime.config import Config, LineConfig, ParkingConfig, SlotConfig, ZoneConfig
from edge_runtime.datatypes import Event
from edge_runtime.events.appearance import track_event
from edge_runtime.events.engine import EventEngine
from edge_runtime.events.explanation import Note
from edge_runtime.events.parking import Parking
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


def test_a_slot_says_what_it_looks_like_and_since_when() -> None:
    reasons = Reasons()
    parking = Parking([SlotConfig("14", WHOLE)], ParkingConfig(min_dwell_s=2.0), reasons.note)
    told: list[tuple[str, str | None]] = []
    for at_s, probability in enumerate((0.1, 0.1, 0.1, 0.1, 0.9, 0.95, 0.92, 0.97)):
        events = parking.update([probability], moment(at_s))
        told += zip([e.type for e in events], why(reasons, events), strict=True)
    since, parked = "summed since", "parking.min_dwell_s"
    assert told == [
        (
            "slot_free",
            f"slot_free: 2.0 s speak for free, {since} 0.00 s, 3 looks, p 0.10 to 0.10; {parked} = 2",
        ),
        (
            "slot_occupied",
            f"slot_occupied: 2.0 s speak for occupied, {since} 4.00 s, 3 looks, p 0.90 to 0.95; {parked} = 2",
        ),
    ]


def test_a_leaving_by_an_edit_says_that_the_zone_ends_and_a_late_entering_how_long_it_took() -> None:
    reasons = Reasons()
    engine = EventEngine(Config(zones=(ZoneConfig("path", WHOLE, enter_s=0.0, cooldown_s=2.0),)), NAMES, reasons.note)
    told: list[str | None] = []
    for at_s in range(5):
        first = standing(7, 300.0, 300.0, at_s, seen_s=min(at_s, 0.0))
        live = (standing(8, 300.0, 300.0, at_s),) if at_s else (first,)
        events = engine.update(TrackerOutput(live, (first,) if at_s == 1 else ()), moment(at_s))
        told += [text for e, text in zip(events, why(reasons, events), strict=True) if e.zone]
    assert told == [
        "zone_enter: inside for 0.00 s, score 0.90",
        "zone_leave: gone for 1.00 s, after 0.00 s inside",
        "zone_enter: inside for 2.00 s, score 0.90",
    ]
    assert why(reasons, engine.apply(Config(), moment(5.0))) == ["zone_leave: the zone ends, after 3.00 s inside"]


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
