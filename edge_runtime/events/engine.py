"""All rules over tracks in one place: what appears and leaves, zones, lines."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.config import Config
from edge_runtime.datatypes import Direction, Event
from edge_runtime.events.appearance import Appearance, Moment
from edge_runtime.events.explanation import Explanation, Listener
from edge_runtime.events.labels import counted, demands
from edge_runtime.events.lines import Line
from edge_runtime.events.succession import Succession
from edge_runtime.events.zones import Zone
from edge_runtime.tracking.tracker import TrackerOutput


class EventEngine:
    """One verb: `update` with each frame's tracks. Neither I/O nor a clock: the same tracks give the same events.

    Args:
        config: all settings.
        classes: the labels that the models tell apart.
        listener: told why each rule did or did not fire.

    Raises:
        ConfigError: a rule counts a label that no model knows.
    """

    def __init__(self, config: Config, classes: Sequence[str], listener: Listener | None = None) -> None:
        self._classes = tuple(classes)
        self._explanation = Explanation(listener)
        self._appearance = Appearance(config.events)
        self._succession = Succession()
        self._zones, self._lines = self._made(config)

    def update(self, output: TrackerOutput, moment: Moment) -> list[Event]:
        """The events of one frame: starts and updates, lines, zones, then ends.

        Args:
            output: the tracker's tracks after this frame.
            moment: when that was.
        """
        told = self._appearance.update(output, moment)
        successors = self._succession.update(output, moment)
        events = [e for e in told if e.type != "track_end"]
        for line in self._lines:
            events += line.update(output, moment, successors)
        for zone in self._zones:
            events += zone.update(output, moment)
        return events + [e for e in told if e.type == "track_end"]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many tracks are in each zone: {(zone, label): tracks}, for each label it counts, zeros included.

        A zone that lists labels or groups counts by those names, one that lists none by every label.
        """
        return {(zone.config.name, name): n for zone in self._zones for name, n in zone.counts().items()}

    def crossings(self) -> dict[tuple[str, Direction], int]:
        """How often each line was crossed each way since the start: {(line, direction): times}."""
        return {(line.config.name, direction): n for line in self._lines for direction, n in line.crossings.items()}

    def apply(self, config: Config, moment: Moment) -> list[Event]:
        """Take other zones and lines; tracks go on, and so do zones and lines that keep their names.

        Returns:
            The zone_leave of zones that are gone, and of tracks that do not count any more.

        Raises:
            ConfigError: a rule counts a label that no model knows; the old rules stay in force.
        """
        zones, lines = self._made(config)
        before = {zone.config.name: zone for zone in self._zones}
        staying = {zone.name for zone in config.zones}
        events = [e for name, zone in before.items() if name not in staying for e in zone.finish(moment)]
        for zone in zones:
            if zone.config.name in before:
                events += zone.take_over(before[zone.config.name], moment)
        lines_before = {line.config.name: line for line in self._lines}
        for line in lines:
            if line.config.name in lines_before:
                line.take_over(lines_before[line.config.name])
        self._zones, self._lines = zones, lines
        return events

    def finish(self, moment: Moment) -> list[Event]:
        """The ends of all that is still going on: the clip is over, or the program stops."""
        events = [event for zone in self._zones for event in zone.finish(moment)]
        return events + self._appearance.finish(moment)

    def _made(self, config: Config) -> tuple[list[Zone], list[Line]]:
        asked = demands(config.labels, self._classes)
        zones = [
            Zone(zone, counted(zone.labels, self._classes, f"zones[{i}]"), asked, self._explanation)
            for i, zone in enumerate(config.zones)
        ]
        lines = [
            Line(line, counted(line.labels, self._classes, f"lines[{i}]"), asked, self._explanation)
            for i, line in enumerate(config.lines)
        ]
        return zones, lines
