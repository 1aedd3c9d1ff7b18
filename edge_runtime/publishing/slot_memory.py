"""Keeps the states of parking slots over a restart, in one file of the state folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edge_runtime.config import SlotConfig
from edge_runtime.datatypes import Event
from edge_runtime.events.parking import Parking, SlotState
from edge_runtime.settings import toml
from edge_runtime.whole_file import write_whole


class SlotMemory:
    """Gives a camera's slots their last states at the start; one verb after that: `update`.

    Of the time since the file was written nothing is known: a slot goes on as it was until it is seen otherwise. A slot
    that was drawn anew is another slot. The file is written after the event is in the outbox: where the power fails
    between the two, the change is told of again, not lost.

    Args:
        path: the file; whole or absent.
        slots: as configured.
        parking: their states.
        say: told of what cannot be read or kept.
    """

    def __init__(self, path: Path, slots: Sequence[SlotConfig], parking: Parking, say: Callable[[str], None]) -> None:
        self._path, self._parking, self._say = path, parking, say
        self.apply(slots)
        parking.restore(self._kept())

    def apply(self, slots: Sequence[SlotConfig]) -> None:
        """Keep other slots from now on, which the parking has taken over already."""
        self._drawn = {slot.name: toml(slot.points) for slot in slots}

    def update(self, events: Iterable[Event]) -> None:
        """Keep the states where one of the events changed one."""
        if not any(event.slot is not None for event in events):
            return
        states = self._parking.states()
        kept = {name: {"state": state, "points": self._drawn[name]} for name, state in states.items()}
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(kept))
        except OSError as error:  # the events are told all the same
            self._say(f"{self._path}: the slots' states are not kept over a restart ({error.strerror})")

    def _kept(self) -> dict[str, SlotState]:
        if not self._drawn or not self._path.exists():
            return {}
        found: dict[str, SlotState] = {}
        try:
            for name, slot in json.loads(self._path.read_text()).items():
                if slot["state"] not in ("free", "occupied"):
                    raise ValueError(f"state {slot['state']}")
                if slot["points"] == self._drawn.get(name):
                    found[name] = slot["state"]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._say(f"{self._path}: the slots' states cannot be read ({error}); they are looked at anew")
            return {}
        return found
