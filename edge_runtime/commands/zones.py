"""`edge-runtime zones`: the zones, lines and slots of a configuration in words, and drawn on a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from edge_runtime import polygons
from edge_runtime.capture.source import open_source
from edge_runtime.clock import Clock
from edge_runtime.config import Config
from edge_runtime.datatypes import BgrImage
from edge_runtime.engine import open_model
from edge_runtime.errors import CaptureError, StorageError
from edge_runtime.events.engine import EventEngine
from edge_runtime.imaging.colour import to_bgr
from edge_runtime.imaging.draw_rules import draw_rules
from edge_runtime.polygons import Point
from edge_runtime.publishing.topics import topics_of
from edge_runtime.whole_file import write_whole


def check(config: Config) -> None:
    """Refuse what a run with a broker would refuse: names that are taken, labels that the models in use do not know.

    Raises:
        ConfigError: a rule has such a name or counts such a label, or topics would mix.
        BundleError: the model cannot be used.
    """
    topics_of(config)
    alone = config.pipeline.mode == "attention"
    if alone:
        engine = open_model(config.attention.model, "attention", "attention.model")
    else:
        engine = open_model(config.detection.model, "detector", "detection.model")
    EventEngine(config, engine.facts.classes)


def described(config: Config) -> Iterator[str]:
    """A line for each rule."""
    for zone in config.zones:
        share = polygons.area(zone.points)
        limits = [
            f"{key} = {getattr(zone, key)}"
            for key in ("enter_s", "leave_s", "dwell_s", "min_score", "min_side_px", "min_age_s", "cooldown_s")
            if getattr(zone, key)
        ]
        yield f"zone {zone.name}: {_who(zone.labels)}, {share:.0%} of the frame, {_when(zone.active)}; " + ", ".join(
            limits
        )
        yield f"  {_corners(zone.points)}"
    for line in config.lines:
        yield f"line {line.name}: {_who(line.labels)}, {_when(line.active)}; in: to the {_towards(line.points)}"
        yield f"  {_corners(line.points)}"
    for slot in config.slots:
        yield f"slot {slot.name}: {polygons.area(slot.points):.1%} of the frame"
        yield f"  {_corners(slot.points)}"
    if not (config.zones or config.lines or config.slots):
        yield "no zones, lines or slots; `edge-runtime config --default` shows how they are written"


def draw(config: Config, clock: Clock, path: Path) -> tuple[int, int]:
    """Draw the rules on the first frame of the camera or clip, as a PNG; the frame's width and height.

    Raises:
        CaptureError: no frame comes.
        StorageError: the file cannot be written.
    """
    with open_source(config.camera, clock, loop=False, paced=False) as source:
        frame = source.read()
        if frame is None:
            raise CaptureError(f"{source.name}: gave no frame to draw on")
        picture: BgrImage = draw_rules(to_bgr(frame.main), config)
        frame.release()
    _, encoded = cv2.imencode(".png", picture)
    try:
        write_whole(path, encoded.tobytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check --png") from None
    return picture.shape[1], picture.shape[0]


def _who(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "everything"


def _when(active: str) -> str:
    return active or "always"


def _corners(points: Sequence[Point]) -> str:
    return " ".join(f"({x:g}, {y:g})" for x, y in points)


def _towards(points: Sequence[Point]) -> str:
    """Where the right-hand side of a -> b lies on the picture."""
    (x1, y1), (x2, y2) = points
    x, y = -(y2 - y1), x2 - x1
    names = [name for share, name in ((y, "bottom" if y > 0 else "top"), (x, "right" if x > 0 else "left"))
             if abs(share) > 0.4 * max(abs(x), abs(y))]  # fmt: skip
    return " ".join(names)
