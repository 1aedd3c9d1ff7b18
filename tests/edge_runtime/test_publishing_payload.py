"""Schema 1: what every type of event looks like, and the ids."""

from __future__ import annotations

import json
import re
import typing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.datatypes import Event, EventType, TrackFacts
from edge_runtime.publishing.payload import ULID_PATTERN, Ulids, encode, json_schema

NOW = datetime(2026, 11, 24, 3, 30, 32, 123999, tzinfo=UTC)
BOOT = "7f3c1a52-9d0e-4b7a-8a35-0f6f1f0a2b11"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
FACTS = TrackFacts(17, "person", 0.91, (10.04, 20.0, 110.0, 220.0), 2.4)
FULL = Event(
    "track_start",
    5,
    1.25,
    (640, 480),
    FACTS,
    zone="path",
    line="gate",
    slot="A1",
    dwell_s=3.0,
    kind="covered",
    direction="in",
    state="known",
    name="Žofie",
    confidence=0.9,
)
KINDS: tuple[EventType, ...] = typing.get_args(EventType)


def encoded(event: Event, wall: datetime = NOW, camera: str | None = "front") -> bytes:
    return encode(
        event,
        node="porch",
        camera=camera,
        boot=BOOT,
        seq=1234,
        event_id=Ulids().next(wall),
        wall=wall,
        clock_synced=True,
        latency_ms=41.24,
    )


def of_type(kind: EventType) -> Event:
    state = "allowed" if kind == "plate" else FULL.state
    return replace(FULL, type=kind, state=state, count=3 if kind == "events_dropped" else None)


def test_the_document_is_the_design_s_to_the_letter() -> None:
    text = encoded(
        replace(
            FULL,
            zone="Weg & Tür",
            line=None,
            slot=None,
            dwell_s=None,
            kind=None,
            direction=None,
            state=None,
            name=None,
            confidence=None,
        )
    ).decode()
    assert re.sub('"id":"[^"]*"', '"id":"*"', text) == (
        '{"schema":1,"id":"*","node":"porch","camera":"front",'
        '"boot":"7f3c1a52-9d0e-4b7a-8a35-0f6f1f0a2b11","seq":1234,"type":"track_start",'
        '"time":"2026-11-24T03:30:32.123Z","clock_synced":true,"track":{"id":17,"label":"person","score":0.91,'
        '"box":[10.0,20.0,110.0,220.0],"box_norm":[0.01569,0.04167,0.17188,0.45833],"age_s":2.4},'
        '"zone":"Weg & Tür","line":null,"direction":null,"slot":null,"dwell_s":null,"kind":null,"state":null,'
        '"name":null,"confidence":null,'
        '"media_s":1.25,"latency_ms":41.2,"snapshot":null}'
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_satisfies_the_schema(kind: EventType) -> None:
    VALIDATOR.validate(json.loads(encoded(of_type(kind))))


def test_events_about_the_node_need_neither_track_nor_camera() -> None:
    VALIDATOR.validate(json.loads(encoded(Event("node_online", 0), camera=None)))


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("track_start", "track"), ("track_update", "track"), ("track_end", "track"), ("zone_enter", "zone"),
        ("zone_leave", "zone"), ("dwell", "zone"), ("line_cross", "line"), ("line_cross", "direction"),
        ("tamper", "kind"), ("tamper_clear", "kind"), ("slot_occupied", "slot"),
        ("slot_free", "slot"), ("identity", "state"), ("identity", "track"), ("plate", "state"), ("plate", "track"),
        ("identity", "confidence"), ("plate", "confidence"),
        ("events_dropped", "count"),
    ],
)  # fmt: skip
def test_the_schema_refuses_an_event_without_its_subject(kind: EventType, key: str) -> None:
    document = json.loads(encoded(of_type(kind)))
    assert not VALIDATOR.is_valid(document | {key: None})


def test_the_schema_refuses_what_it_does_not_name() -> None:
    document = json.loads(encoded(FULL))
    assert not VALIDATOR.is_valid(document | {"more": 1})
    assert not VALIDATOR.is_valid(document | {"count": 3}), "count is of events_dropped alone"
    assert not VALIDATOR.is_valid(document | {"time": "2026-11-24 03:30"})
    jsonschema.Draft202012Validator.check_schema(json_schema())


names = st.none() | st.text(min_size=1)
seconds = st.none() | st.floats(0, 1e9)
edges = st.tuples(*[st.floats(-1e4, 1e4)] * 4)
facts = st.builds(TrackFacts, st.integers(1), st.text(min_size=1), st.floats(0, 1), edges, st.floats(0, 1e9))
sizes = st.tuples(st.integers(16, 8192), st.integers(16, 8192))


@given(
    st.sampled_from(KINDS), seconds, sizes, facts, st.text(min_size=1), names, seconds, st.integers(1),
    st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip
def test_any_event_satisfies_the_schema(
    kind: EventType,
    media_s: float | None,
    frame_wh: tuple[int, int],
    track: TrackFacts,
    name: str,
    other: str | None,
    dwell_s: float | None,
    count: int,
    wall: datetime,
) -> None:
    told = kind in ("identity", "plate")
    state, sure = ("unknown", track.score) if told else (other, None)
    event = Event(
        kind, 0, media_s, frame_wh, track, name, name, name, dwell_s, count, "moved", "out", state, other, sure
    )  # fmt: skip
    document = json.loads(encoded(event, wall, camera=other))
    VALIDATOR.validate(document)
    x1, y1, x2, y2 = document["track"]["box"]
    assert 0 <= x1 < x2 <= frame_wh[0]
    assert 0 <= y1 < y2 <= frame_wh[1]


def test_other_time_zones_become_utc_and_naive_times_are_refused() -> None:
    cet = NOW.astimezone(timezone(timedelta(hours=1)))
    assert json.loads(encoded(FULL, cet))["time"] == "2026-11-24T03:30:32.123Z"
    with pytest.raises(ValueError, match="aware"):
        encoded(FULL, NOW.replace(tzinfo=None))


def test_a_track_without_its_frame_s_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size of its frame"):
        encoded(replace(FULL, frame_wh=None))


@given(st.lists(st.integers(0, 2), max_size=50))
def test_ids_sort_in_the_order_of_events(steps_ms: list[int]) -> None:
    ulids, wall, made = Ulids(lambda n: b"\xff" * n), NOW, []
    for step in steps_ms:
        wall += timedelta(milliseconds=step)
        made.append(ulids.next(wall))
    assert all(re.match(ULID_PATTERN, ulid) for ulid in made)
    for i in range(1, len(made)):
        if steps_ms[i] == 0:
            assert made[i] > made[i - 1], "even where the random bits overflow"


def test_the_id_holds_the_time_and_the_random_bits() -> None:
    # The specification's own example of a time: 1469918176385 ms is 01ARYZ6S41.
    wall = datetime.fromtimestamp(1469918176.385, UTC)
    assert Ulids(lambda n: bytes(n)).next(wall) == "01ARYZ6S41" + "0" * 16
    assert Ulids(lambda n: b"\xff" * n).next(wall) == "01ARYZ6S41" + "Z" * 16
