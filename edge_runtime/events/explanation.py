"""Why a rule did or did not fire: a note whenever what stands between a track, or a slot, and a rule changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.datatypes import Track
from edge_runtime.events.appearance import Moment


@dataclass(frozen=True, slots=True)
class Note:
    """One change in how a track stands to a rule, or in what a rule without tracks sees.

    Attributes:
        at_ns: capture time of the frame, monotonic nanoseconds.
        media_s: position in the clip; None for a live camera.
        track: id of the track; None: the rule looks at no tracks.
        label: its label then; empty without a track.
        rule: the rule's kind and name, as `zone path` or `slot 14`.
        text: what changed, for a person.
        fired: whether an event came of it.
    """

    at_ns: int
    media_s: float | None
    track: int | None
    label: str
    rule: str
    text: str
    fired: bool


Listener = Callable[[Note], None]


class Explanation:
    """Passes notes on to whoever listens, each reason once until another takes its place."""

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._standing: dict[tuple[int | None, str], str] = {}

    def note(
        self, moment: Moment, track: Track | None, rule: str, reason: str, text: str, *, fired: bool = False
    ) -> None:
        """Say `text` unless `reason` is what was said last of this track and rule."""
        id_, label = (None, "") if track is None else (track.id, track.label)
        if self._listener is None or (self._standing.get((id_, rule)) == reason and not fired):
            return
        self._standing[id_, rule] = reason
        self._listener(Note(moment.at_ns, moment.media_s, id_, label, rule, text, fired))

    def forget(self, track: Track, rule: str) -> None:
        """The track is over for this rule."""
        self._standing.pop((track.id, rule), None)
