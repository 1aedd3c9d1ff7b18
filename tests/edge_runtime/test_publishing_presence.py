"""What one run left at a real Mosquitto, the next one puts right: pictures and counts that no longer hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.config import CameraConfig, Config, MqttConfig, NodeConfig, PrivacyConfig, ZoneConfig
from edge_runtime.datatypes import Event, Frame
from edge_runtime.events.appearance import track_event
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.outbox import Outbox, Row
from edge_runtime.publishing.payload import encode
from edge_runtime.publishing.presence import Presence
from tests.builders import NAMES, detections
from tests.mosquitto import BINARY, Mosquitto
from tests.subscriber import Subscriber
from tests.tracks import moment, standing

pytestmark = pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")

PICTURES = {"edge/porch/front/snapshot/person", "frigate/front/person/snapshot"}
CORNERS = ((0.1, 0.5), (0.6, 0.5), (0.6, 1.0), (0.1, 1.0))


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def settings(folder: Path, *zones: str, level: str = "snapshots") -> Config:
    return Config(
        node=NodeConfig("porch", str(folder)),
        camera=CameraConfig(name="front"),
        zones=tuple(ZoneConfig(name, CORNERS) for name in zones),
        mqtt=MqttConfig(profile="frigate"),
        privacy=PrivacyConfig(level),  # type: ignore[arg-type]
    )


@contextmanager
def run(config: Config, broker: Mosquitto) -> Iterator[Presence]:
    """A run of the node that ends as a power cut does: nothing that goes on is told to have ended."""
    with Outbox(Path(config.node.state) / "outbox.sqlite", max_bytes=10**6, max_age_s=1e6) as outbox:
        mqtt = MqttPublisher(broker.url, outbox, root="edge", node="porch", keepalive_s=5, on_problem=lambda _: None)
        presence = Presence(config, mqtt, broker.url, NAMES, say=lambda _: None)
        try:
            yield presence
        finally:
            presence.close()
            mqtt.close(5)


def show(presence: Presence, *, person: bool) -> None:
    bgr = np.full((500, 1000, 3), 200, np.uint8)
    tracks = [standing(1, 300, 300, 1.0)] if person else []
    presence.show(Frame(bgr, bgr[::2, ::2], 10**9, 0), detections(), tracks, [])


def tell(presence: Presence, *events: Event) -> None:
    """The events of person 1, to the profile frigate."""
    for seq, event in enumerate(events, 1):
        payload = encode(
            event, node="porch", camera="front", boot="b", seq=seq, event_id="i", wall=datetime.now(UTC),
            clock_synced=True, latency_ms=None,
        )  # fmt: skip
        for publisher in presence.publishers:
            publisher.announce(Row(seq, payload))


def kept(broker: Mosquitto, until: Callable[[dict[str, bytes]], bool]) -> dict[str, bytes]:
    """What is retained, as soon as it is what is waited for, or after some time."""
    deadline = time.monotonic() + 20
    while True:
        with Subscriber(broker.port, "#") as late:
            time.sleep(0.3)
            found = {topic: payload for topic, payload, _ in late.heard}
        found = {topic: payload for topic, payload in found.items() if payload}  # some may be cleared meanwhile
        if until(found) or time.monotonic() > deadline:
            return found


def leave_a_picture(config: Config, broker: Mosquitto) -> None:
    with run(config, broker) as presence:
        show(presence, person=True)
        assert kept(broker, lambda found: found.keys() >= PICTURES).keys() >= PICTURES


def test_privacy_takes_back_the_pictures_of_an_earlier_run(mosquitto: Mosquitto, tmp_path: Path) -> None:
    leave_a_picture(settings(tmp_path), mosquitto)
    with run(settings(tmp_path), mosquitto) as presence:
        show(presence, person=False)
        presence.switches.set("privacy", True)
        show(presence, person=False)
        assert not kept(mosquitto, lambda found: not found.keys() & PICTURES).keys() & PICTURES


def test_with_privacy_on_at_the_start_no_frame_is_waited_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    leave_a_picture(settings(tmp_path), mosquitto)
    (tmp_path / "switches.json").write_text(json.dumps({"detection": True, "privacy": True}))
    with run(settings(tmp_path), mosquitto) as presence, Subscriber(mosquitto.port, "#") as heard:
        for at_s in range(3):
            presence.tick(at_s * 10**9)
        assert not kept(mosquitto, lambda found: not found.keys() & PICTURES).keys() & PICTURES
        said = [topic for topic, _, retained in heard.heard if topic in PICTURES and not retained]
        assert len(said) <= len(PICTURES), "once is enough"


@pytest.mark.parametrize("profile", ["frigate", "edge"])
def test_where_the_level_no_longer_lets_pictures_out_they_are_taken_back(
    mosquitto: Mosquitto, tmp_path: Path, profile: str
) -> None:
    leave_a_picture(settings(tmp_path), mosquitto)
    config = replace(settings(tmp_path, level="events"), mqtt=MqttConfig(profile=profile))  # type: ignore[arg-type]
    with run(config, mosquitto):
        assert not kept(mosquitto, lambda found: not found.keys() & PICTURES).keys() & PICTURES


def counts(found: dict[str, bytes]) -> dict[str, int]:
    """Frigate's counts that are not about labels nobody was seen of."""
    topics = (f"frigate/{place}/{label}" for place in ("front", "path", "door") for label in ("person", "all"))
    return {topic.removeprefix("frigate/"): int(found[topic]) for topic in topics if topic in found}


def test_frigates_counts_begin_at_zero_after_a_power_cut_and_those_of_removed_zones_are_cleared(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    person, at = standing(1, 300, 300, 1.0), moment(1.0)
    entered = [track_event("zone_enter", person, at, zone=zone) for zone in ("path", "door")]
    everywhere = {f"{place}/{label}": 1 for place in ("front", "path", "door") for label in ("person", "all")}
    with run(settings(tmp_path, "path", "door"), mosquitto) as presence:
        tell(presence, track_event("track_start", person, at), *entered)
        assert counts(kept(mosquitto, lambda found: counts(found) == everywhere)) == everywhere
    nobody = {"front/person": 0, "front/all": 0, "path/person": 0, "path/all": 0}
    with run(settings(tmp_path, "path"), mosquitto):
        found = kept(mosquitto, lambda found: counts(found) == nobody)
        assert counts(found) == nobody
        assert {topic: found[topic] for topic in found if topic.startswith("frigate/path/")} == {
            f"frigate/path/{label}": b"0" for label in (*NAMES, "all")
        }


def test_a_zone_that_comes_back_while_it_runs_is_counted_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    person, at = standing(1, 300, 300, 1.0), moment(1.0)
    with run(settings(tmp_path, "path"), mosquitto) as presence:
        tell(presence, track_event("track_start", person, at))
        presence.apply(settings(tmp_path))
        here = {"front/person": 1, "front/all": 1}
        assert counts(kept(mosquitto, lambda found: counts(found) == here)) == here, "the camera's count goes on"
        presence.apply(settings(tmp_path, "path"))
        tell(presence, track_event("zone_enter", person, at, zone="path"))
        mosquitto.stop()  # each connection says what it knows anew: none may clear what the other counts
        mosquitto.start()
        again = here | {"path/person": 1, "path/all": 1}
        assert counts(kept(mosquitto, lambda found: counts(found) == again)) == again
        time.sleep(1)
        assert counts(kept(mosquitto, lambda found: counts(found) == again)) == again
