"""The whole way of a frame, from the camera to the events, in `Pipeline.process`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import Config
from edge_runtime.cropping.planner import Planner
from edge_runtime.datatypes import PARTS, CropPlan, Detections, Event, Frame, TamperKind, Track
from edge_runtime.detection.classifier import SlotClassifier
from edge_runtime.detection.detector import CropDetector
from edge_runtime.detection.fusion import fuse
from edge_runtime.engine import open_model
from edge_runtime.events.appearance import Moment
from edge_runtime.events.engine import EventEngine
from edge_runtime.events.explanation import Listener
from edge_runtime.events.identity import Verdict
from edge_runtime.events.parking import Parking
from edge_runtime.events.tamper import SCENE, Tamper
from edge_runtime.health import Health
from edge_runtime.identity.reader import FaceNetworks
from edge_runtime.plate_recognition import PlateRecognition
from edge_runtime.plates.looker import PlateNetworks
from edge_runtime.recognition import Recognition
from edge_runtime.tracking.tracker import Tracker


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one frame led to, for the page and the recording."""

    regions: Detections | None
    plan: CropPlan | None
    detections: Detections
    tracks: tuple[Track, ...]
    events: Sequence[Event]


class Pipeline:
    """One camera's rooms in their order; one verb: `process` a frame.

    Args:
        config: all settings.
        health: the counters it keeps.
        listener: told why each rule did or did not fire.
        faces: networks of the identity rule; None: as configured.

    Raises:
        BundleError: a model cannot be used.
        ConfigError: a rule counts a label that no model knows.
    """

    def __init__(
        self, config: Config, health: Health, listener: Listener | None = None, faces: FaceNetworks | None = None
    ) -> None:
        self._health = health
        self._slots = config.slots
        mode = config.pipeline.mode
        self._attention = None
        if mode != "full":
            engine = open_model(config.attention.model, "attention", "attention.model")
            self._attention = AttentionNetwork(engine, config.attention)
        self._detector = None
        if mode != "attention":
            engine = open_model(config.detection.model, "detector", "detection.model")
            self._detector = CropDetector(engine, config.detection, config.cropping.budget)
            self._planner = Planner(self._detector.crop_px, config.cropping)
        self._tracker = Tracker(config.tracking)
        network = self._detector or self._attention
        assert network is not None
        self.classes = tuple(name for name in network.classes if name not in PARTS)
        self._parts = np.array([name in PARTS for name in network.classes])
        self.events = EventEngine(config, self.classes, listener)
        self._recognition = None
        if config.identity.enabled:
            self._recognition = Recognition(config, faces or FaceNetworks.of(config.identity), listener)
        self._plates = None
        if config.plates.enabled:
            self._plates = PlateRecognition(config.plates, PlateNetworks.of(config.plates), listener)
        self._tamper, self._watched = Tamper(config.tamper, listener), config.tamper.enabled
        self.parking = Parking(config.slots, config.parking, listener)
        self._classifier = _slot_classifier(config)
        self._tracks: tuple[Track, ...] = ()
        self._last: Moment | None = None

    def process(self, frame: Frame, wall: datetime | None = None) -> Outcome:
        """The whole way of a frame, without telling anyone yet.

        Args:
            frame: the frame; its buffer stays the caller's.
            wall: the node's local time, for schedules; None: schedules do not count.

        Raises:
            InferenceError: a network failed.
        """
        health, size_wh = self._health, frame.size_wh
        regions: Detections | None = None
        windows: CropPlan | None = None
        if self._attention is not None:
            with health.stage("attention"):
                regions = self._attention(frame)
            health.regions += len(regions)
        if self._detector is None:  # mode "attention": its regions are the detections
            assert regions is not None
            detections = regions
        elif regions is None:  # mode "full"
            with health.stage("detection"):
                detections = self._detector.whole(frame.main, size_wh)
        else:
            with health.stage("cropping"):
                windows = self._planner.plan(regions, self._tracks, size_wh, frame.captured_ns)
            with health.stage("detection"):
                detections = fuse(self._detector(frame.main, windows, size_wh), regions)
            health.crops += len(windows)
            health.crops_carried += int(np.count_nonzero(windows.carried))
            health.budget_overflow += windows.overflow
        health.detections += len(detections)
        with health.stage("tracking"):
            followed = detections.select(~self._parts[detections.labels])
            tracked = self._tracker.update(followed, frame.captured_ns, size_wh)
        self._tracks = tracked.live
        self._last = Moment(frame.captured_ns, frame.media_s, size_wh, wall)
        with health.stage("events"):
            events = self.events.update(tracked, self._last)
        if self._recognition is not None:
            with health.stage("identity"):
                events += self._recognition.update(frame.main, tracked, self._last)
        if self._plates is not None:
            with health.stage("plates"):
                events += self._plates.update(frame.main, tracked, self._last)
        with health.stage("tamper"):
            events += self._tamper.update(frame.lores, self._last)
        if self._classifier and self.parking.due(frame.captured_ns):
            # A camera that is covered or turned away sees no slots.
            if blind := [kind for kind in self._tamper.raised if kind in SCENE]:
                self.parking.unseen(self._last, f"the camera is {' and '.join(blind)}")
            else:
                with health.stage("slots"):
                    events += self.parking.update(self._classifier(frame.main, size_wh).tolist(), self._last)
        health.tracks_started += sum(e.type == "track_start" for e in events)
        return Outcome(regions, windows, detections, tracked.live, events)

    def apply(self, config: Config) -> list[Event]:
        """Take other zones, lines and slots between two frames; the events of what ends by that. Tracks go on.

        Raises:
            ConfigError: a rule counts a label that no model knows; all stays as it was.
            BundleError: the slots' model cannot be used; all stays as it was.
        """
        classifier = self._classifier
        if config.slots != self._slots:
            classifier = _slot_classifier(config)
        events = self.events.apply(config, self._last or Moment(0, None, (1, 1)))
        self._slots, self._classifier = config.slots, classifier
        self.parking.apply(config.slots)
        return events

    @property
    def following(self) -> bool:
        """Whether any track is left, or a slot is about to change."""
        return bool(self._tracks) or self.parking.unsettled

    @property
    def tampered(self) -> tuple[TamperKind, ...] | None:
        """What is wrong with the camera; None: nobody watches for that."""
        return self._tamper.raised if self._watched else None

    @property
    def present(self) -> list[Verdict]:
        """Who is there, known or unknown, as far as it was told."""
        return self._recognition.present if self._recognition is not None else []

    def skip(self, frame: Frame) -> Outcome:
        """Nothing is looked for in a frame: what was going on ends. The camera itself is watched all the same."""
        events, self._last, self._tracks = self.finish(), None, ()
        self._tracker.forget()
        with self._health.stage("tamper"):
            events += self._tamper.update(frame.lores, Moment(frame.captured_ns, frame.media_s, frame.size_wh))
        return Outcome(None, None, Detections.none(self.classes), (), events)

    def finish(self) -> list[Event]:
        """The events that end what is still going on: the clip is over, or the program stops."""
        if self._recognition is not None:
            self._recognition.finish()
        if self._plates is not None:
            self._plates.finish()
        if self._last is None:
            return []
        self.parking.finish(self._last)
        return self.events.finish(self._last)


def _slot_classifier(config: Config) -> SlotClassifier | None:
    if not config.slots:
        return None
    return SlotClassifier(open_model(config.parking.model, "classifier", "parking.model"), config.slots)
