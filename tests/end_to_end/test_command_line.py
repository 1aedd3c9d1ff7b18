"""`edge-runtime` as a person runs it: a process, real files, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_runtime.shipped import shipped
from tests.mosquitto import BINARY, Mosquitto, free_port
from tests.subscriber import Subscriber

CLIP = shipped("demo.mp4")


def command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "edge_runtime.cli", "--state", str(state), *arguments]


def run(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(state, *arguments), capture_output=True, text=True, timeout=120)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of the demo clip, with a car in them."""
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    whole = cv2.VideoCapture(str(CLIP))
    whole.set(cv2.CAP_PROP_POS_MSEC, 4000)
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (768, 432))
    for _ in range(38):
        out.write(whole.read()[1])
    out.release()
    return path


def test_a_clip_gives_the_same_events_each_time(tmp_path: Path, short_clip: Path) -> None:
    outputs = []
    for i in range(2):
        file = tmp_path / f"{i}.jsonl"
        done = run(tmp_path / f"state{i}", "--camera", str(short_clip), "--once", "--fast", "--events", str(file))
        assert done.returncode == 0, done.stderr
        rows = events(file)
        for row in rows:
            for changing in ("id", "time", "boot"):
                row.pop(changing)
        outputs.append(rows)
    assert outputs[0] == outputs[1]
    assert {"track_start", "track_end"} <= {row["type"] for row in outputs[0]}


def test_numbers_go_on_over_restarts(tmp_path: Path, short_clip: Path) -> None:
    seqs: list[int] = []
    for i in range(2):
        file = tmp_path / f"{i}.jsonl"
        run(tmp_path / "state", "--camera", str(short_clip), "--once", "--fast", "--events", str(file))
        seqs += [row["seq"] for row in events(file)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_stats_and_recording_are_written(tmp_path: Path, short_clip: Path) -> None:
    stats, video = tmp_path / "stats.json", tmp_path / "out.mp4"
    done = run(
        tmp_path / "state",
        "--camera",
        str(short_clip),
        "--once",
        "--fast",
        "--stats",
        str(stats),
        "--record",
        str(video),
    )
    assert done.returncode == 0, done.stderr
    counted = json.loads(stats.read_text())
    assert counted["frames_processed"] == counted["frames_seen"] == 38
    assert counted["frames_dropped"] == 0
    assert {"attention", "cropping", "detection", "tracking"} <= set(counted["stages"])
    assert "first frame processed" in done.stderr
    assert "frames 38 processed" in done.stderr
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 768
    assert capture.read()[0]
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize(("mode", "start"), [("attention", 0.55), ("full", 0.4)])
def test_the_other_modes_find_the_car_too(tmp_path: Path, short_clip: Path, mode: str, start: float) -> None:
    file = tmp_path / "e.jsonl"
    done = run(
        tmp_path / "state", "--camera", str(short_clip), "--once", "--fast", "--events", str(file),
        "--set", f"pipeline.mode={mode}", "--set", f"tracking.start_score={start}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert any(row["track"]["label"] in ("vehicle", "car", "truck", "bus") for row in events(file))


def test_a_zone_whose_topics_are_taken_is_refused_at_the_start_also_without_a_broker(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('[[zones]]\nname = "slots"\npoints = [[0.1, 0.5], [0.6, 0.5], [0.6, 1.0]]\n')
    done = run(tmp_path / "state", "--config", str(file), "--camera", "synthetic", "--once", "--broker", "none")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        'edge-runtime: zones[0].name = "slots": its topics are taken by other things; choose another name'
    )


def test_events_on_standard_output_are_json_lines_and_nothing_else(tmp_path: Path, short_clip: Path) -> None:
    done = run(tmp_path / "state", "--camera", str(short_clip), "--once", "--fast", "--events", "-")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--camera", "9"], 3, "camera 9"),
        (["--camera", "nowhere.mp4"], 3, "nowhere.mp4"),
        (["--camera", "pyproject.toml", "--once"], 3, "pyproject.toml"),
        (["--camera", "demo", "--set", "attention.model=./nowhere.onnx"], 4, "nowhere.onnx: no such model file"),
        (["--camera", "demo", "--set", "detection.model=scene_attention"], 4, "is for attention"),
        (["--set", "camera.fsp=3"], 2, "did you mean camera.fps"),
        (["--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["--camera", "demo", "--broker", "http://hub"], 2, "must look like mqtt://"),
        (["--camera", "demo", "--broker", "none", "--web", "eighty"], 2, "web.listen = eighty"),
        (["--camera", "demo", "--broker", "mqtt://127.0.0.1:9", "--web", "0", "--need-broker"], 6, "no connection"),
        (["--camera", "demo", "--broker", "none", "--web", "0", "--events", "/nowhere/e.jsonl"], 5, "/nowhere/e.jsonl"),
    ],
)
def test_bad_input_gets_one_line_and_its_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = run(tmp_path / "state", *arguments)
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("edge-runtime: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run(tmp_path / "file" / "state", "--camera", "demo", "--broker", "none", "--web", "0")
    assert done.returncode == 5
    assert "state folder" in done.stderr


def test_the_small_commands_answer(tmp_path: Path) -> None:
    for arguments, beginning in ((["config", "--default"], "# edge-runtime"), (["schema"], "{"), (["version"], "0.")):
        done = subprocess.run([sys.executable, "-m", "edge_runtime.cli", *arguments], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stdout.startswith(beginning)


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
def test_a_broker_that_refuses_the_login_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    users = f"allow_anonymous false\npassword_file {tmp_path}/users"
    with Mosquitto(tmp_path, users) as broker:
        url = broker.url.replace("//", "//porch:wrong@")
        done = run(tmp_path / "state", "--camera", "demo", "--broker", url, "--web", "0", "--need-broker")
    assert done.returncode == 6
    assert "Not authorized" in done.stderr.splitlines()[-1]
    assert "wrong" not in done.stderr


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
def test_every_event_survives_a_broker_outage_in_mid_run(tmp_path: Path) -> None:
    """The broker stops while the demo runs and starts again; a subscriber then has every number."""
    folder = tmp_path / "broker"
    folder.mkdir()
    file = tmp_path / "events.jsonl"
    with Mosquitto(folder) as broker, Subscriber(broker.port) as subscriber:
        arguments = ["--camera", "demo", "--broker", broker.url, "--events", str(file), "--set", "events.update_s=0.2"]
        process = subprocess.Popen(command(tmp_path / "state", *arguments, "--web", "0"), stderr=subprocess.PIPE)
        try:
            assert subscriber.wait(lambda s: len(s.events()) >= 3, 40)
            broker.stop()
            lines = len(events(file))
            deadline = time.monotonic() + 20
            while len(events(file)) < lines + 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(events(file)) >= lines + 3, "detection goes on without a broker"
            broker.start()
            assert subscriber.wait(lambda s: len(s.events()) > lines + 3, 40)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        numbers = [row["seq"] for row in events(file)]
        subscriber.wait(lambda s: set(s.seqs()) >= set(numbers), 20)
        assert sorted(set(numbers) - set(subscriber.seqs())) == [], "every number arrived"
        assert numbers == list(range(1, len(numbers) + 1))
        assert subscriber.wait(lambda s: s.last("/status") == b"offline")


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
def test_the_time_from_sensor_to_puback_is_told_in_health_in_the_counters_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    stats = tmp_path / "stats.json"
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as subscriber:
        arguments = ["--camera", "demo", "--broker", broker.url, "--web", "0", "--stats", str(stats), "--need-broker"]
        process = subprocess.Popen(command(tmp_path / "state", *arguments), stderr=subprocess.PIPE, text=True)
        try:
            assert subscriber.wait(lambda s: json.loads(s.last("/health") or b"{}").get("puback_ms") is not None, 90)
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        for counters in (json.loads(stats.read_text()), json.loads(subscriber.last("/health") or b"")):
            times = counters["puback_ms"]
            assert 1 <= times["count"] <= counters["events"]
            assert 0 < times["p50"] <= times["p95"]
    assert re.fullmatch(r"sensor to PUBACK  p50 \d+ ms  p95 \d+ ms  of \d+ events", said.splitlines()[-1])


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
def test_a_clip_that_is_read_fast_has_no_time_from_sensor_to_puback(tmp_path: Path, short_clip: Path) -> None:
    (tmp_path / "broker").mkdir()
    stats = tmp_path / "stats.json"
    with Mosquitto(tmp_path / "broker") as broker:
        arguments = ["--once", "--fast", "--broker", broker.url, "--need-broker", "--stats", str(stats)]
        done = run(tmp_path / "state", "--camera", str(short_clip), *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(stats.read_text())["puback_ms"] is None
    assert "PUBACK" not in done.stderr


def test_the_demo_brings_its_own_broker_and_says_how_to_watch(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--camera", "demo", "--set", f"mqtt.port={port}", "--web", "0"]
    process = subprocess.Popen(command(tmp_path / "state", *arguments), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = ""
        while "track_start" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        assert f"mosquitto_sub -p {port} -t 'edge/#' -v" in said
        assert "page: http://127.0.0.1:" in said
        with Subscriber(port) as subscriber:
            assert subscriber.wait(lambda s: s.last("/status") == b"online")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, short_clip: Path) -> None:
    reading, writing = os.pipe()
    arguments = ["--camera", str(short_clip), "--once", "--fast", "--events", "-"]
    process = subprocess.Popen(command(tmp_path / "state", *arguments), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.close(reading)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Traceback" not in errors
