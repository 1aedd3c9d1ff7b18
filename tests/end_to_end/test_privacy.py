"""No pixel leaves a node at the level `events`: canaries painted into every frame, searched for in every byte.

At the level `crops` none of a plate does.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import paho.mqtt.publish as single
import pytest
from numpy.typing import NDArray

from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig
from edge_runtime.engine import open_model
from edge_runtime.plates.finder import PlateFinder, around, plate_in
from edge_runtime.plates.reader import open_reader
from tests.canary import Finding, Search, painted, shown, tile
from tests.end_to_end.test_page import brightest
from tests.face_models import face_photo, face_settings
from tests.gate_clip import our_plate, write_clip
from tests.mosquitto import BINARY, Mosquitto
from tests.subscriber import Subscriber

Image = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[2]
RULES = """
[node]
name = "porch"
[camera]
name = "front"
[[zones]]
name = "lot"
points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
enter_s = 0.0
leave_s = 0.0
[[lines]]
name = "gate"
points = [[0.0, 0.55], [1.0, 0.55]]
[[slots]]
name = "1"
points = [[0.1, 0.6], [0.3, 0.6], [0.3, 0.8], [0.1, 0.8]]
[parking]
min_dwell_s = 0.0
[tamper]
learn_s = 1.0
frozen_s = 0.5
[mqtt]
profile = "frigate"
"""


def canary_clip(path: Path, *, frames: int = 40) -> None:
    """Part of the demo clip in which two cars drive in, then a still picture; canaries in each frame, no loss."""
    demo = cv2.VideoCapture(str(ROOT / "models/demo.mp4"))
    demo.set(cv2.CAP_PROP_POS_MSEC, 14_400)
    clip: cv2.VideoWriter | None = None
    for i in range(frames + 15):
        if i < frames:
            _, bgr = demo.read()
        assert bgr is not None
        clip = clip or cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 12.5, bgr.shape[1::-1])
        clip.write(painted(np.asarray(bgr, np.uint8)))
    assert clip is not None
    clip.release()
    demo.release()


def held(path: Path) -> tuple[Image, Image]:
    """A frame of the clip as the program holds it, whole and small."""
    with open_source(CameraConfig(source=str(path)), SystemClock(), loop=False, paced=False) as source:
        frame = source.read()
        assert frame is not None and isinstance(frame.main, np.ndarray)
        return frame.main.copy(), frame.lores.copy()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canary") / "canary.mkv"
    canary_clip(path)
    return path


@pytest.fixture(scope="module")
def search(clip: Path) -> Search:
    return Search(*held(clip))


def jpeg(picture: Image, quality: int = 80) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def half(picture: Image) -> Image:
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize(
    ("how", "packed"),
    [
        ("the frame's bytes", lambda f: f.tobytes()),
        ("a crop's bytes", lambda f: np.ascontiguousarray(f[100:300, 100:300]).tobytes()),
        ("one channel of it", lambda f: np.ascontiguousarray(f[100:300, 100:300, 2]).tobytes()),
        ("a network's input", lambda f: f[:200, :200].astype(np.float32).transpose(2, 0, 1).tobytes()),
        ("base64 in JSON", lambda f: json.dumps({"x": base64.b64encode(f[100:300].tobytes()).decode()}).encode()),
        ("hexadecimal", lambda f: b"thumb=" + f[100:300].tobytes().hex().encode()),
        ("deflate", lambda f: b"\0" * 99 + zlib.compress(f.tobytes())),
        ("gzip", lambda f: gzip.compress(f.tobytes())),
        ("JPEG", lambda f: b"head" + jpeg(f, 40) + b"tail"),
        ("JPEG of half the size", lambda f: jpeg(half(f))),
        ("JPEG of a crop", lambda f: jpeg(f[150:350, 200:400])),
        ("PNG", lambda f: bytes(cv2.imencode(".png", f)[1])),
        ("JPEG in base64 in JSON", lambda f: json.dumps({"image": base64.b64encode(jpeg(half(f))).decode()}).encode()),
        ("JPEG in gzip in base64", lambda f: base64.urlsafe_b64encode(gzip.compress(jpeg(half(f))))),
    ],
)
def test_the_search_finds_the_canary_however_it_is_packed(
    clip: Path, search: Search, how: str, packed: Callable[[Image], bytes]
) -> None:
    findings = [f.what for f in search(how, packed(held(clip)[0]))]
    assert "raw pixels" in findings or "the canary" in findings, findings


def test_the_search_finds_the_small_picture_and_a_database_row(clip: Path, search: Search, tmp_path: Path) -> None:
    main, lores = held(clip)
    assert list(search("lores", lores.tobytes()))
    with sqlite3.connect(tmp_path / "rows.sqlite") as rows:
        rows.execute("create table t (payload blob)")
        rows.execute("insert into t values (?)", (jpeg(half(main)),))
    assert any(f.what == "the canary" for f in search("row", (tmp_path / "rows.sqlite").read_bytes()))


def test_the_search_finds_nothing_in_other_pictures_bytes(search: Search) -> None:
    assert not list(search("a model", (ROOT / "models/face_cropper.edge").read_bytes()))
    other = [f.what for f in search("a photo", (ROOT / "models/clip_three_people_faces.jpg").read_bytes())]
    assert other and all(what.startswith("a picture") for what in other)


def everything_of(folder: Path) -> list[tuple[str, bytes]]:
    """The bytes of each file below a folder."""
    return [(str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()]


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
@pytest.mark.timeout(600)
def test_at_the_level_events_no_pixel_is_published_logged_or_stored(clip: Path, search: Search, tmp_path: Path) -> None:
    known = painted(np.asarray(cv2.copyMakeBorder(face_photo(), 60, 60, 60, 60, cv2.BORDER_REPLICATE), np.uint8))
    known[60:-60, 60:-60] = face_photo()
    cv2.imwrite(str(tmp_path / "anna.png"), known)
    options = [word for text in face_settings(tmp_path) for word in ("--set", text)]
    (tmp_path / "edge.toml").write_text(RULES)
    command = [sys.executable, "-m", "edge_runtime.cli"]
    environment = os.environ | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    for name in ("home", "tmp", "run", "broker"):
        (tmp_path / name).mkdir()

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*command, *words, *options], capture_output=True, cwd=tmp_path / "run", env=environment, timeout=500
        )

    enrolled = run("enroll", "Anna", str(tmp_path / "anna.png"))
    assert enrolled.returncode == 0, enrolled.stderr.decode()
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, "#") as subscriber:
        done = run(
            "--camera", str(clip), "--once", "--fast", "--broker", broker.url, "--config", str(tmp_path / "edge.toml"),
            "--events", "events.jsonl", "--stats", "stats.json", "--set", "identity.enabled=true",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        told = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
        assert subscriber.wait(lambda s: len(s.events()) >= len(told))
        heard = list(subscriber.heard)

    kinds = {json.loads(line)["type"] for line in told}
    assert {"track_start", "zone_enter", "track_end"} <= kinds, "or the search would prove little"
    assert not any(json.loads(line)["snapshot"] for line in told), "nor is a picture referred to"
    assert {topic.split("/")[0] for topic, _, _ in heard} >= {"edge", "frigate", "homeassistant"}
    places = [(topic, topic.encode() + b"\n" + payload) for topic, payload, _ in heard]
    places += [("stdout", done.stdout), ("stderr", done.stderr), ("enroll", enrolled.stdout + enrolled.stderr)]
    for folder in ("state", "run", "broker", "home", "tmp"):
        # Compiled kernels hold no pixels, and are megabytes.
        places += [
            (f"{folder}/{n}", c) for n, c in everything_of(tmp_path / folder) if not n.endswith((".nbi", ".nbc"))
        ]
    assert any(name.startswith("state/outbox") for name, _ in places)
    found: list[Finding] = [finding for where, content in places for finding in search(where, content)]
    assert not found


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
@pytest.mark.timeout(900)
def test_pictures_leave_on_their_topics_alone_and_back_at_the_level_events_the_broker_forgets_them(
    clip: Path, search: Search, tmp_path: Path
) -> None:
    (tmp_path / "edge.toml").write_text(RULES)
    command = [sys.executable, "-m", "edge_runtime.cli", "--camera", str(clip), "--once", "--fast"]
    command += ["--config", str(tmp_path / "edge.toml"), "--state", str(tmp_path / "state")]
    with Mosquitto(tmp_path) as broker:
        with Subscriber(broker.port, "#") as subscriber:
            more = ["--broker", broker.url, "--set", "privacy.level=snapshots"]
            assert subprocess.run([*command, *more], capture_output=True, timeout=400).returncode == 0
            assert subscriber.wait(lambda s: any("/snapshot/" in topic for topic, _, _ in s.heard))
            heard = list(subscriber.heard)
        assert "the canary" in {f.what for topic, payload, _ in heard for f in search(topic, payload)}
        shown = {topic for topic, payload, _ in heard if list(search(topic, payload))}
        ours, frigates = "edge/porch/front/snapshot/", "frigate/front/"
        pictures = {topic.removeprefix(ours) for topic in shown if topic.startswith(ours)}
        assert pictures and shown == {ours + label for label in pictures} | {
            f"{frigates}{label}/snapshot" for label in pictures
        }
        told = [json.loads(payload)["after"] for topic, payload, _ in heard if topic == "frigate/events"]
        assert any(o["has_snapshot"] for o in told if o["label"] in pictures)
        assert not any(o["has_snapshot"] for o in told if o["label"] not in pictures)
        check_references(heard, shown)
        assert "image" in {c["platform"] for c in json.loads(payload_of(heard, "config"))["components"].values()}

        assert subprocess.run([*command, "--broker", broker.url], capture_output=True, timeout=400).returncode == 0
        with Subscriber(broker.port, "#") as late:
            assert late.wait(lambda s: all(s.last(f"/{name}") is not None for name in ("status", "config")))
            time.sleep(0.5)  # a retained picture would have come by now
            assert not any("/snapshot" in topic for topic, _, _ in late.heard)
            components = json.loads(payload_of(late.heard, "config"))["components"].values()
            assert all(len(c) == 1 for c in components if c["platform"] == "image"), "withdrawn"


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
@pytest.mark.timeout(600)
def test_with_privacy_on_the_page_shows_no_picture_from_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "edge_runtime.cli", "--camera", "demo", "--state", str(tmp_path / "state")]
    command += ["--web", "0", "--set", "node.name=porch"]
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as heard, log.open("w") as out:
        node = subprocess.Popen([*command, "--broker", broker.url], stderr=out, stdout=out)
        try:
            assert heard.wait(lambda s: s.last("porch/status") == b"online", 240)
            found = re.search(r"page: (\S+)", log.read_text())
            assert found is not None
            assert brightest(found[1]) > 100
            time.sleep(0.5)  # the only viewer has left: nothing is drawn for the page any more
            single.single("edge/porch/set/privacy", "ON", port=broker.port)
            assert heard.wait(lambda s: s.last("porch/privacy") == b"ON")
            time.sleep(1)  # the frame under way
            assert brightest(found[1]) < 10
        finally:
            node.terminate()
            node.wait(60)


def cars_shown(clip: Path, folder: Path, level: str, *more: str) -> list[Image]:
    """The pictures of a car that a run publishes."""
    folder.mkdir()
    command = [sys.executable, "-m", "edge_runtime.cli", "--camera", str(clip), "--once", "--fast"]
    settings = [f"privacy.level={level}", "privacy.every_s=0.1", *more]
    command += ["--state", str(folder / "state"), *(word for text in settings for word in ("--set", text))]
    with Mosquitto(folder) as broker, Subscriber(broker.port, "#") as subscriber:
        done = subprocess.run([*command, "--broker", broker.url], capture_output=True, timeout=400)
        assert done.returncode == 0, done.stderr.decode()
        assert subscriber.wait(lambda s: any(topic.endswith("/status") and p == b"offline" for topic, p, _ in s.heard))
        payloads = [payload for topic, payload, _ in subscriber.heard if topic.endswith("/snapshot/car") and payload]
    pictures = [cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR) for payload in payloads]
    assert pictures
    return [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]


def readings(pictures: list[Image]) -> set[str]:
    """What our own networks read on pictures of a car."""
    finder, reader = PlateFinder(open_model("plate_finder", "detector")), open_reader("plate_reader")
    found = set()
    for picture in pictures:
        seen = plate_in(picture, (0, 0, picture.shape[1], picture.shape[0]), finder)
        cut = None if seen is None else around(picture, [float(edge) for edge in seen[0]], 0.08)
        found |= {reader(cut[0]).text} if cut is not None else set()
    return found


@pytest.mark.skipif(BINARY is None, reason="no mosquitto on this machine (./test installs it)")
@pytest.mark.timeout(900)
def test_at_the_level_crops_no_plate_leaves_on_a_picture(tmp_path: Path) -> None:
    plate, text = our_plate()
    side = plate.shape[0] * 2 // 3
    mark = cv2.resize(tile(), (side, side), interpolation=cv2.INTER_AREA)[..., None]
    plain, marked = write_clip(tmp_path / "plain.mkv", plate), plate.copy()
    marked[side // 4 : side // 4 + side, -side - 12 : -12] = mark
    clip = write_clip(tmp_path / "marked.mkv", marked)

    legible = cars_shown(plain, tmp_path / "1", "snapshots")
    assert text in readings(legible), "or the search would prove little"
    assert text not in readings(cars_shown(plain, tmp_path / "2", "crops"))
    assert "the canary" not in {shown(grey(picture)) for picture in cars_shown(clip, tmp_path / "3", "crops")}
    without = cars_shown(clip, tmp_path / "4", "snapshots")
    assert "the canary" in {shown(grey(picture)) for picture in without}, "nobody was asked to hide it"


def grey(picture: Image) -> Image:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)


def check_references(heard: list[tuple[str, bytes, bool]], shown: set[str]) -> None:
    """Each event that names a picture comes after it, as subscribers hear them; telling events do name one."""
    said: set[str] = set()
    referring: set[str] = set()
    for topic, payload, _ in heard:
        said.add(topic)
        if topic == "edge/porch/events" and (event := json.loads(payload))["snapshot"] is not None:
            assert event["snapshot"] in said & shown
            referring.add(event["type"])
    assert {"track_start", "zone_enter"} <= referring


def payload_of(heard: list[tuple[str, bytes, bool]], suffix: str) -> bytes:
    """The newest payload of a topic that ends so."""
    return next(payload for topic, payload, _ in reversed(heard) if topic.endswith(suffix))


@pytest.mark.parametrize("package", ["edge_runtime", "build_tools"])
def test_the_engine_tells_its_maker_nothing(tmp_path: Path, package: str) -> None:
    """ONNX Runtime keeps an id of the machine and a queue of what it is to send in the home folder, unless silenced."""
    code = f"import time, {package}, onnxruntime; onnxruntime.get_available_providers(); time.sleep(1)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
