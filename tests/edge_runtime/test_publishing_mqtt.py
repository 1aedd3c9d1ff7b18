"""MQTT against a real Mosquitto and against the embedded broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.publish as single
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.datatypes import Event, TrackFacts
from edge_runtime.errors import ConfigError
from edge_runtime.publishing.address import parse_broker
from edge_runtime.publishing.broker import EmbeddedBroker
from edge_runtime.publishing.desk import EventDesk
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.outbox import Outbox
from tests.mosquitto import BINARY, Mosquitto, free_port
from tests.subscriber import Subscriber

needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")


def start_event(track: int) -> Event:
    facts = TrackFacts(track, "person", 0.9, (10.0, 20.0, 110.0, 220.0), 1.0)
    return Event("track_start", 1_000_000_000 * track, float(track), (640, 480), facts)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "state" / "outbox.sqlite", max_bytes=10_000_000, max_age_s=1e6) as box:
        yield box


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def publisher(url: str, outbox: Outbox, problems: list[str] | None = None) -> MqttPublisher:
    said = problems if problems is not None else []
    return MqttPublisher(url, outbox, root="edge", node="porch", keepalive_s=5, on_problem=said.append)


def desk(outbox: Outbox, *publishers: MqttPublisher) -> EventDesk:
    return EventDesk(outbox, publishers, node="porch", camera="front", clock=SystemClock(), live=False)


@needs_mosquitto
def test_events_arrive_in_order_and_leave_the_outbox(mosquitto: Mosquitto, outbox: Outbox) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        mqtt = publisher(mosquitto.url, outbox)
        front = desk(outbox, mqtt)
        for i in range(1, 101):
            front.post([start_event(i)])
        assert subscriber.wait(lambda s: len(s.events()) >= 100)
        mqtt.close(5)
        assert subscriber.seqs() == list(range(1, 101))
        assert outbox.counts.pending == 0


@needs_mosquitto
def test_status_is_retained_and_says_offline_after_a_clean_end(mosquitto: Mosquitto, outbox: Outbox) -> None:
    mqtt = publisher(mosquitto.url, outbox)
    assert mqtt.wait_connected(10)
    with Subscriber(mosquitto.port) as late:
        assert late.wait(lambda s: s.last("/status") == b"online")
        assert late.heard[0][2], "a late subscriber gets the status because it is retained"
        mqtt.close(5)
        assert late.wait(lambda s: s.last("/status") == b"offline")


@needs_mosquitto
def test_last_will_says_offline_when_the_process_is_killed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from edge_runtime.publishing.mqtt import MqttPublisher\n"
        "from edge_runtime.publishing.outbox import Outbox\n"
        "with Outbox(Path(sys.argv[2]) / 'o.sqlite', max_bytes=10**6, max_age_s=1e6) as box:\n"
        "    MqttPublisher(sys.argv[1], box, root='edge', node='porch', keepalive_s=5, on_problem=print)\n"
        "    time.sleep(60)\n"
    )
    with Subscriber(mosquitto.port) as subscriber:
        child = subprocess.Popen([sys.executable, "-c", code, mosquitto.url, str(tmp_path / "state")])
        try:
            assert subscriber.wait(lambda s: s.last("/status") == b"online")
            os.kill(child.pid, signal.SIGKILL)
            assert subscriber.wait(lambda s: s.last("/status") == b"offline")
        finally:
            child.kill()
            child.wait()


@needs_mosquitto
def test_every_event_survives_a_broker_outage(mosquitto: Mosquitto, outbox: Outbox) -> None:
    problems: list[str] = []
    with Subscriber(mosquitto.port) as subscriber:
        mqtt = publisher(mosquitto.url, outbox, problems)
        front = desk(outbox, mqtt)
        for i in range(1, 41):
            front.post([start_event(i)])
        mosquitto.stop()
        for i in range(41, 81):
            front.post([start_event(i)])
        mosquitto.start()
        for i in range(81, 121):
            front.post([start_event(i)])
        assert subscriber.wait(lambda s: set(s.seqs()) >= set(range(81, 121)), 30)
        mqtt.close(5)
        seqs = subscriber.seqs()
        first_heard = list(dict.fromkeys(seqs))
        assert sorted(first_heard) == list(range(1, 121))
        assert outbox.counts.pending == 0
        assert sum("events are kept on disk" in p for p in problems) == 1, "one line per outage"
        assert sum("connected" in p and "to send" in p for p in problems) == 1


@needs_mosquitto
def test_what_was_not_sent_is_sent_after_a_restart_and_numbers_go_on(mosquitto: Mosquitto, tmp_path: Path) -> None:
    path = tmp_path / "state" / "outbox.sqlite"
    with Outbox(path, max_bytes=10**6, max_age_s=1e6) as outbox:
        mqtt = publisher(f"mqtt://127.0.0.1:{free_port()}", outbox)
        desk(outbox, mqtt).post([start_event(i) for i in range(1, 6)])
        mqtt.close(0.1)
    with Subscriber(mosquitto.port) as subscriber, Outbox(path, max_bytes=10**6, max_age_s=1e6) as outbox:
        mqtt = publisher(mosquitto.url, outbox)
        desk(outbox, mqtt).post([start_event(6)])
        assert subscriber.wait(lambda s: s.seqs() == [1, 2, 3, 4, 5, 6])
        mqtt.close(5)


def test_without_a_broker_numbers_go_on_and_nothing_piles_up(tmp_path: Path) -> None:
    path = tmp_path / "state" / "outbox.sqlite"
    for first in (1, 4):
        with Outbox(path, max_bytes=10**6, max_age_s=1e6) as outbox:
            payloads = desk(outbox).post([start_event(i) for i in range(3)])
            assert [json.loads(p)["seq"] for p in payloads] == [first, first + 1, first + 2]
            assert outbox.counts.pending == 0


def test_embedded_broker_delivers_retains_and_publishes_the_will(outbox: Outbox) -> None:
    with EmbeddedBroker(0) as broker, Subscriber(broker.port) as subscriber:
        mqtt = MqttPublisher(
            f"mqtt://127.0.0.1:{broker.port}",
            outbox,
            root="edge",
            node="porch",
            keepalive_s=5,
            on_problem=print,
            newest=False,
        )
        desk(outbox, mqtt).post([start_event(1), start_event(2)])
        assert subscriber.wait(lambda s: s.seqs() == [1, 2])
        with Subscriber(broker.port) as late:
            assert late.wait(lambda s: s.last("/status") == b"online")
        mqtt.close(5)
        assert subscriber.wait(lambda s: s.last("/status") == b"offline")
        assert outbox.counts.pending == 0


def test_embedded_broker_refuses_a_taken_port() -> None:
    with EmbeddedBroker(0) as first, pytest.raises(ConfigError, match=f"port {first.port} cannot be used"):
        EmbeddedBroker(first.port).__enter__()


def test_a_dead_broker_is_reported_once_and_stops_nothing(outbox: Outbox) -> None:
    problems: list[str] = []
    mqtt = publisher(f"mqtt://127.0.0.1:{free_port()}", outbox, problems)
    assert not mqtt.wait_connected(2.5)
    assert len(desk(outbox, mqtt).post([start_event(1)])) == 1
    mqtt.close(0.1)
    assert outbox.counts.pending == 1
    assert len(problems) == 1


@pytest.mark.parametrize("url", ["http://hub", "mqtt://", "mqtt://hub:99999", "mqtt://u:s3cret@:1", "mqtt://hub/path"])
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_broker(url)
    assert "s3cret" not in str(refused.value)


def test_urls_are_read() -> None:
    address = parse_broker("mqtts://me:p%40ss@hub")
    assert (address.host, address.port, address.tls) == ("hub", 8883, True)
    assert (address.user, address.password) == ("me", "p@ss")
    assert parse_broker("hub:1884").port == 1884


def test_the_embedded_broker_sends_nobody_what_is_retained_for_others() -> None:
    with EmbeddedBroker(0) as broker, Subscriber(broker.port, "edge/#") as everything:
        for topic in ("edge/porch/privacy", "edge/porch/motion"):
            single.single(topic, "OFF", qos=1, retain=True, port=broker.port)
        assert everything.wait(lambda s: len(s.heard) == 2)
        with Subscriber(broker.port, "edge/porch/motion") as late, Subscriber(broker.port, "edge/nothing") as nothing:
            assert late.wait(lambda s: bool(s.heard))
            time.sleep(0.5)
            assert late.heard == [("edge/porch/motion", b"OFF", True)]
            assert nothing.heard == []
