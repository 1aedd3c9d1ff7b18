"""Our events as Frigate tells of its tracked objects, so that automations written for Frigate keep working.

https://docs.frigate.video/integrations/mqtt (`frigate/events`); the fields are those of Frigate 0.16's
`TrackedObject.to_dict`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from datetime import datetime
from typing import Any

from edge_runtime.publishing.bearer import bearer_of

FPS = 5
"""Frigate counts motionless frames; this many a second is its default."""
STATIONARY_S = 10.0
"""An object that has not moved for so long is stationary (Frigate's default: 10 s)."""
SAME_PLACE_IOU = 0.6
"""A box that overlaps its old place by so much has not moved."""
PATH_STEP = 0.05
"""A path gets a new point when the object has gone so far, as a share of the frame."""
ANY = "all"
"""As what objects of any label are counted together."""

Told = dict[str, Any]


class FrigateObjects:
    """Follows the events of one camera; one verb: `translate`."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, int], _Object] = {}

    def translate(self, event: dict[str, Any]) -> list[Told]:
        """The messages of `frigate/events` that this event of ours amounts to.

        Frigate tells of a face as its person's `sub_label`. With us a face is a track of its own, so that an event
        `identity` amounts to two messages where it is known who bears the face.

        Args:
            event: as published, event schema 1.
        """
        track = event["track"]
        if track is None:
            return []
        key = event["boot"], track["id"]
        message = self._followed(key, event)
        if message is None:
            return []
        if event["type"] == "identity":
            return [message, *self._named(key)]
        if track["label"] == "person" and event["type"] != "track_end" and (name := self._name_of(key)) is not None:
            self._objects[key].told["sub_label"] = message["after"]["sub_label"] = name
        return [message]

    def _followed(self, key: tuple[str, int], event: dict[str, Any]) -> Told | None:
        """The message about the track itself; none after its end, or before anybody was told of it."""
        known = self._objects.get(key)
        if known is None:
            if event["type"] not in ("track_start", "track_update", "zone_enter"):
                return None
            known = self._objects[key] = _Object(event)
            before: Told = known.told | {
                "false_positive": True,
                "top_score": 0.0,
                "current_zones": [],
                "entered_zones": [],
            }
            known.follow(event)
            return {"type": "new", "before": before, "after": dict(known.told)}
        before = dict(known.told)
        known.follow(event)
        if event["type"] != "track_end":
            return {"type": "update", "before": before, "after": dict(known.told)}
        del self._objects[key]
        return {"type": "end", "before": before, "after": known.told | {"end_time": known.told["frame_time"]}}

    def _named(self, face: tuple[str, int]) -> list[Told]:
        """The message about the person who bears a face that was looked at, if that is news."""
        boxes = {id_: o.told["box"] for (boot, id_), o in self._objects.items() if _is(o, "person") and boot == face[0]}
        bearer, name = bearer_of(self._objects[face].told["box"], boxes), self._objects[face].told["sub_label"]
        if bearer is None:
            return []
        person = self._objects[face[0], bearer]
        if person.told["sub_label"] == name:
            return []
        before = dict(person.told)
        person.told["sub_label"] = name
        return [{"type": "update", "before": before, "after": dict(person.told)}]

    def _name_of(self, person: tuple[str, int]) -> list[Any] | None:
        """As whom a person is known whose face was named before anybody was told of them, or apart from them."""
        if self._objects[person].told["sub_label"] is not None:
            return None
        box = {person[1]: self._objects[person].told["box"]}
        faces = [o.told for (boot, _), o in self._objects.items() if _is(o, "face") and boot == person[0]]
        return next((f["sub_label"] for f in faces if f["sub_label"] and bearer_of(f["box"], box) is not None), None)

    def counts(self) -> Counter[tuple[str, str]]:
        """Objects by (camera or zone, label), with `ANY` for all of them."""
        found: Counter[tuple[str, str]] = Counter()
        for known in self._objects.values():
            for place in (known.told["camera"], *known.told["current_zones"]):
                found[place, known.told["label"]] += 1
                found[place, ANY] += 1
        return found


class _Object:
    """What Frigate would know of one track."""

    def __init__(self, event: dict[str, Any]) -> None:
        track, at_s = event["track"], _epoch_s(event["time"])
        start_s = round(at_s - track["age_s"], 6)
        mark = hashlib.sha256(f"{event['boot']} {track['id']}".encode()).hexdigest()[:6]
        self._place, self._since_s = track["box"], at_s
        self._pictured: set[str] = set()
        self.told: Told = {
            "id": f"{start_s:.6f}-{mark}",
            "camera": event["camera"],
            "frame_time": at_s,
            "snapshot": None,
            "label": track["label"],
            "sub_label": None,
            "top_score": track["score"],
            "false_positive": False,
            "start_time": start_s,
            "end_time": None,
            "score": track["score"],
            **_shape(track["box"]),
            "active": True,
            "stationary": False,
            "motionless_count": 0,
            "position_changes": 0,
            "current_zones": [],
            "entered_zones": [],
            "has_clip": False,
            "has_snapshot": False,
            "attributes": {},
            "current_attributes": [],
            "pending_loitering": False,
            "max_severity": None,
            "current_estimated_speed": 0,
            "average_estimated_speed": 0,
            "velocity_angle": 0,
            "path_data": [],
            "recognized_license_plate": None,
            "recognized_license_plate_score": None,
        }

    def follow(self, event: dict[str, Any]) -> None:
        """Bring it up to date with an event of its track. Lists are replaced, not changed: `before` holds the old."""
        told, track, at_s = self.told, event["track"], _epoch_s(event["time"])
        told.update(_shape(track["box"]), frame_time=at_s, label=track["label"], score=track["score"])
        told["top_score"] = max(told["top_score"], track["score"])
        x1, _y1, x2, y2 = track["box_norm"]
        foot = [round((x1 + x2) / 2, 4), round(y2, 4)]
        if not told["path_data"] or math.dist(told["path_data"][-1][0], foot) >= PATH_STEP:
            told["path_data"] = [*told["path_data"], [foot, at_s]]
        if _iou(self._place, track["box"]) < SAME_PLACE_IOU:
            told["position_changes"] += told["stationary"]
            self._place, self._since_s = track["box"], at_s
        told["motionless_count"] = round((at_s - self._since_s) * FPS)
        told["stationary"] = at_s - self._since_s > STATIONARY_S
        told["active"] = not told["stationary"]
        if event["snapshot"] is not None and event["snapshot"].endswith(f"/{told['label']}"):
            self._pictured.add(told["label"])  # not by the picture of whoever bears this face
        told["has_snapshot"] = told["label"] in self._pictured  # a picture as bus is not found by who reads of a truck
        if event["type"] == "identity":
            told["sub_label"] = None if event["name"] is None else [event["name"], event.get("confidence")]
        elif event["type"] == "plate":
            told["recognized_license_plate"] = event["name"]
            told["recognized_license_plate_score"] = None if event["name"] is None else event.get("confidence")
        zone = event["zone"]
        if event["type"] == "zone_enter" and zone not in told["current_zones"]:
            told["current_zones"] = [*told["current_zones"], zone]
            if zone not in told["entered_zones"]:
                told["entered_zones"] = [*told["entered_zones"], zone]
        elif event["type"] == "zone_leave":
            told["current_zones"] = [name for name in told["current_zones"] if name != zone]


def _is(known: _Object, label: str) -> bool:
    return bool(known.told["label"] == label)


def _epoch_s(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _shape(box: list[float]) -> Told:
    """Whole pixels, as Frigate gives them; its `region` is where the detector looked, which must hold the box."""
    x1, y1, x2, y2 = (round(edge) for edge in box)
    width, height = x2 - x1, y2 - y1
    return {
        "box": [x1, y1, x2, y2],
        "area": width * height,
        "ratio": round(width / max(1, height), 4),
        "region": [x1, y1, x2, y2],
    }


def _iou(a: list[float], b: list[float]) -> float:
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0 else 0.0
