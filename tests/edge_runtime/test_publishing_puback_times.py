"""The time from sensor to PUBACK, over a real Mosquitto that answers, goes away, hangs and refuses."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.datatypes import Event
from edge_runtime.publishing.desk import EventDesk
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.outbox import Outbox, OutboxCounts
from edge_runtime.publishing.puback_times import HALVES, KEPT, PubackTimes
from tests.builders import FakeClock
from tests.mosquitto import BINARY, Mosquitto

needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
AWAY_S = 2.0
NOTHING_WAITS = OutboxCounts(0, 0, 0, 0, 0, 0)


class Node:
    """An outbox, a publisher and a desk, as in one run of the program; its frames are captured as they are posted."""

    def __init__(self, folder: Path, url: str) -> None:
        self.clock = SystemClock()
        self.times = PubackTimes(self.clock.now_ns)
        self.outbox = Outbox(folder / "outbox.sqlite", max_bytes=10_000_000, max_age_s=1e6).__enter__()
        self.mqtt = MqttPublisher(
            url, self.outbox, root="edge", node="porch", keepalive_s=60, on_problem=lambda _: None, times=self.times
        )
        self.desk = EventDesk(
            self.outbox, [self.mqtt], node="porch", camera="front", clock=self.clock, live=True, times=self.times
        )

    def post(self, n: int) -> None:
        """Events of `n` frames, one each."""
        for _ in range(n):
            now_ns = self.clock.now_ns()
            self.desk.post([Event("zone_enter", now_ns, zone="path")], now_ns)

    def told(self) -> dict[str, Any]:
        """The figure, once every event is acknowledged."""
        deadline = time.monotonic() + 30
        while self.outbox.counts.pending and time.monotonic() < deadline:
            self.mqtt.publish_health({})  # as the runtime does now and then
            time.sleep(0.02)
        assert self.outbox.counts.pending == 0
        return self.times.as_dict() or {"count": 0}

    def end(self) -> None:
        self.mqtt.close(0.1)
        self.outbox.__exit__(None, None, None)


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def node(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Node]:
    node = Node(tmp_path, mosquitto.url)
    assert node.mqtt.wait_connected(10)
    yield node
    node.end()


@needs_mosquitto
def test_every_event_counts_while_the_broker_is_there(node: Node) -> None:
    node.post(100)
    told = node.told()
    assert told["count"] == 100
    assert 0 < told["p50"] <= told["p95"]


@needs_mosquitto
def test_an_outage_is_no_part_of_the_figure(node: Node, mosquitto: Mosquitto) -> None:
    node.post(10)
    assert node.told()["count"] == 10
    mosquitto.stop()
    node.post(10)
    time.sleep(AWAY_S)
    mosquitto.start()
    assert node.told()["count"] == 10, "what waited for the broker does not count"
    node.post(10)
    told = node.told()
    assert told["count"] == 20, "what comes after it does"
    assert told["p95"] < AWAY_S * 1000


@needs_mosquitto
def test_a_broker_that_hangs_for_a_while_is_part_of_the_figure(node: Node, mosquitto: Mosquitto) -> None:
    mosquitto.signal(signal.SIGSTOP)
    node.post(1)
    time.sleep(AWAY_S)
    mosquitto.signal(signal.SIGCONT)
    assert node.told()["p95"] >= AWAY_S * 1000


@needs_mosquitto
def test_what_an_earlier_run_left_does_not_count(tmp_path: Path, mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    earlier = Node(tmp_path, mosquitto.url)
    earlier.post(5)
    earlier.end()
    mosquitto.start()
    node = Node(tmp_path, mosquitto.url)
    assert node.told() == {"count": 0}
    node.post(5)
    assert node.told()["count"] == 5
    node.end()


@needs_mosquitto
def test_what_the_broker_refused_does_not_count(tmp_path: Path) -> None:
    rights = tmp_path / "acl"
    rights.write_text("topic readwrite edge/porch/status\n")
    (tmp_path / "broker").mkdir()
    with Mosquitto(tmp_path / "broker", f"acl_file {rights}") as broker:
        node = Node(tmp_path / "state", broker.url)
        assert node.mqtt.wait_connected(10)
        node.post(5)
        time.sleep(AWAY_S)
        rights.write_text("topic readwrite #\n")
        broker.signal(signal.SIGHUP)
        assert node.told() == {"count": 0}
        node.post(5)
        assert node.told()["count"] == 5
        node.end()


@needs_mosquitto
def test_what_no_frame_in_hand_led_to_does_not_count(node: Node) -> None:
    now_ns = node.clock.now_ns()
    node.desk.post([Event("zone_leave", now_ns, zone="path")])  # the rules were edited, or the program ends
    node.desk.post([Event("zone_leave", now_ns - 1, zone="path")], now_ns)  # detection was switched off
    assert node.told() == {"count": 0}


def test_the_percentiles_are_of_the_latest_times() -> None:
    clock = FakeClock()
    times = PubackTimes(clock.now_ns)
    times.interrupted(NOTHING_WAITS)
    for seq in range(KEPT + 100):
        times.captured(seq, clock.now_ns())
        clock.sleep(9.0 if seq < 100 else 0.001 * (seq - 99))
        times.acknowledged(seq)
    assert times.as_dict() == {"count": 512, "p50": 256.0, "p95": 487.0}


def test_an_acknowledgement_that_comes_before_its_event_was_noted_counts() -> None:
    clock = FakeClock()
    times = PubackTimes(clock.now_ns)
    times.interrupted(NOTHING_WAITS)
    clock.sleep(0.03)
    times.acknowledged(1)
    clock.sleep(1.0)
    times.captured(1, 1_010_000_000)
    assert times.as_dict() == {"count": 1, "p50": 20.0, "p95": 20.0}


def test_events_that_are_never_acknowledged_take_no_more_memory_in_the_end() -> None:
    clock = FakeClock()
    times = PubackTimes(clock.now_ns)
    times.interrupted(NOTHING_WAITS)
    for seq in range(10 * HALVES):
        times.captured(seq, clock.now_ns())
    for seq in range(10 * HALVES):
        times.acknowledged(seq)
    assert times.as_dict() == {"count": HALVES, "p50": 0.0, "p95": 0.0}
