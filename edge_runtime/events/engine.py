"""All rules over tracks in one place: what appears and leaves, zones, lines."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.config import Config
from edge_runtime.datatypes import Event
from edge_runtime.events.appearance import Appearance, Moment
from edge_runtime.tracking.tracker import TrackerOutput


class EventEngine:
    """One verb: `update` with each frame's tracks. Neither I/O nor a clock: the same tracks give the same events.

    Args:
        config: all settings.
        classes: the labels that the models tell apart.

    Raises:
        ConfigError: a rule asks for a label that no model knows.
    """

    def __init__(self, config: Config, classes: Sequence[str]) -> None:
        self._appearance = Appearance(config.events)

    def update(self, output: TrackerOutput, moment: Moment) -> list[Event]:
        """The events of one frame.

        Args:
            output: the tracker's tracks after this frame.
            moment: when that was.
        """
        return self._appearance.update(output, moment)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many tracks of each label are in each zone: {(zone, label): tracks}, zeros included once seen."""
        return {}

    def finish(self, moment: Moment) -> list[Event]:
        """The ends of all that is still going on: the clip is over, or the program stops."""
        return self._appearance.finish(moment)
