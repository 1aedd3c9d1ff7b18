"""Brokers that go away, hang, refuse, or speak an old language: events wait, arrive in order, and none is missing."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.datatypes import Event
from edge_runtime.publishing.broker import EmbeddedBroker
from edge_runtime.publishing.desk import EventDesk
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.outbox import Outbox
from tests.mosquitto import BINARY, Mosquitto, free_port
from tests.subscriber import Subscriber

needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")


class Node:
    """An outbox, a publisher and a desk, as in one run of the program."""

    def __init__(self, folder: Path, url: str, *, keepalive_s: int = 5) -> None:
        self.problems: list[str] = []
        self.outbox = Outbox(folder / "outbox.sqlite", max_bytes=10_000_000, max_age_s=1e6).__enter__()
        self.mqtt = MqttPublisher(
            url, self.outbox, root="edge", node="porch", keepalive_s=keepalive_s, on_problem=self.problems.append
        )
        self.desk = EventDesk(self.outbox, [self.mqtt], node="porch", camera="front", clock=SystemClock(), live=False)

    def post(self, n: int) -> None:
        for _ in range(n):
            self.desk.post([Event("zone_enter", 0, zone="path")])

    def end(self, timeout_s: float = 5.0) -> None:
        self.mqtt.close(timeout_s)
        self.outbox.__exit__(None, None, None)


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def eventually(true: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def in_order_of_first_hearing(subscriber: Subscriber) -> list[int]:
    return list(dict.fromkeys(subscriber.seqs()))


@needs_mosquitto
def test_outages_and_a_restart_lose_nothing_and_keep_the_order(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        node = Node(tmp_path, mosquitto.url)
        node.post(100)
        mosquitto.stop()
        node.post(50)
        mosquitto.start()
        node.post(50)
        assert eventually(lambda: node.outbox.counts.pending == 0)
        mosquitto.stop()
        node.post(50)
        node.end(0.1)
        node = Node(tmp_path, mosquitto.url)
        node.post(50)
        mosquitto.start()
        assert subscriber.wait(lambda s: len(set(s.seqs())) >= 300, 30)
        node.end()
        assert in_order_of_first_hearing(subscriber) == list(range(1, 301))


@needs_mosquitto
def test_a_connection_cut_in_mid_stream_is_taken_up_in_order(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Rows under way when a connection breaks go before those that came after it."""
    with Subscriber(mosquitto.port) as subscriber, Relay(mosquitto.port) as relay:
        node = Node(tmp_path, relay.url)
        assert node.mqtt.wait_connected(10)
        for _ in range(3):
            relay.deaf = True  # what is sent now reaches nobody
            node.post(30)
            relay.cut()
            relay.deaf = False
            stop = time.monotonic() + 3
            while time.monotonic() < stop and node.outbox.counts.pending:
                node.post(1)
                time.sleep(0.002)
        assert subscriber.wait(lambda s: len(set(s.seqs())) >= node.outbox.counts.last_seq, 30)
        node.end()
        assert in_order_of_first_hearing(subscriber) == list(range(1, max(subscriber.seqs()) + 1))


@needs_mosquitto
def test_a_broker_that_hangs_does_not_hold_up_the_end(mosquitto: Mosquitto, tmp_path: Path) -> None:
    node = Node(tmp_path, mosquitto.url, keepalive_s=60)
    node.post(1)
    assert eventually(lambda: node.outbox.counts.pending == 0)
    mosquitto.signal(signal.SIGSTOP)
    node.post(30)
    began = time.monotonic()
    node.end(0.5)
    assert time.monotonic() - began < 4
    mosquitto.signal(signal.SIGCONT)
    with Subscriber(mosquitto.port) as subscriber:
        node = Node(tmp_path, mosquitto.url)
        assert eventually(lambda: node.outbox.counts.pending == 0)
        node.end()
        assert node.outbox.counts.last_seq == 31
        assert subscriber.wait(lambda s: set(s.seqs()) >= set(range(20, 32))), "what never left is sent by the next run"


@needs_mosquitto
def test_refused_events_wait_and_are_offered_again(tmp_path: Path) -> None:
    """MQTT 5 says no per message; here an access list forbids the topic until it is changed."""
    rights = tmp_path / "acl"
    rights.write_text("topic readwrite edge/porch/status\ntopic read #\n")
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, f"acl_file {rights}") as broker, Subscriber(broker.port) as subscriber:
        node = Node(tmp_path / "state", broker.url)
        node.post(30)
        assert eventually(lambda: any("refused event 1;" in p for p in node.problems))
        time.sleep(0.5)
        assert len(node.problems) == 1, "told of once, and not offered again at once"
        assert node.outbox.counts.pending == 30
        rights.write_text("topic readwrite #\n")
        broker.signal(signal.SIGHUP)

        def offered_again() -> bool:
            node.mqtt.publish_health({})  # as the runtime does now and then
            return node.outbox.counts.pending == 0

        assert eventually(offered_again)
        node.end()
        assert subscriber.wait(lambda s: in_order_of_first_hearing(s) == list(range(1, 31)))


def test_a_broker_of_mqtt_3_is_found_out(tmp_path: Path) -> None:
    with EmbeddedBroker(0) as broker, Subscriber(broker.port) as subscriber:
        node = Node(tmp_path, f"mqtt://127.0.0.1:{broker.port}")
        node.post(50)
        assert subscriber.wait(lambda s: s.seqs() == list(range(1, 51)))
        assert subscriber.last("/status") == b"online"
        node.end()
        assert node.problems == []


def test_a_broker_that_hangs_up_on_mqtt_5_is_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    """Old brokers close the connection without a word; the version stands in the CONNECT's eighth byte."""
    versions: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        node = Node(tmp_path, f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        for _ in range(2):
            link, _ = server.accept()
            with link:
                versions.append(link.recv(1024)[8])
        node.end(0)
    assert versions == [5, 4]


def test_the_will_of_a_node_on_the_embedded_broker_is_heard(tmp_path: Path) -> None:
    with EmbeddedBroker(0) as broker, Relay(broker.port) as relay, Subscriber(broker.port) as subscriber:
        node = Node(tmp_path, relay.url)
        assert subscriber.wait(lambda s: s.last("/status") == b"online")
        relay.closed = True
        relay.cut()
        assert subscriber.wait(lambda s: s.last("/status") == b"offline")
        with Subscriber(broker.port) as late:
            assert late.wait(lambda s: s.last("/status") == b"offline"), "it is retained"
        node.end(0)


@pytest.mark.parametrize("answering", [False, True])
def test_a_node_that_never_connected_ends_at_once(tmp_path: Path, answering: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1] if answering else free_port()
        node = Node(tmp_path, f"mqtt://127.0.0.1:{port}")
        node.post(1)
        began = time.monotonic()
        node.end()
    assert time.monotonic() - began < 2


class Relay:
    """A wire to the broker that a test can cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._links: list[socket.socket] = []
        self.deaf = self.closed = False
        self.url = f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections."""
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        self._links.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self.closed:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._links += [near, far]
            for a, b, outward in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._carry, args=(a, b, outward), daemon=True).start()

    def _carry(self, a: socket.socket, b: socket.socket, outward: bool) -> None:
        try:
            while data := a.recv(65536):
                if not (outward and self.deaf):
                    b.sendall(data)
        except OSError:
            pass
        for link in (a, b):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
