"""The whole product on one page: a clip in, events out over MQTT, none lost. Read this first."""

from __future__ import annotations

import json
from pathlib import Path

from edge_runtime import config
from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.health import Health
from edge_runtime.pipeline import Pipeline
from edge_runtime.publishing.broker import EmbeddedBroker
from edge_runtime.publishing.desk import EventDesk
from edge_runtime.publishing.mqtt import MqttPublisher
from edge_runtime.publishing.outbox import Outbox
from tests.subscriber import Subscriber


def test_the_demo_clip_becomes_events_at_a_subscriber(tmp_path: Path) -> None:
    clock = SystemClock()
    settings = config.load(None, ["camera.source=demo", "camera.name=lot", "node.name=tiny"])
    health = Health(clock)
    pipeline = Pipeline(settings, health)  # attention, crops, detector, tracks, events
    source = open_source(settings.camera, clock, loop=False, paced=False, start_ns=0)

    with (
        EmbeddedBroker(0) as broker,
        Subscriber(broker.port) as subscriber,
        Outbox(tmp_path / "outbox.sqlite", max_bytes=10_000_000, max_age_s=86_400) as outbox,
    ):
        url = f"mqtt://127.0.0.1:{broker.port}"
        mqtt = MqttPublisher(
            url, outbox, root="edge", node="tiny", keepalive_s=10, on_problem=print, newest=False
        )  # fmt: skip
        desk = EventDesk(outbox, [mqtt], node="tiny", camera="lot", clock=clock, live=False)

        payloads: list[bytes] = []
        with source:
            while (frame := source.read()) is not None:
                outcome = pipeline.process(frame)  # the whole way of a frame
                payloads += desk.post(outcome.events)  # on disk before anyone is told
                frame.release()
        payloads += desk.post(pipeline.finish())
        mqtt.close(10)

        assert subscriber.wait(lambda s: len(s.events()) >= len(payloads))
        assert outbox.counts.pending == 0, "the broker has acknowledged every event"

    events = subscriber.events()
    assert events == [json.loads(p) for p in payloads], "what was committed is what arrived"
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), "no number is missing"
    starts = [e for e in events if e["type"] == "track_start"]
    ends = [e for e in events if e["type"] == "track_end"]
    assert sorted(e["track"]["id"] for e in starts) == sorted(e["track"]["id"] for e in ends)
    # Two cars drive in at 14.45 s and 14.95 s; see models/demo.md.
    assert any(14.4 <= e["media_s"] <= 15.95 and e["track"]["label"] in ("car", "truck", "bus") for e in starts)
