"""Which plate it is: `plate`, once a vehicle's track, from readings that agree, and again only nearer to the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_runtime.datatypes import Event, Track
from edge_runtime.events.appearance import Moment, track_event
from edge_runtime.events.explanation import Explanation, Listener
from edge_runtime.events.succession import Succession
from edge_runtime.plates.fusion import Vote, fused
from edge_runtime.plates.looker import LABELS, PlateSeen
from edge_runtime.plates.matching import nearest, plain
from edge_runtime.plates.reading import Reading
from edge_runtime.rules import PlatesConfig
from edge_runtime.tracking.tracker import TrackerOutput

KEPT = 12
"""Best readings kept of a track."""
LOOKS_MOST = 40
"""Readings after which a plate that is not on the list is not looked at again."""
SHORTEST = 3
"""Fewer characters are a sticker, or half a plate."""
RULE = "plate"

State = Literal["unknown", "near", "allowed"]
RANK: dict[State, int] = {"unknown": 0, "near": 1, "allowed": 2}


@dataclass(frozen=True, slots=True)
class Match:
    """How a text stands to the list.

    Attributes:
        state: `allowed`: it is on it | `near`: but for one character | `unknown`.
        listed: which one of the list; None: unknown.
    """

    state: State
    listed: str | None = None


@dataclass(slots=True)
class _Plate:
    """What is known of one track."""

    votes: list[Vote] = field(default_factory=list)
    looks: int = 0
    told: Match | None = None


def match(text: str, allowed: Sequence[str]) -> Match:
    """How a text that was read stands to the list.

    Args:
        text: of the reader's characters.
        allowed: plates as `matching.plain` gives them.
    """
    found = nearest(text, allowed)
    if found is None or found[1] > 1:
        return Match("unknown")
    return Match("near" if found[1] else "allowed", found[0])


class Plates:
    """Two verbs: `wanted` and `update`. Neither I/O nor a clock: the same tracks and readings give the same events.

    A vehicle is told of once, when enough readings agree; as long as they do not, nothing is said. A track that goes on
    from a lost one inherits what was said of it.

    Args:
        config: the list, how many readings it takes and how sure they must be, and what is told of texts.
        listener: told why it did or did not fire.
    """

    def __init__(self, config: PlatesConfig, listener: Listener | None = None) -> None:
        self._config, self._allowed = config, [plain(text) for text in config.allow]
        self._explanation, self._succession = Explanation(listener), Succession()
        self._plates: dict[int, _Plate] = {}

    def wanted(self, track: int) -> bool:
        """Whether another reading of this track's plate is of use."""
        plate = self._plates.get(track)
        if plate is None or plate.told is None:
            return True
        return plate.told.state != "allowed" and plate.looks < LOOKS_MOST

    def update(self, output: TrackerOutput, seen: Sequence[PlateSeen], moment: Moment) -> list[Event]:
        """The events of one frame.

        Args:
            output: the tracker's tracks after this frame.
            seen: plates that were read in it.
            moment: when that was.
        """
        vehicles = TrackerOutput(
            tuple(t for t in output.live if t.label in LABELS), tuple(t for t in output.ended if t.label in LABELS)
        )
        for new, old in self._succession.update(vehicles, moment).items():
            if old in self._plates:
                self._plates[new] = _Plate(looks=self._plates[old].looks, told=self._plates[old].told)
        looked = {s.track: s for s in seen if len(s.reading.text) >= SHORTEST}
        events = []
        for track in vehicles.live:
            if track.id in looked:
                plate = self._plates.setdefault(track.id, _Plate())
                plate.looks += 1
                vote = Vote(looked[track.id].reading, looked[track.id].width_px)
                plate.votes = sorted([*plate.votes, vote], key=lambda v: -v.weight)[:KEPT]
                events += self._judge(track, plate, moment)
            elif track.confirmed and track.id not in self._plates:
                text = f"nothing read: no plate of at least {self._config.min_width_px:g} px was found on it"
                self._explanation.note(moment, track, RULE, "unread", text)
        for track in output.live:
            if track.label not in LABELS:
                self._explanation.note(moment, track, RULE, "label", f"{track.label}: only vehicles have plates")
        for track in vehicles.ended:
            self._plates.pop(track.id, None)
        for track in output.ended:
            self._explanation.forget(track, RULE)
        return events

    def finish(self) -> None:
        """All tracks are over."""
        self._plates.clear()
        self._succession = Succession()

    def _judge(self, track: Track, plate: _Plate, moment: Moment) -> list[Event]:
        made = fused(plate.votes)
        assert made is not None
        reading, agree = made
        c = self._config
        # What events keep back must not stand in an explanation, which the page shows.
        what = reading.text if c.tell == "read" else f"{len(reading.text)} characters"
        facts = f"{agree} of {len(plate.votes)} readings make {what} at {reading.confidence:.2f}"
        if agree < c.readings or reading.confidence < c.sure:
            text = f"unsettled: {facts}; needs {c.readings} at {c.sure:.2f}"
            self._explanation.note(moment, track, RULE, text, text)
            return []
        now = match(reading.text, self._allowed)
        listed = "one that is" if c.tell == "none" else now.listed
        beside = {
            "allowed": f"on the list: {listed}",
            "near": f"one character off {listed}",
            "unknown": "not on the list",
        }
        text = f"{now.state}: {facts}, {beside[now.state]}"
        if plate.told is not None and RANK[now.state] <= RANK[plate.told.state]:
            self._explanation.note(moment, track, RULE, f"told {now}", f"as told, {text}")
            return []
        plate.told = now
        self._explanation.note(moment, track, RULE, text, text, fired=True)
        name, sure = self._name(now, reading), reading.confidence
        return [track_event("plate", track, moment, state=now.state, name=name, confidence=sure)]

    def _name(self, match: Match, reading: Reading) -> str | None:
        """What the event says of the text."""
        if self._config.tell == "read":
            return reading.text
        return match.listed if self._config.tell == "listed" else None
