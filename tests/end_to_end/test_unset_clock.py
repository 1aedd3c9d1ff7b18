"""A node whose clock nobody has set: what it says of the time, and rules that go by the time of day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig, Config, NodeConfig, PipelineConfig, ZoneConfig
from edge_runtime.runner import Run, Runner

WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize("was_set", [True, False])
def test_a_schedule_holds_back_events_only_by_a_clock_that_was_set(tmp_path: Path, was_set: bool) -> None:
    clock = SystemClock(lambda _: was_set)
    another_time = f"{(clock.wall().astimezone().hour + 12) % 24:02}"
    zone = ZoneConfig("all", WHOLE, active=f"{another_time}:00-{another_time}:59")
    config = Config(
        node=NodeConfig(state=str(tmp_path / "state")),
        camera=CameraConfig(source="synthetic", size_wh=(640, 360)),
        pipeline=PipelineConfig(mode="attention"),
        zones=(zone,),
    )
    file = tmp_path / "events.jsonl"
    asked = Run(once=True, fast=True, events=str(file))
    Runner(config, asked, clock, [].append, lambda: file.exists() and "track_end" in file.read_text()).run()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert {event["clock_synced"] for event in events} == {was_set}
    assert any(event["type"] == "track_start" for event in events)
    assert any(event["type"] == "zone_enter" for event in events) != was_set
