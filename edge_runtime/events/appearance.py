"""Objects that appear, stay and leave: `track_start`, `track_update`, `track_end`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge_runtime.config import EventsConfig
from edge_runtime.datatypes import Direction, Event, EventType, Track, TrackFacts
from edge_runtime.tracking.tracker import TrackerOutput


@dataclass(frozen=True, slots=True)
class Moment:
    """When a frame was.

    Attributes:
        at_ns: capture time, monotonic nanoseconds.
        media_s: position in the clip; None for a live camera.
        frame_wh: its size in pixels.
        wall: the node's local time, for schedules; None where nobody knows it.
    """

    at_ns: int
    media_s: float | None
    frame_wh: tuple[int, int]
    wall: datetime | None = None


class Appearance:
    """Every confirmed track gets exactly one start and one end, with updates between, `update_s` apart or more."""

    def __init__(self, config: EventsConfig) -> None:
        self._update_ns = round(config.update_s * 1e9)
        self._told: dict[int, tuple[int, Track]] = {}

    def update(self, output: TrackerOutput, moment: Moment) -> list[Event]:
        """The events of one frame: ends first, then starts and updates in order of track.

        Args:
            output: the tracker's tracks after this frame.
            moment: when that was.
        """
        events = [track_event("track_end", t, moment) for t in output.ended if self._told.pop(t.id, None)]
        for track in output.live:
            if not track.confirmed:
                continue
            told = self._told.get(track.id)
            if told is None:
                events.append(track_event("track_start", track, moment))
                self._told[track.id] = moment.at_ns, track
            elif not track.lost and moment.at_ns - told[0] >= self._update_ns:
                events.append(track_event("track_update", track, moment))
                self._told[track.id] = moment.at_ns, track
            else:
                self._told[track.id] = told[0], track
        return events

    def finish(self, moment: Moment) -> list[Event]:
        """The ends of all tracks still told of: the clip is over, or the program stops."""
        events = [track_event("track_end", track, moment) for _, track in self._told.values()]
        self._told.clear()
        return events


def track_event(
    type_: EventType,
    track: Track,
    moment: Moment,
    *,
    zone: str | None = None,
    line: str | None = None,
    dwell_s: float | None = None,
    direction: Direction | None = None,
    state: str | None = None,
    name: str | None = None,
    confidence: float | None = None,
) -> Event:
    """An event about a track."""
    age_s = (moment.at_ns - track.start_ns) / 1e9
    facts = TrackFacts(track.id, track.label, track.score, track.box, age_s)
    return Event(
        type_,
        moment.at_ns,
        moment.media_s,
        moment.frame_wh,
        facts,
        zone=zone,
        line=line,
        dwell_s=dwell_s,
        direction=direction,
        state=state,
        name=name,
        confidence=confidence,
    )
