"""The event as it leaves the node: schema 1, its JSON Schema, and the identities it carries."""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Callable
from datetime import UTC, datetime

from edge_runtime.datatypes import Direction, Event, EventType, TamperKind, TrackFacts

SCHEMA = 1
ULID_RANDOM_BYTES = 10
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

ULID_PATTERN = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
UUID_PATTERN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
TIME_PATTERN = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"


class Ulids:
    """Makes ULIDs: 48 bits of wall milliseconds, 80 random bits, as 26 letters that sort by time.

    Within one millisecond each is the one before plus one, so that ids of one node sort in the order of its
    events (ULID specification, "Monotonicity").

    Args:
        random_bytes: gives that many random bytes.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._at_ms = -1
        self._value = 0

    def next(self, wall: datetime) -> str:
        """The id of something that happened at `wall`."""
        at_ms = _epoch_ms(wall)
        if at_ms == self._at_ms:
            self._value += 1
        else:
            self._at_ms = at_ms
            self._value = at_ms << 80 | int.from_bytes(self._random_bytes(ULID_RANDOM_BYTES), "big")
        return "".join(CROCKFORD[self._value >> shift & 31] for shift in range(125, -1, -5))


def encode(
    event: Event,
    *,
    node: str,
    camera: str | None,
    boot: str,
    seq: int,
    event_id: str,
    wall: datetime,
    clock_synced: bool,
    latency_ms: float | None,
) -> bytes:
    """The event as compact UTF-8 JSON, keys in the order of schema 1.

    Args:
        event: what happened.
        node: name of the node.
        camera: name of the camera; None for an event about the node itself.
        boot: uuid of this run of the program.
        seq: gap-free number of the event on its node.
        event_id: ULID.
        wall: wall-clock time at which it happened, aware.
        clock_synced: whether that clock had been set.
        latency_ms: from the capture of the deciding frame to this call; None where frames have no real time.

    Raises:
        ValueError: a track without the size of its frame, a number that is not finite, a naive time.
    """
    if wall.tzinfo is None:
        raise ValueError("wall: must be an aware time")
    document: dict[str, object] = {
        "schema": SCHEMA,
        "id": event_id,
        "node": node,
        "camera": camera,
        "boot": boot,
        "seq": seq,
        "type": event.type,
        "time": wall.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "clock_synced": clock_synced,
        "track": None if event.track is None else _track(event.track, event.frame_wh),
        "zone": event.zone,
        "line": event.line,
        "direction": event.direction,
        "slot": event.slot,
        "dwell_s": _rounded(event.dwell_s, 3),
        "kind": event.kind,
        "state": event.state,
        "name": event.name,
        "confidence": _rounded(event.confidence, 3),
        "media_s": _rounded(event.media_s, 3),
        "latency_ms": _rounded(latency_ms, 1),
        "snapshot": event.snapshot,
    }
    if event.type == "events_dropped":
        document["count"] = event.count
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def json_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of `encode`'s output."""
    nullable_name = {"type": ["string", "null"], "minLength": 1}
    nullable_seconds = {"type": ["number", "null"], "minimum": 0}
    properties: dict[str, object] = {
        "schema": {"const": SCHEMA},
        "id": {"type": "string", "pattern": ULID_PATTERN, "description": "ULID; the same when sent again"},
        "node": {"type": "string", "minLength": 1},
        "camera": nullable_name | {"description": "null: the event is about the node itself"},
        "boot": {
            "type": "string",
            "pattern": UUID_PATTERN,
            "description": "new at each start of the program",
        },
        "seq": {"type": "integer", "minimum": 1, "description": "gap-free per node, over restarts"},
        "type": {"enum": list(typing.get_args(EventType))},
        "time": {"type": "string", "pattern": TIME_PATTERN, "description": "UTC, when it happened"},
        "clock_synced": {"type": "boolean", "description": "false: `time` is a guess"},
        "track": {"anyOf": [{"type": "null"}, _track_schema()]},
        "zone": nullable_name,
        "line": nullable_name,
        "direction": {"enum": [*typing.get_args(Direction), None], "description": "across the line"},
        "slot": nullable_name,
        "dwell_s": nullable_seconds,
        "kind": {"enum": [*typing.get_args(TamperKind), None], "description": "of tampering"},
        "state": nullable_name,
        "name": nullable_name | {"description": "of identity: who, as enrolled; of plate: its text"},
        "confidence": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "how sure identity (0.5 at the threshold) or plate (its worst character) is",
        },
        "media_s": nullable_seconds | {"description": "position in the clip; null for a live camera"},
        "latency_ms": {"type": ["number", "null"], "description": "from capture to the outbox"},
        "snapshot": nullable_name | {"description": "topic of the retained picture that shows the track"},
        "count": {"type": "integer", "minimum": 1, "description": "events lost; of events_dropped alone"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edge-runtime event, schema 1",
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key != "count"],
        "additionalProperties": False,
        "allOf": [
            _where(["track_start", "track_update", "track_end", "identity", "plate"], "track", {"type": "object"}),
            _where(["zone_enter", "zone_leave", "dwell"], "zone", {"type": "string"}),
            _where(["line_cross"], "line", {"type": "string"}),
            _where(["line_cross"], "direction", {"type": "string"}),
            _where(["tamper", "tamper_clear"], "kind", {"type": "string"}),
            _where(["slot_occupied", "slot_free"], "slot", {"type": "string"}),
            _where(["identity"], "state", {"enum": ["known", "unknown"]}),
            _where(["plate"], "state", {"enum": ["allowed", "near", "unknown"]}),
            _where(["identity", "plate"], "confidence", {"type": "number"}),
            _where(["events_dropped"], "count", {"type": "integer"}),
            {
                "if": {"properties": {"type": {"not": {"const": "events_dropped"}}}},
                "then": {"properties": {"count": False}},
            },
        ],
    }


def _epoch_ms(wall: datetime) -> int:
    """Milliseconds since 1970, cut off at what 48 bits hold (a clock that was never set may stand before)."""
    return min(max(int(wall.timestamp() * 1000), 0), (1 << 48) - 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def _track(track: TrackFacts, frame_wh: tuple[int, int] | None) -> dict[str, object]:
    """The `track` object; its box is cut off at the borders of the frame, and beyond them the nearest pixel is left."""
    if frame_wh is None:
        raise ValueError(f"track {track.id}: an event with a track must say the size of its frame")
    limits = (*frame_wh, *frame_wh)
    near = [min(max(0.0, edge), limit - 1.0) for edge, limit in zip(track.box[:2], frame_wh, strict=True)]
    far = zip(track.box[2:], near, frame_wh, strict=True)
    box = [*near, *(min(max(edge, start + 1.0), float(limit)) for edge, start, limit in far)]
    return {
        "id": track.id,
        "label": track.label,
        "score": round(float(track.score), 4),
        "box": [round(edge, 1) for edge in box],
        "box_norm": [round(edge / limit, 5) for edge, limit in zip(box, limits, strict=True)],
        "age_s": round(float(track.age_s), 3),
    }


def _track_schema() -> dict[str, object]:
    def four(edge: dict[str, object], meaning: str) -> dict[str, object]:
        return {"type": "array", "items": edge, "minItems": 4, "maxItems": 4, "description": meaning}

    properties: dict[str, object] = {
        "id": {"type": "integer", "minimum": 1},
        "label": {"type": "string", "minLength": 1},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "box": four({"type": "number", "minimum": 0}, "x1, y1, x2, y2 in full-frame pixels, half-open"),
        "box_norm": four({"type": "number", "minimum": 0, "maximum": 1}, "the box as shares of the frame"),
        "age_s": {"type": "number", "minimum": 0},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _where(types: list[str], key: str, demand: dict[str, object]) -> dict[str, object]:
    """The rule that events of these types carry `key`, and that it is not null."""
    return {
        "if": {"properties": {"type": {"enum": types}}},
        "then": {"properties": {key: demand}, "required": [key]},
    }
