"""What a node says and hears beside its events: states, health, switches, and its place in Home Assistant."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge_runtime.config import Config
from edge_runtime.datatypes import Detections, Event, Frame, Track
from edge_runtime.events.identity import Verdict
from edge_runtime.health import board_temperature_c
from edge_runtime.plates.finder import open_finder
from edge_runtime.publishing.announcement import Announcement
from edge_runtime.publishing.commands import Commands, Switches
from edge_runtime.publishing.desk import Publisher
from edge_runtime.publishing.discovery import config_topic, device_config
from edge_runtime.publishing.frigate import FrigatePublisher, count_topic, counted_places, picture_topic
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.snapshots import Snapshots
from edge_runtime.publishing.states import States, counted_labels
from edge_runtime.publishing.topics import topics_of


class Presence:
    """One camera's presence at the broker, over the connection of the events.

    Args:
        config: all settings.
        mqtt: the connection.
        url: of the broker, for the profile frigate, which has a connection of its own.
        classes: the labels that the models tell apart.
        say: told of commands and of what cannot be kept.
        rng: for the delay before Home Assistant is told again.

    Attributes:
        switches: as commands have set them.
        publishers: who else is to be told of events.

    Raises:
        ConfigError: names that cannot stand in topics or ids, prefixes that overlap, or no such finder of plates.
        BundleError: the finder of plates cannot be used.
    """

    def __init__(
        self,
        config: Config,
        mqtt: MqttPublisher,
        url: str,
        classes: Sequence[str],
        *,
        say: Callable[[str], None],
        rng: random.Random | None = None,
    ) -> None:
        topics = topics_of(config)
        prefix = config.mqtt.discovery
        self._mqtt, self._classes = mqtt, tuple(classes)
        # A network more only where pictures leave and plates must not; a person's, too, may show a car.
        hides = config.privacy.level == "crops" and config.plates.finder
        finder = open_finder(config.plates.finder) if hides else None
        self._snapshots = Snapshots(config.privacy, topics, classes, self._picture, finder)
        self._frames, self._uptime_s = 0, 0.0
        state = Path(config.node.state).expanduser()
        self.switches = Switches(state / "switches.json", say)
        commands = Commands(self.switches, topics, mqtt.side, say)
        self._frigate: FrigatePublisher | None = None
        self._frigate_root = config.mqtt.frigate_root
        if config.mqtt.profile == "frigate":
            self._frigate = FrigatePublisher(
                url,
                root=self._frigate_root,
                node=topics.node,
                camera=topics.camera,
                keepalive_s=config.mqtt.keepalive_s,
                on_detect=lambda on: commands.obey("detection", on),
            )
        self.publishers: list[Publisher] = [self._frigate] if self._frigate is not None else []
        self._announcement = Announcement(
            config_topic(prefix, topics.node) if prefix else None,
            memory=state / "announced.json",
            put=self._put,
            rng=rng or random.Random(),
        )
        if prefix:
            mqtt.side.listen(f"{prefix}/status", self._announcement.heard)
        self._states = States(config, topics, self._classes, mqtt.side.put)
        self._announce(config)

    def apply(self, config: Config) -> None:
        """Take other zones, lines or slots; names of node, camera and topics stay as they are, and so do states.

        Raises:
            ConfigError: a name that is taken.
        """
        topics_of(config)
        self._states.apply(config)
        self._announce(config)

    def _announce(self, config: Config) -> None:
        topics = topics_of(config)
        counted = counted_labels(config, self._classes)
        pictures = self._snapshots.labels
        device = device_config(config, topics, counted, version=version("edge-runtime"), pictures=pictures)
        # Pictures that are no longer allowed are states out of use: the broker is told to forget them.
        states = self._states.topics | {topics.snapshot(label) for label in pictures}
        if self._frigate is not None:
            root, places = self._frigate_root, counted_places(config, self._classes)
            states |= {picture_topic(root, topics.camera, label) for label in pictures}
            states |= {count_topic(root, *place) for place in places}
            self._frigate.count(places)
        self._announcement.announce(device, states)

    def _put(self, topic: str, payload: str) -> None:
        """Say a state over the connection that it belongs to: the other would repeat it past what was said since."""
        if self._frigate is not None and topic.startswith(f"{self._frigate_root}/"):
            self._frigate.side.put(topic, payload)
        else:
            self._mqtt.side.put(topic, payload)

    def _picture(self, topic: str, jpeg: bytes) -> None:
        self._mqtt.side.put(topic, jpeg)
        if self._frigate is not None:
            self._frigate.show(topic.rpartition("/")[2], jpeg)

    def update(
        self, events: Iterable[Event], counts: Mapping[tuple[str, str], int], present: Collection[Verdict]
    ) -> None:
        """What one frame led to, how many are in each zone since, and which faces are there."""
        self._states.update(events)
        self._states.counts(counts)
        self._states.faces(present)

    def show(self, frame: Frame, detections: Detections, tracks: Sequence[Track], events: Iterable[Event]) -> None:
        """What one frame shows, where pixels may leave; with the privacy switch on, what was shown is taken back."""
        anew = self.switches.pressed()
        if self.switches.privacy:
            self._snapshots.clear()
        else:
            self._snapshots.update(frame, detections, tracks, events, anew=anew)

    def refer(self, events: Sequence[Event]) -> list[Event]:
        """The events with the pictures of what they are about, before they are told."""
        return self._snapshots.refer(events)

    def slots(self, states: Mapping[str, str]) -> None:
        """How slots stand, where no event tells of it: at the start, from what was kept."""
        self._states.slots(states)

    def health(self, facts: dict[str, Any]) -> None:
        """The counters, with the frame rate since the last ones and the board's temperature."""
        frames, uptime_s = facts["frames_processed"], facts["uptime_s"]
        fps = (frames - self._frames) / max(uptime_s - self._uptime_s, 1e-3) if self._uptime_s else None
        now = {"fps_now": None if fps is None else round(fps, 2), "temperature_c": board_temperature_c()}
        self._frames, self._uptime_s = frames, uptime_s
        self._mqtt.publish_health(facts | now)

    @property
    def broker(self) -> str:
        """Where events go, without secrets."""
        return self._mqtt.name

    @property
    def trouble(self) -> str | None:
        """What stands between the node and its broker; None: it is connected."""
        return None if self._mqtt.wait_connected(0.0) else self._mqtt.trouble

    def say_online(self, online: bool) -> None:
        """Whether frames are processed; from any thread."""
        self._mqtt.say_online(online)
        if self._frigate is not None:
            self._frigate.say_online(online)

    def tick(self, now_ns: int) -> None:
        """Do what is due; called now and then."""
        frigate = self._frigate
        self._announcement.tick(now_ns, self._mqtt.side.connected and (frigate is None or frigate.side.connected))
        if self.switches.privacy:
            self._snapshots.clear()  # not left to the next frame: a camera may give none
        if frigate is not None:
            frigate.show_detection(self.switches.detection)

    def close(self) -> None:
        """Leave the connection that is not the events'."""
        if self._frigate is not None:
            self._frigate.close()
