"""Persons known and unknown, on real faces: photos that come as visitors, and people who walk up to a camera."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig, Config, IdentityConfig, NodeConfig
from edge_runtime.datatypes import Event
from edge_runtime.errors import PhotoError
from edge_runtime.health import Health
from edge_runtime.identity.enrolment import portrait
from edge_runtime.identity.gallery import Gallery
from edge_runtime.identity.reader import FaceNetworks
from edge_runtime.identity.sealed import GalleryFile
from edge_runtime.pipeline import Pipeline
from tests.benchmarks.identity_tracks import PHOTOS_ENROLLED, enrol, porch, settings, verdicts, visit
from tests.identity_peers import CLIPS, PERSONS, networks, persons

pytestmark = [
    pytest.mark.skipif(not PERSONS.is_dir(), reason="needs the shared data of faces and clips"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceNetworks:
    return networks(tmp_path_factory.mktemp("networks"))


def test_whoever_was_enrolled_is_known_at_the_door_and_strangers_are_not(tmp_path: Path, faces: FaceNetworks) -> None:
    everybody, strangers, background = persons("calibration"), persons("strangers"), porch()
    known = {name: everybody[name] for name in list(everybody)[:4]}
    enrol(known, faces, tmp_path)
    for name, photos in known.items():
        others = photos[PHOTOS_ENROLLED:]
        assert verdicts(visit(others, background, 60), settings(tmp_path), faces) == [name]
    for name in list(everybody)[10:12]:
        assert verdicts(visit(everybody[name], background, 60), settings(tmp_path), faces) == ["unknown"]
    for name in list(strangers)[:2]:
        assert verdicts(visit(strangers[name], background, 60), settings(tmp_path), faces) == ["unknown"]


def node(clip: str, state: Path) -> Config:
    """The node as shipped: attention, crops, detector; identity on."""
    return Config(
        node=NodeConfig(state=str(state)),
        camera=CameraConfig(source=str(CLIPS / clip)),
        identity=IdentityConfig(enabled=True),
    )


def enrol_from(
    clip: str, state: Path, faces: FaceNetworks, span_s: tuple[float, float], x_share: tuple[float, float]
) -> None:
    """Enrol as Anna whoever is seen between two shares of the clip's width for a time."""
    config, rows = node(clip, state), []
    with open_source(config.camera, SystemClock(), loop=False, paced=False) as source:
        while (frame := source.read()) is not None and (frame.media_s or 0.0) < span_s[1]:
            if (frame.media_s or 0.0) >= span_s[0] and frame.seq % 2 == 0:
                assert isinstance(frame.main, np.ndarray)
                low, high = (round(share * frame.size_wh[0]) for share in x_share)
                with contextlib.suppress(PhotoError):  # as the camera's enrolment: views that do not fit are left out
                    rows.append(portrait(frame.main[:, low:high], clip, faces).embedding)
            frame.release()
    assert len(rows) >= 2
    gallery = Gallery.empty(faces.embedder).enrolled("Anna", np.stack(rows))
    GalleryFile.of(config).write(gallery)


def identities(config: Config, faces: FaceNetworks, from_s: float = 0.0) -> list[tuple[Event, float]]:
    """What is said of each face from a time on, and how far to the right of the picture it is."""
    pipeline, found = Pipeline(config, Health(SystemClock()), faces=faces), []
    with open_source(config.camera, SystemClock(), loop=False, paced=False) as source:
        while (frame := source.read()) is not None:
            if (frame.media_s or 0.0) >= from_s:
                for event in pipeline.process(frame).events:
                    if event.type == "identity":
                        assert event.track is not None
                        found.append((event, (event.track.box[0] + event.track.box[2]) / 2 / frame.size_wh[0]))
            frame.release()
    return found


def test_of_three_who_walk_up_the_enrolled_one_is_known_and_the_others_are_not(
    tmp_path: Path, faces: FaceNetworks
) -> None:
    clip = "three_people_approach.mp4"
    enrol_from(clip, tmp_path, faces, (1.0, 1.6), (0.05, 0.38))
    told = identities(node(clip, tmp_path), faces, from_s=1.7)
    by_place = {("left" if x < 0.33 else "middle" if x < 0.66 else "right"): (e.state, e.name) for e, x in told}
    assert by_place == {"left": ("known", "Anna"), "middle": ("unknown", None), "right": ("unknown", None)}
    assert len(told) == 3, "once each"


def test_the_man_at_the_door_is_known_once_and_the_empty_porch_is_nobody(tmp_path: Path, faces: FaceNetworks) -> None:
    enrol_from("front_door.mp4", tmp_path, faces, (0.8, 1.3), (0.3, 0.8))
    config = node("front_door.mp4", tmp_path)
    assert [(e.state, e.name) for e, _ in identities(config, faces, from_s=1.3)] == [("known", "Anna")]
    nameless = dataclasses.replace(config, identity=IdentityConfig(enabled=True, tell_names=False))
    assert [(e.state, e.name) for e, _ in identities(nameless, faces, from_s=1.3)] == [("known", None)]
