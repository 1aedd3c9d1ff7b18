"""`edge-runtime replay`: a clip through all rules, frame by frame; the same clip and settings give the same bytes.

No clock is read: wall time starts where the user says and goes on with the clip, ids count without chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from edge_runtime.capture.source import open_source
from edge_runtime.clock import Clock
from edge_runtime.config import Config
from edge_runtime.datatypes import Event, Track
from edge_runtime.errors import ConfigError
from edge_runtime.events import identity, plates
from edge_runtime.events.explanation import Note
from edge_runtime.health import Health
from edge_runtime.pipeline import Pipeline
from edge_runtime.publishing.payload import Ulids, encode

BOOT = "00000000-0000-0000-0000-000000000000"
YEARS = range(1971, 9999)
"""Events' ids count from 1970; a day is left at both ends for the zone, and for the clip."""


@dataclass(frozen=True, slots=True)
class Start:
    """When the first frame of a clip was taken.

    Attributes:
        instant: that time, aware.
        zone: whose local time schedules go by; None: this machine's, as its clocks change over the year.
    """

    instant: datetime
    zone: timezone | None = None

    @classmethod
    def told(cls, text: str) -> Start:
        """The time that a user gave: with an offset the very instant, without one this machine's local time.

        Raises:
            ConfigError: it is no time, or one that events cannot carry.
        """
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise ConfigError(
                f"--at {text}: must be a local time, as in 2026-11-24T22:00, or one with its offset, as in "
                "2026-11-24T22:00+05:00"
            ) from None
        if time.year not in YEARS:
            raise ConfigError(f"--at {text}: must lie in the years {YEARS[0]} to {YEARS[-1]}")
        return cls(time.astimezone(UTC))

    def wall(self, at_s: float) -> datetime:
        """Local time so many seconds into the clip, aware."""
        return (self.instant + timedelta(seconds=at_s)).astimezone(self.zone)


NOON = Start(datetime(2001, 1, 1, 12, tzinfo=UTC), UTC)
"""Where wall time starts unless the user says otherwise: a Monday, so that schedules can be told apart; in UTC, so that
the bytes do not depend on the machine's zone."""


def replay(
    config: Config,
    clock: Clock,
    start: Start,
    *,
    listener: Callable[[Note], None] | None = None,
    spectator: Callable[[Sequence[Track], float], None] | None = None,
) -> Iterator[Event]:
    """The events of a clip, in order.

    Args:
        config: all settings; its camera's source is the clip.
        clock: times the stages for the counters; no event depends on it.
        start: when the clip's first frame was taken, for schedules.
        listener: told why each rule did or did not fire.
        spectator: shown the tracks of each frame, and its position in seconds.

    Raises:
        ConfigError: the source is no clip.
        EdgeRuntimeError: whatever a run of the clip could raise.
    """
    source = open_source(config.camera, clock, loop=False, paced=False, start_ns=0)
    if source.live:
        raise ConfigError(f"{source.name}: replay is for clips; a camera never shows the same again")
    with source:
        pipeline = Pipeline(config, Health(clock), listener)
        while (frame := source.read()) is not None:
            at_s = frame.captured_ns / 1e9
            outcome = pipeline.process(frame, start.wall(at_s))
            frame.release()
            if spectator is not None:
                spectator(outcome.tracks, at_s)
            yield from outcome.events
        yield from pipeline.finish()


def json_lines(events: Iterator[Event], config: Config, start: Start) -> Iterator[str]:
    """The events as they would be published, but for what differs from run to run: ids, boot, latency."""
    ulids = Ulids(bytes)
    for seq, event in enumerate(events, 1):
        wall = start.wall(event.at_ns / 1e9)
        yield encode(
            event,
            node=config.node.name,
            camera=config.camera.name,
            boot=BOOT,
            seq=seq,
            event_id=ulids.next(wall),
            wall=wall,
            clock_synced=False,
            latency_ms=None,
        ).decode()


NOTES_EACH_END = 12
"""So many notes that fired nothing are listed from the first and the last of a rule; all that fired are."""


class Explained:
    """Collects what each rule says of each track, of each slot and of the camera, for `text` at the end."""

    def __init__(self, config: Config) -> None:
        self._needs = config.tracking.confirm_hits
        self._rules = [f"line {line.name}" for line in config.lines] + [f"zone {zone.name}" for zone in config.zones]
        if config.identity.enabled:
            self._rules.append(identity.RULE)
        if config.plates.enabled:
            self._rules.append(plates.RULE)
        self._slots = [slot.name for slot in config.slots]
        self._tamper = config.tamper.kinds if config.tamper.enabled else ()
        self._states: dict[str, str] = {}
        self._notes: dict[tuple[int | None, str], list[Note]] = {}
        self._tracks: dict[int, tuple[Track, float]] = {}

    def note(self, note: Note) -> None:
        """Take one note."""
        self._notes.setdefault((note.track, note.rule), []).append(note)

    def see(self, tracks: Sequence[Track], at_s: float) -> None:
        """Take the tracks of one frame."""
        for track in tracks:
            if not track.lost:
                best = self._tracks.get(track.id, (track, track.score))[1]
                self._tracks[track.id] = track, max(best, track.score)

    def hear(self, event: Event) -> None:
        """Take one event."""
        if event.slot is not None and event.state is not None:
            self._states[event.slot] = event.state

    def text(self) -> Iterator[str]:
        """A line for each track, below it what each rule said; then slots and the camera. `*` marks what fired."""
        unconfirmed = [track for track, _ in self._tracks.values() if not track.confirmed]
        for track, best in self._tracks.values():
            if not track.confirmed:
                continue
            span = f"{track.start_ns / 1e9:.2f} s to {track.seen_ns / 1e9:.2f} s"
            yield f"track {track.id}: {track.label}, {span}, seen {track.hits} times, best score {best:.2f}"
            for rule in self._rules:
                notes = self._notes.get((track.id, rule), [])
                yield f"  {rule}: {_verdict(notes)}"
                yield from _listed(notes)
        for track in unconfirmed:
            yield (
                f"track {track.id}: {track.label} at {track.start_ns / 1e9:.2f} s was seen {track.hits} times and told "
                f"of by no rule; tracking.confirm_hits = {self._needs}"
            )
        for slot in self._slots:
            notes = self._notes.get((None, f"slot {slot}"), [])
            yield f"slot {slot}: {self._states.get(slot, 'unknown')} at the end, {_verdict(notes)}"
            yield from _listed(notes)
        for kind in self._tamper:
            notes = self._notes.get((None, f"tamper {kind}"), [])
            yield f"tamper {kind}: {_verdict(notes)}"
            yield from _listed(notes)


def _verdict(notes: Sequence[Note]) -> str:
    fired = sum(note.fired for note in notes)
    return f"fired {fired} times" if fired > 1 else "fired once" if fired else "did not fire"


def _listed(notes: Sequence[Note]) -> Iterator[str]:
    """A line for each note; of very many that fired nothing those between are counted."""
    quiet = [i for i, note in enumerate(notes) if not note.fired]
    left_out = set(quiet[NOTES_EACH_END:-NOTES_EACH_END])
    skipped = 0
    for i, note in enumerate(notes):
        skipped += i in left_out
        if i in left_out and i + 1 in left_out:
            continue
        if skipped:
            yield f"              {skipped} more, to {note.at_ns / 1e9:.2f} s"
            skipped = 0
        if i not in left_out:
            yield f"  {'*' if note.fired else ' '} {note.at_ns / 1e9:7.2f} s  {note.text}"
