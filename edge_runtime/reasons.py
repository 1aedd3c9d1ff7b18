"""Why each event came, for whoever looks at the page: what the rules said when they fired."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Sequence

from edge_runtime.datatypes import Event
from edge_runtime.events.explanation import Note

OWN_RULE = ("identity", "plate")
"""Types that are called as the rule that tells them."""


class Reasons:
    """Listens to the rules during a frame; one verb after it: `added` to its events."""

    def __init__(self) -> None:
        self._fired: defaultdict[tuple[int | None, str], deque[str]] = defaultdict(deque)

    def note(self, note: Note) -> None:
        """Take what a rule says."""
        if note.fired:
            self._fired[note.track, note.rule].append(note.text)

    def added(self, events: Sequence[Event], payloads: Sequence[bytes]) -> list[bytes]:
        """The events' JSON, each with `why` where its rule said so; what comes beyond the events stays as it is."""
        found = list(payloads)
        for i, event in enumerate(events):
            texts = self._fired.get((None if event.track is None else event.track.id, _rule(event)))
            if texts:
                found[i] = b'%b,"why":%b}' % (found[i][:-1], json.dumps(texts.popleft(), ensure_ascii=False).encode())
        self._fired.clear()
        return found


def _rule(event: Event) -> str:
    """The name under which an event's rule explains itself."""
    if event.zone is not None:
        return f"zone {event.zone}"
    if event.line is not None:
        return f"line {event.line}"
    if event.slot is not None:
        return f"slot {event.slot}"
    if event.kind is not None:
        return f"tamper {event.kind}"
    return event.type if event.type in OWN_RULE else ""
