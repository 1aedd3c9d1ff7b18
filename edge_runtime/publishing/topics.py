"""The names of a node's topics, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError
from edge_runtime.publishing.address import check_topic_names
from edge_runtime.settings import toml

RESERVED_ZONES = ("identity", "lines", "slots", "snapshot", "tamper")
"""Levels below a camera that are not zones."""
RESERVED_KEY = "slot"
"""Begins what Home Assistant calls a slot: a zone's `slot.person` or a line's `slot.in` may be a slot's as well."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of one camera of one node."""

    root: str
    node: str
    camera: str

    @property
    def base(self) -> str:
        """Everything the node says stands below it."""
        return f"{self.root}/{self.node}"

    @property
    def status(self) -> str:
        """`online` or `offline`."""
        return f"{self.base}/status"

    @property
    def health(self) -> str:
        """The counters, JSON."""
        return f"{self.base}/health"

    def switch(self, name: str) -> str:
        """How a switch stands: `ON` or `OFF`."""
        return f"{self.base}/{name}"

    def command(self, name: str) -> str:
        """Where a switch is set: `ON` or `OFF`."""
        return f"{self.base}/set/{name}"

    def count(self, zone: str, label: str) -> str:
        """How many of that label are in the zone."""
        return f"{self.base}/{self.camera}/{zone}/{label}"

    def line(self, line: str) -> str:
        """Crossings since the program started, JSON: `in` and `out`."""
        return f"{self.base}/{self.camera}/lines/{line}"

    @property
    def slots(self) -> str:
        """How many slots are free and occupied, JSON."""
        return f"{self.base}/{self.camera}/slots"

    def slot(self, slot: str) -> str:
        """`free` or `occupied`."""
        return f"{self.base}/{self.camera}/slots/{slot}"

    @property
    def tamper(self) -> str:
        """JSON: `state` (`ON` or `OFF`) and the `kinds` that are raised."""
        return f"{self.base}/{self.camera}/tamper"

    @property
    def identity(self) -> str:
        """Whose faces are seen now, JSON: how many `known` and `unknown`, and `names`."""
        return f"{self.base}/{self.camera}/identity"

    def snapshot(self, label: str) -> str:
        """JPEG of the latest object of that label."""
        return f"{self.base}/{self.camera}/snapshot/{label}"


def topics_of(config: Config) -> Topics:
    """The topics of a configuration.

    Raises:
        ConfigError: a name that cannot stand in a topic, that something else has, or topics that would mix with another
            program's.
    """
    mqtt, camera = config.mqtt, config.camera.name
    check_topic_names(mqtt.root, config.node.name)
    if not camera or any(sign in camera for sign in "+#\0/"):
        raise ConfigError(f"camera.name {camera!r}: part of every topic, must not be empty nor hold +, #, /")
    _check_rule_names(config)
    prefixes = [("mqtt.root", mqtt.root)]
    if mqtt.discovery:
        prefixes.append(("mqtt.discovery", mqtt.discovery))
    if mqtt.profile == "frigate":
        prefixes.append(("mqtt.frigate_root", mqtt.frigate_root))
    _check_apart(prefixes)
    return Topics(mqtt.root, config.node.name, camera)


def _check_rule_names(config: Config) -> None:
    """Refuse zones and lines that would be taken for something else, or something else for them."""
    taken = dict.fromkeys(RESERVED_ZONES, "its topics are taken by other things")
    taken[RESERVED_KEY] = "the slots are called that in Home Assistant"
    if config.mqtt.profile == "frigate":  # counts stand at `<camera>/<label>` and at `<zone>/<label>`
        taken.setdefault(config.camera.name, "the camera has that name, and Frigate's topics would mix the two")
    for i, zone in enumerate(config.zones):
        if zone.name in taken:
            raise ConfigError(f"zones[{i}].name = {toml(zone.name)}: {taken[zone.name]}; choose another name")
    for i, line in enumerate(config.lines):
        if line.name == RESERVED_KEY:
            raise ConfigError(f"lines[{i}].name = {toml(line.name)}: {taken[line.name]}; choose another name")


def _check_apart(prefixes: list[tuple[str, str]]) -> None:
    """Refuse prefixes of which one stands below another: each program would read the other's topics."""
    for i, (setting, prefix) in enumerate(prefixes):
        levels = prefix.split("/")
        if not all(levels) or any(sign in prefix for sign in "+#\0"):
            raise ConfigError(f"{setting} {prefix!r}: part of topics, must not hold +, # nor an empty level")
        for other_setting, other in prefixes[:i]:
            if all(a == b for a, b in zip(levels, other.split("/"), strict=False)):
                raise ConfigError(
                    f"{setting} {prefix!r} and {other_setting} {other!r}: one stands below the other, "
                    "so that their topics would mix; give one of them another name"
                )
