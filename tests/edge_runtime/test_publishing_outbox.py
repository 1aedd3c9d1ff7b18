"""The queue on disk: numbered without gaps, bounded, refusing what it cannot trust."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.datatypes import Event, TrackFacts
from edge_runtime.errors import StorageError
from edge_runtime.publishing.outbox import Outbox, Stamp
from edge_runtime.publishing.payload import encode, json_schema

NOW = datetime(2026, 11, 24, 3, 30, 32, 123456, tzinfo=UTC)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
BOOT = "7f3c1a52-9d0e-4b7a-8a35-0f6f1f0a2b11"


def stamp(wall: datetime = NOW) -> Stamp:
    return Stamp(node="porch", camera="front", boot=BOOT, wall=wall, clock_synced=True, latency_ms=None)


def event(kind: str = "track_start", track: int = 1) -> Event:
    facts = TrackFacts(track, "person", 0.91, (-3.0, 20.0, 110.04, 500.0), 2.4)
    return Event(kind, 1, 3.2504, (640, 480), facts)  # type: ignore[arg-type]


def opened(folder: Path, max_bytes: int = 10_000_000, max_age_s: float = 1e6) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=max_bytes, max_age_s=max_age_s)


@given(st.lists(st.one_of(st.just("append"), st.just("reopen"), st.integers(0, 30)), max_size=30))
@settings(max_examples=25, deadline=None)
def test_it_behaves_like_a_plain_list(tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]) -> None:
    folder = tmp_path_factory.mktemp("state")
    model: list[int] = []
    last = 0
    outbox = opened(folder).__enter__()
    try:
        for step in steps:
            if step == "append":
                last += 1
                assert outbox.append(event(), stamp()).seq == last
                model.append(last)
            elif step == "reopen":
                outbox.__exit__(None, None, None)
                outbox = opened(folder).__enter__()
            else:
                outbox.acknowledge(int(step))
                model = [seq for seq in model if seq != step]
            assert [row.seq for row in outbox.pending(100)] == model
            assert outbox.counts.pending == len(model)
    finally:
        outbox.__exit__(None, None, None)


def test_the_payload_is_schema_1(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        payload = json.loads(outbox.append(event(), stamp()).payload)
    jsonschema.validate(payload, json_schema())
    assert list(payload)[:8] == ["schema", "id", "node", "camera", "boot", "seq", "type", "time"]
    assert payload["time"] == "2026-11-24T03:30:32.123Z"
    assert payload["track"]["box"] == [0.0, 20.0, 110.0, 480.0]
    assert payload["track"]["box_norm"] == [0.0, 0.04167, 0.17194, 1.0]
    assert payload["media_s"] == 3.25


kinds = st.sampled_from(["track_start", "track_update", "track_end", "zone_enter", "zone_leave"])
coordinates = st.tuples(*[st.floats(-2000, 2000)] * 4)


@given(kinds, coordinates, st.floats(0, 1), st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1e5)))
@settings(max_examples=100, deadline=None)
def test_every_payload_satisfies_its_own_schema(
    kind: str, box: tuple[float, float, float, float], score: float, age_s: float, media_s: float | None
) -> None:
    facts = TrackFacts(7, "car", score, box, age_s)
    zone = "path" if kind.startswith("zone") else None
    made = Event(kind, 0, media_s, (640, 480), facts, zone=zone)  # type: ignore[arg-type]
    payload = encode(
        made, node="n", camera="c", boot=BOOT, seq=1, event_id="0" * 26, wall=NOW, clock_synced=False, latency_ms=1.5
    )
    VALIDATOR.validate(json.loads(payload))


def test_beyond_its_bytes_the_oldest_go_and_that_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes=20_000) as outbox:
        for i in range(100):
            outbox.append(event(track=i), stamp())
        told = outbox.trim(stamp())
        assert told is not None
        payload = json.loads(told.payload)
        jsonschema.validate(payload, json_schema())
        left = [row.seq for row in outbox.pending(200)]
        assert payload["type"] == "events_dropped"
        assert payload["count"] + len(left) - 1 == 100
        assert left == list(range(left[0], 102)), "only the oldest went, and numbers go on"
        assert outbox.counts.pending_bytes <= 20_000


def test_a_torn_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "outbox.sqlite"
    file.write_bytes(b"this is no database, but it may be somebody's" * 100)
    with pytest.raises(StorageError, match=r"outbox\.sqlite"):
        opened(tmp_path).__enter__()
    assert file.read_bytes().startswith(b"this is no database")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StorageError, match="in use by another process"):
        opened(tmp_path).__enter__()
