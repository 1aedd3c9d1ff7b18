"""The status is online only while frames are really processed: not before, not in a hang, not without a camera."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.capture.source import Source
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig, Config, MqttConfig, NodeConfig, PipelineConfig
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CaptureError
from edge_runtime.liveness import Liveness
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.outbox import Outbox
from edge_runtime.runner import Run, Runner
from tests.mosquitto import BINARY, Mosquitto
from tests.subscriber import Subscriber

needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")

SECOND = 1_000_000_000


def liveness(changes: list[bool], said: list[str], *, stalled_s: float = 10.0, fps: float = 15.0) -> Liveness:
    return Liveness(stalled_s, fps, changes.append, said.append)


def test_a_node_is_online_from_its_first_frame_and_offline_when_they_stop() -> None:
    changes: list[bool] = []
    said: list[str] = []
    node = liveness(changes, said)
    node.check(100 * SECOND)
    assert changes == [], "it was not online yet"
    node.fed(100 * SECOND)
    node.check(109 * SECOND)
    assert changes == [True]
    node.check(110 * SECOND)
    node.check(111 * SECOND)
    assert changes == [True, False]
    node.fed(125 * SECOND)
    assert changes == [True, False, True]
    assert said == [
        "no frame processed for 10.0 s: the node is offline",
        "frames are processed again after 25.0 s: the node is online",
    ]


def test_a_slow_camera_is_not_stalled_between_its_frames() -> None:
    changes: list[bool] = []
    node = liveness(changes, [], stalled_s=1.0, fps=0.1)
    for second in range(0, 100, 10):
        node.fed(second * SECOND)
        node.check((second + 9) * SECOND)
    assert changes == [True]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 15)), max_size=60))
def test_it_is_offline_after_a_check_exactly_when_the_last_frame_is_old(steps: list[tuple[bool, int]]) -> None:
    changes: list[bool] = []
    node = liveness(changes, [])
    now = fed = 0
    node.fed(0)
    for frame, seconds in steps:
        now += seconds
        if frame:
            node.fed(now * SECOND)
            fed = now
        node.check(now * SECOND)
        assert node.alive == changes[-1] == (now - fed < 10)
    assert all(a != b for a, b in itertools.pairwise(changes))


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def statuses(subscriber: Subscriber) -> list[str]:
    return [payload.decode() for topic, payload, _ in subscriber.heard if topic.endswith("/status")]


@needs_mosquitto
def test_the_newest_status_stands_after_an_outage_of_the_broker(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        Outbox(tmp_path / "outbox.sqlite", max_bytes=10**6, max_age_s=1e6) as outbox,
        Subscriber(mosquitto.port) as subscriber,
    ):
        mqtt = MqttPublisher(
            mosquitto.url, outbox, root="edge", node="porch", keepalive_s=5, on_problem=print, online=False
        )
        assert subscriber.wait(lambda s: statuses(s) == ["offline"])
        mqtt.say_online(True)
        assert subscriber.wait(lambda s: statuses(s) == ["offline", "online"])
        mosquitto.stop()
        mqtt.say_online(False)
        mqtt.say_online(True)
        mqtt.say_online(False)
        mosquitto.start()
        assert subscriber.wait(lambda s: len(statuses(s)) > 2 and statuses(s)[-1] == "offline", 30)
        # That may have been the last will: the node itself is back only now, and repeats what was not answered.
        assert mqtt.wait_connected(30)
        time.sleep(1)
        with Subscriber(mosquitto.port) as late:
            assert late.wait(lambda s: statuses(s)[:1] == ["offline"])
        for i in range(9):
            mqtt.say_online(i % 2 == 0)
        assert subscriber.wait(lambda s: statuses(s)[-1] == "online")
        mqtt.close(5)
        assert subscriber.wait(lambda s: statuses(s)[-1] == "offline")


@needs_mosquitto
def test_a_status_that_waits_for_its_turn_is_said_without_being_asked_again(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with (
        Outbox(tmp_path / "outbox.sqlite", max_bytes=10**6, max_age_s=1e6) as outbox,
        Subscriber(mosquitto.port) as subscriber,
    ):
        mqtt = MqttPublisher(
            mosquitto.url, outbox, root="edge", node="porch", keepalive_s=5, on_problem=print, online=False
        )
        assert mqtt.wait_connected(10)
        for _ in range(40):
            mqtt.say_online(True)
            mqtt.say_online(False)
            mqtt.say_online(True)
            assert subscriber.wait(lambda s: statuses(s)[-1:] == ["online"], 5)
            mqtt.say_online(False)
            mqtt.say_online(True)
            mqtt.say_online(False)
            assert subscriber.wait(lambda s: statuses(s)[-1:] == ["offline"], 5)
        mqtt.close(5)


@needs_mosquitto
def test_a_status_that_waits_for_its_turn_does_not_outlive_the_node(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite", max_bytes=10**6, max_age_s=1e6) as outbox:
        for _ in range(20):
            mqtt = MqttPublisher(
                mosquitto.url, outbox, root="edge", node="porch", keepalive_s=5, on_problem=print, online=False
            )
            assert mqtt.wait_connected(10)
            for i in range(9):
                mqtt.say_online(i % 2 == 0)
            mqtt.close(5)
            with Subscriber(mosquitto.port) as late:
                assert late.wait(lambda s: bool(statuses(s)))
                assert statuses(late) == ["offline"]


class Scripted:
    """A live camera that gives frames for a while, is lost for a while, and comes back for good."""

    name, live = "scripted", True

    def __init__(self, lost_from_s: float, lost_for_s: float) -> None:
        self._lost = lost_from_s, lost_from_s + lost_for_s
        self._start_ns: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def read(self) -> Frame:
        time.sleep(0.05)
        now_ns = time.monotonic_ns()
        self._start_ns = self._start_ns or now_ns
        if self._lost[0] <= (now_ns - self._start_ns) / 1e9 < self._lost[1]:
            raise CaptureError("the cable is out")
        return Frame(np.full((96, 128, 3), 90, np.uint8), np.full((96, 128, 3), 90, np.uint8), now_ns, 0)


class Staged(Runner):
    """Runs with a camera of the test's, and is held up in the middle of a frame when told so."""

    camera: Source
    hang_s = 0.0

    def _source(self) -> Source:
        return self.camera

    def _one(self, *args: Any) -> None:
        super()._one(*args)
        if self.health.frames_processed == 20:
            time.sleep(self.hang_s)


def run_until(subscriber: Subscriber, node: Staged, wanted: list[str]) -> list[str]:
    deadline = time.monotonic() + 60
    node.stopping = lambda: statuses(subscriber) == wanted or time.monotonic() > deadline
    node.run()
    assert subscriber.wait(lambda s: statuses(s)[-1] == "offline")
    return statuses(subscriber)


def staged(
    mosquitto: Mosquitto, folder: Path, camera: Source, said: list[str], profile: Literal["edge", "frigate"] = "edge"
) -> Staged:
    config = Config(
        node=NodeConfig(state=str(folder)),
        camera=CameraConfig(stalled_s=3.0, retry_s=0.1, retry_max_s=0.2),
        pipeline=PipelineConfig(mode="attention"),
        mqtt=MqttConfig(broker=mosquitto.url, profile=profile),
    )
    node = Staged(config, Run(), SystemClock(), said.append, lambda: False)
    node.camera = camera
    return node


@needs_mosquitto
def test_a_lost_camera_makes_the_node_offline_until_its_frames_are_back(mosquitto: Mosquitto, tmp_path: Path) -> None:
    said: list[str] = []
    with Subscriber(mosquitto.port, "edge/+/status") as subscriber, Subscriber(mosquitto.port, "frigate/#") as frigate:
        node = staged(mosquitto, tmp_path, Scripted(lost_from_s=8.0, lost_for_s=8.0), said, "frigate")
        assert run_until(subscriber, node, ["offline", "online", "offline", "online"]) == [
            "offline", "online", "offline", "online", "offline",
        ], "before the first frame, with frames, without, again with, and at the end"  # fmt: skip
        available = [payload.decode() for topic, payload, _ in frigate.heard if topic == "frigate/available"]
        assert available == ["offline", "online", "offline", "online", "offline"], "Frigate's readers are told the same"
    assert any("no frame processed" in line for line in said)


@needs_mosquitto
def test_a_frame_that_hangs_makes_the_node_offline_though_the_camera_goes_on(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with Subscriber(mosquitto.port, "edge/+/status") as subscriber:
        node = staged(mosquitto, tmp_path, Scripted(1e9, 0), [])
        node.hang_s = 8.0
        assert run_until(subscriber, node, ["offline", "online", "offline", "online"]) == [
            "offline", "online", "offline", "online", "offline",
        ]  # fmt: skip
