"""Which plates the vehicles before the camera have: looks at them, and asks the list."""

from __future__ import annotations

from edge_runtime.datatypes import Event, Picture
from edge_runtime.errors import ConfigError
from edge_runtime.events.appearance import Moment
from edge_runtime.events.explanation import Listener
from edge_runtime.events.plates import Plates
from edge_runtime.events.schedule import Hours
from edge_runtime.plates.looker import PlateLooker, PlateNetworks
from edge_runtime.plates.matching import plain
from edge_runtime.rules import PlatesConfig
from edge_runtime.settings import toml
from edge_runtime.tracking.tracker import TrackerOutput


class PlateRecognition:
    """One verb: `update` with each frame's tracks.

    Args:
        config: of plates; enabled.
        networks: between a picture and a text.
        listener: told why the rule did or did not fire.

    Raises:
        ConfigError: a plate on the list has characters that the reader cannot read.
    """

    def __init__(self, config: PlatesConfig, networks: PlateNetworks, listener: Listener | None = None) -> None:
        known = networks.reader.alphabet
        for i, text in enumerate(config.allow):
            strange = [c for c in plain(text) if c not in known]
            if strange:
                rest = "".join(c for c in plain(text) if c in known)
                raise ConfigError(
                    f"plates.allow[{i}] = {toml(text)}: {config.reader} cannot read {strange[0]}; leave it out, as in "
                    f"{toml(rest)}"
                )
        self._looker = PlateLooker(networks, config.min_width_px)
        self._rule = Plates(config, listener)
        self._hours = Hours(config.active, config.quiet)

    def update(self, picture: Picture, tracked: TrackerOutput, moment: Moment) -> list[Event]:
        """The events of one frame.

        Args:
            picture: the frame at native pixels.
            tracked: the tracker's tracks after it.
            moment: when it was.

        Raises:
            InferenceError: a network failed.
        """
        if self._hours.silent(moment.wall) is not None:
            self._rule.finish()
            return []
        seen = self._looker.look(picture, tracked.live, moment.at_ns, self._rule.wanted)
        return self._rule.update(tracked, [seen] if seen is not None else [], moment)

    def finish(self) -> None:
        """All tracks are over."""
        self._rule.finish()
