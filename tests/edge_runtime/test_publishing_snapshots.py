"""Pictures of objects: none unless the level says so, no faces at `crops`, taken back when privacy is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.config import CameraConfig, Config, PrivacyConfig
from edge_runtime.datatypes import Event, Frame, Track
from edge_runtime.engine import open_model
from edge_runtime.events.appearance import Moment, track_event
from edge_runtime.health import Health
from edge_runtime.identity.finder import FaceFinder
from edge_runtime.imaging.blur_faces import CELLS, blur_areas, hidden_areas
from edge_runtime.pipeline import Pipeline
from edge_runtime.publishing.snapshots import Snapshots
from edge_runtime.publishing.topics import Topics
from tests.builders import NAMES, detections
from tests.identity_peers import CLIPS

Image = NDArray[np.uint8]
TOPICS = Topics("edge", "porch", "front")
NONE = detections()


def noise(h: int = 360, w: int = 480) -> Image:
    return np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8)


def frame(at_s: float, picture: Image | None = None) -> Frame:
    main = noise() if picture is None else picture
    return Frame(main, main[::4, ::4], round(at_s * 1e9), 0)


def track(id_: int = 1, box: tuple[float, float, float, float] = (100, 60, 160, 240), **more: object) -> Track:
    return replace(Track(id_, "person", 0.9, 0.9, box, 0, 0, 5, True, False), **more)  # type: ignore[arg-type]


class Told:
    """Keeps what is put, as decoded pictures; None: cleared."""

    def __init__(self, level: str) -> None:
        self.all: list[tuple[str, Image | None]] = []
        self.snapshots = Snapshots(PrivacyConfig(level=level), TOPICS, NAMES, self._put)  # type: ignore[arg-type]

    def _put(self, topic: str, payload: bytes) -> None:
        decoded = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR) if payload else None
        self.all.append((topic, None if decoded is None else np.asarray(decoded, np.uint8)))


def test_at_the_level_events_nothing_is_ever_shown() -> None:
    told = Told("events")
    for i in range(50):
        told.snapshots.update(frame(i), NONE, [track(i)])
    assert told.all == [] and told.snapshots.labels == ()


def test_an_object_is_shown_with_its_surroundings_under_its_label() -> None:
    told = Told("snapshots")
    told.snapshots.update(frame(0), NONE, [track()])
    ((topic, picture),) = told.all
    assert topic == "edge/porch/front/snapshot/person"
    assert picture is not None and picture.shape == (234, 114, 3), "27 px more on each side"


def test_it_is_shown_again_only_when_it_is_seen_much_better_and_not_at_once() -> None:
    told = Told("snapshots")
    for at_s, height in ((0.0, 100), (0.1, 300), (3.0, 110), (4.0, 200), (4.5, 340)):
        told.snapshots.update(frame(at_s), NONE, [track(box=(100, 10, 160, 10 + height))])
    assert [picture.shape[0] for _, picture in told.all if picture is not None] == [110 + 15, 210 + 30]


def test_tracks_that_are_lost_or_not_told_of_are_not_shown() -> None:
    told = Told("snapshots")
    told.snapshots.update(frame(0), NONE, [track(1, lost=True), track(2, confirmed=False)])
    assert told.all == []


def test_a_picture_of_a_face_alone_is_a_snapshot_not_a_crop() -> None:
    face = track(box=(100, 60, 140, 110), label="face")
    shown, hidden = Told("snapshots"), Told("crops")
    for told in (shown, hidden):
        told.snapshots.update(frame(0), NONE, [face])
    assert [topic for topic, _ in shown.all] == ["edge/porch/front/snapshot/face"]
    assert hidden.all == [] and "face" not in hidden.snapshots.labels


def test_all_that_was_shown_is_taken_back_when_privacy_is_switched_on() -> None:
    told = Told("snapshots")
    told.snapshots.update(frame(0), NONE, [track()])
    told.snapshots.clear()
    taken_back = len(told.all)
    assert PERSON in [topic for topic, picture in told.all if picture is None]
    told.snapshots.clear()
    assert len(told.all) == taken_back, "once is enough"
    told.snapshots.update(frame(0.1), NONE, [track()])
    assert told.all[-1][1] is not None
    told.snapshots.clear()
    assert told.all[taken_back + 1 :] == [(PERSON, None)]


@pytest.mark.parametrize("level", ["snapshots", "crops", "events"])
def test_what_an_earlier_run_may_have_shown_at_any_level_is_taken_back_too(level: str) -> None:
    told = Told(level)
    told.snapshots.clear()
    assert told.all == [(TOPICS.snapshot(label), None) for label in sorted(NAMES)]


def told_of(kind: str, one: Track, at_s: float = 0.0) -> Event:
    moment = Moment(round(at_s * 1e9), None, (480, 360))
    return track_event(kind, one, moment)  # type: ignore[arg-type]


def shown(told: Told, at_s: float, tracks: list[Track], *events: Event) -> list[str | None]:
    """The pictures that events of a frame refer to."""
    told.snapshots.update(frame(at_s), NONE, tracks, events)
    return [e.snapshot for e in told.snapshots.refer(events)]


PERSON = "edge/porch/front/snapshot/person"


def test_an_event_refers_to_the_picture_that_shows_its_object_and_to_no_other() -> None:
    told = Told("snapshots")
    near, far = track(1, (100, 60, 200, 340)), track(2, (300, 60, 340, 160))
    events = told_of("track_start", near), told_of("zone_enter", far), told_of("zone_enter", near)
    assert shown(told, 0.0, [near, far], *events) == [PERSON, None, PERSON], "one picture of a label at a time"
    assert shown(told, 1.0, [near, far], told_of("dwell", far, 1.0)) == [None]
    assert len(told.all) == 1
    assert shown(told, 2.5, [near, far], told_of("dwell", far, 2.5), told_of("track_update", near, 2.5)) == [
        PERSON, None,
    ]  # fmt: skip
    assert len(told.all) == 2


def test_what_is_told_of_is_shown_before_what_is_seen_better() -> None:
    told = Told("snapshots")
    near, far = track(1, (100, 60, 200, 340)), track(2, (300, 60, 340, 160))
    assert shown(told, 0.0, [near, far], told_of("line_cross", far)) == [PERSON]


def test_a_picture_that_was_referred_to_stays_a_while_or_becomes_a_better_one_of_the_same() -> None:
    told = Told("snapshots")
    far, late = track(2, (300, 60, 340, 160)), track(3, (100, 10, 200, 340))
    shown(told, 0.0, [far])
    assert shown(told, 1.9, [far], told_of("zone_enter", far, 1.9)) == [PERSON]
    assert shown(told, 2.1, [far, late], told_of("track_start", late, 2.1)) == [None]
    better = replace(far, box=(300, 10, 360, 340))
    shown(told, 2.2, [better])
    assert len(told.all) == 2
    assert shown(told, 4.5, [better, late], told_of("zone_enter", late, 4.5)) == [PERSON]


def test_updates_alone_neither_take_a_picture_nor_keep_one() -> None:
    told = Told("snapshots")
    near, other = track(1, (100, 60, 200, 340)), track(2, (300, 60, 400, 330))
    shown(told, 0.0, [near])
    assert shown(told, 1.9, [near], told_of("track_update", near, 1.9)) == [PERSON]
    assert shown(told, 2.1, [near, other], told_of("track_start", other, 2.1)) == [PERSON]


def test_an_event_of_a_face_refers_to_its_bearer_where_faces_are_not_shown() -> None:
    person, face = track(1, (100, 60, 160, 240)), track(2, (118, 66, 142, 96), label="face")
    stranger = track(3, (300, 66, 324, 96), label="face")
    events = told_of("identity", face), told_of("identity", stranger)
    assert shown(Told("crops"), 0.0, [person, face, stranger], *events) == [PERSON, None]
    faces = "edge/porch/front/snapshot/face"
    assert shown(Told("snapshots"), 0.0, [person, face, stranger], *events) == [faces, None]


def test_asked_for_the_best_of_each_label_in_view_is_shown_anew() -> None:
    told = Told("snapshots")
    near, far = track(1, (100, 60, 200, 340)), track(2, (300, 60, 340, 160))
    car, lost = track(3, (10, 200, 90, 260), label="car"), track(4, (10, 20, 90, 60), label="bus", lost=True)
    told.snapshots.update(frame(0), NONE, [near, far, car, lost])
    told.snapshots.update(frame(0.1), NONE, [near, far, car, lost], anew=True)
    assert [topic.rpartition("/")[2] for topic, _ in told.all] == ["person", "car"] * 2
    told.snapshots.update(frame(0.2), NONE, [near, far, car, lost])
    assert len(told.all) == 4
    told.snapshots.clear()
    assert {topic for topic, _ in told.all[:4]} <= {topic for topic, picture in told.all if picture is None}


def test_with_privacy_on_events_refer_to_nothing() -> None:
    told = Told("snapshots")
    assert shown(told, 0.0, [track()], told_of("zone_enter", track())) == [PERSON]
    told.snapshots.clear()
    assert told.snapshots.refer([told_of("dwell", track())])[0].snapshot is None


labels = st.sampled_from(NAMES)
kinds = st.sampled_from(["track_start", "track_update", "zone_enter", "identity", "track_end"])


@given(
    st.sampled_from(["events", "crops", "snapshots"]),
    st.lists(st.lists(st.tuples(st.integers(1, 4), labels, kinds, st.integers(20, 200)), max_size=4), max_size=12),
)
def test_a_reference_is_always_to_the_newest_picture_of_the_track_or_of_its_bearer(
    level: str, steps: list[list[tuple[int, str, str, int]]]
) -> None:
    put: dict[str, int] = {}
    now: dict[str, int] = {}
    told = Snapshots(PrivacyConfig(level=level), TOPICS, NAMES, lambda t, _: put.update({t: now["n"]}))  # type: ignore[arg-type]
    pictured: dict[str, tuple[int, ...]] = {}
    for n, step in enumerate(steps):
        now["n"] = n
        things = {
            id_: (track(id_, (10, 10, 10 + side, 10 + side), label=label), kind) for id_, label, kind, side in step
        }
        tracks = [one for one, _ in things.values()]
        events = [told_of(kind, one, float(n)) for one, kind in things.values()]
        told.update(frame(float(n)), NONE, tracks, events)
        for topic, when in put.items():
            if when == n:
                pictured[topic] = tuple(t.id for t in tracks if t.label == topic.rpartition("/")[2])
        for event in told.refer(events):
            if event.snapshot is None:
                continue
            assert event.track is not None and level != "events"
            assert level == "snapshots" or not event.snapshot.endswith("/face")
            assert event.track.label == "face" or event.track.id in pictured[event.snapshot]


def test_a_picture_is_never_wider_than_a_message_should_be() -> None:
    told = Told("snapshots")
    told.snapshots.update(frame(0, noise(1200, 2000)), NONE, [track(box=(0, 0, 2000, 1200))])
    assert told.all[0][1] is not None and told.all[0][1].shape == (384, 640, 3)


boxes = st.tuples(*[st.floats(-100, 500)] * 4)


@given(st.lists(boxes, max_size=4))
def test_what_is_hidden_has_but_a_few_cells_and_the_rest_is_untouched(
    areas: list[tuple[float, float, float, float]],
) -> None:
    picture = noise(120, 160)
    out = blur_areas(picture, areas)
    hidden = np.zeros(picture.shape[:2], np.bool_)
    for x1, y1, x2, y2 in areas:
        left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
        right, bottom = min(int(np.ceil(x2)), 160), min(int(np.ceil(y2)), 120)
        if right > left and bottom > top:
            hidden[top:bottom, left:right] = True
    assert (out[~hidden] == picture[~hidden]).all()
    if len(areas) == 1 and hidden.any():
        rows = np.flatnonzero(hidden.any(1))
        part = out[rows[0] : rows[-1] + 1, np.flatnonzero(hidden.any(0))[0] : np.flatnonzero(hidden.any(0))[-1] + 1]
        shorter, longer = sorted(part.shape[:2])
        assert len(np.unique(part.reshape(-1, 3), axis=0)) <= CELLS * np.ceil(CELLS * longer / shorter + 1)


def test_faces_and_the_heads_of_persons_are_hidden_cars_are_not() -> None:
    found = detections(
        [(10, 10, 30, 40), (100, 0, 140, 100), (200, 0, 300, 60)], [0.2, 0.9, 0.9], ["face", "person", "car"]
    )
    assert hidden_areas(found, [track(box=(50, 50, 90, 170))]) == [
        (5.0, 2.5, 35.0, 47.5),
        (100.0, -5.0, 140.0, 32.0),
        (50, 44.0, 90, 86.0),
    ]


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the shared clips")
def test_on_real_people_no_face_is_found_in_what_the_level_crops_shows(tmp_path: Path) -> None:
    config = Config(camera=CameraConfig(source=str(CLIPS / "three_people_approach.mp4")))
    finder = FaceFinder(open_model("face_cropper", "attention"))
    told = {level: Told(level) for level in ("crops", "snapshots")}
    pipeline = Pipeline(config, Health(SystemClock()))
    with open_source(config.camera, SystemClock(), loop=False, paced=False, start_ns=0) as source:
        while (one := source.read()) is not None:
            outcome = pipeline.process(one)
            for each in told.values():
                each.snapshots.update(one, outcome.detections, outcome.tracks, outcome.events)
            one.release()
    faces = {
        level: [len(finder.on_photo(p)) for topic, p in each.all if p is not None and topic.endswith("person")]
        for level, each in told.items()
    }
    assert len(faces["crops"]) >= 2 and sum(faces["crops"]) == 0
    assert sum(faces["snapshots"]) >= 1, "or nothing is proved"
