"""How things stand, as retained topics: counts, crossings, slots, tamper, who is seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from edge_runtime.config import Config
from edge_runtime.datatypes import Event
from edge_runtime.events.identity import Verdict
from edge_runtime.events.labels import counted
from edge_runtime.publishing.topics import Topics


def counted_labels(config: Config, classes: Sequence[str]) -> list[tuple[str, str]]:
    """What is counted: each zone with the labels or groups it names, or with all that it counts without."""
    return [(zone.name, label) for zone in config.zones for label in counted(zone.labels, classes, "zones")]


class States:
    """Follows the events, the engine's counts and who is there; says each state at the start, and when it changes.

    Args:
        config: its zones, lines, slots, tamper and identity.
        topics: of the camera.
        classes: the labels that the models tell apart.
        put: says a payload on a topic, retained.
    """

    def __init__(self, config: Config, topics: Topics, classes: Sequence[str], put: Callable[[str, str], None]) -> None:
        self._topics, self._classes, self._put = topics, tuple(classes), put
        self._said: dict[str, str] = {}
        self._lines: dict[str, dict[str, int]] = {}
        self._slots: dict[str, str | None] = {}
        self._tampered: set[str] = set()
        self._persons = config.identity.enabled
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Take other zones, lines and slots. What keeps its name keeps its state until something else is told of it."""
        topics = self._topics
        self._counted = counted_labels(config, self._classes)
        self._lines = {line.name: self._lines.get(line.name, {"in": 0, "out": 0}) for line in config.lines}
        self._slots = {slot.name: self._slots.get(slot.name) for slot in config.slots}
        counts = [topics.count(zone, label) for zone, label in self._counted]
        self._all = {*counts, *map(topics.line, self._lines), *map(topics.slot, self._slots)}
        if self._slots:
            self._all.add(topics.slots)
        if config.tamper.enabled:
            self._all.add(topics.tamper)
        if config.identity.enabled:
            self._all.add(topics.identity)
        self._said = {topic: said for topic, said in self._said.items() if topic in self._all}
        for topic in counts:
            if topic not in self._said:
                self._say(topic, "0")
        for name in self._lines:
            self._say_line(name)
        if any(self._slots.values()):
            self.slots({})
        if config.tamper.enabled:
            self._say_tamper()
        if self._persons and topics.identity not in self._said:
            self.faces(())

    @property
    def topics(self) -> frozenset[str]:
        """All topics that may be said."""
        return frozenset(self._all)

    def counts(self, counts: Mapping[tuple[str, str], int]) -> None:
        """How many are in each zone now, by the names they are counted under; none where nothing is said."""
        for zone, label in self._counted:
            self._say(self._topics.count(zone, label), str(counts.get((zone, label), 0)))

    def update(self, events: Iterable[Event]) -> None:
        """What happened in one frame."""
        for event in events:
            if event.type == "line_cross" and event.line in self._lines and event.direction is not None:
                self._lines[event.line][event.direction] += 1
                self._say_line(event.line)
            elif event.type in ("slot_occupied", "slot_free") and event.slot in self._slots:
                self.slots({event.slot: event.type.removeprefix("slot_")})
            elif event.type == "tamper" and event.kind is not None:
                self._tampered.add(event.kind)
                self._say_tamper()
            elif event.type == "tamper_clear" and event.kind is not None:
                self._tampered.discard(event.kind)
                self._say_tamper()

    def faces(self, present: Collection[Verdict]) -> None:
        """Who is there now, as far as it was told; nothing is said where persons are not told apart."""
        if not self._persons:
            return
        known = [verdict for verdict in present if verdict.state == "known"]
        names = sorted({verdict.name for verdict in known if verdict.name is not None})
        facts = {"known": len(known), "unknown": len(present) - len(known), "names": names}
        self._say(self._topics.identity, json.dumps(facts, ensure_ascii=False))

    def slots(self, states: Mapping[str, str]) -> None:
        """How these slots stand: `free` or `occupied`; a slot that is not known yet is not told of."""
        for name, state in states.items():
            self._slots[name] = state
            self._say(self._topics.slot(name), state)
        known = list(self._slots.values())
        self._say(self._topics.slots, json.dumps({"free": known.count("free"), "occupied": known.count("occupied")}))

    def _say_line(self, name: str) -> None:
        self._say(self._topics.line(name), json.dumps(self._lines[name]))

    def _say_tamper(self) -> None:
        state = "ON" if self._tampered else "OFF"
        self._say(self._topics.tamper, json.dumps({"state": state, "kinds": sorted(self._tampered)}))

    def _say(self, topic: str, payload: str) -> None:
        if self._said.get(topic) != payload:
            self._said[topic] = payload
            self._put(topic, payload)
