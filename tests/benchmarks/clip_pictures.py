"""Draws what the node sees on the clips whose licence lets pictures be shown (CC BY).

The clip runs through the pipeline up to the moment, so that a picture shows what a node would: regions of attention are
dashed, windows that are cropped dotted, tracks that it tells of solid with their scores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from edge_runtime.capture.source import open_source
from edge_runtime.clock import SystemClock
from edge_runtime.config import Config, PipelineConfig
from edge_runtime.datatypes import BgrImage
from edge_runtime.health import Health
from edge_runtime.imaging.colour import to_bgr
from edge_runtime.imaging.draw import annotate
from edge_runtime.pipeline import Outcome, Pipeline

FREE = "CC BY"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: a clip's moment, and the models that look at it by name; no detector: mode `attention`."""

    name: str
    clip: str
    moment_s: float
    attention: str
    detector: str | None


SCENE, FACES, SMALL, CLOSE = "scene_attention", "face_cropper", "face_cropper_22k", "crop_detector"
PICTURES = (
    Picture("lot_cars_overhead", "lot_cars_overhead.mp4", 6.0, SCENE, CLOSE),
    Picture("lot_mixed_short", "lot_mixed_short.mp4", 1.5, SCENE, CLOSE),
    Picture("one_by_one", "one_by_one.mp4", 15.0, SCENE, CLOSE),
    Picture("three_people_approach", "three_people_approach.mp4", 2.5, SCENE, CLOSE),
    Picture("three_people_faces", "three_people_approach.mp4", 2.5, FACES, None),
    Picture("three_people_far_faces", "three_people_approach.mp4", 0.4, FACES, None),
    Picture("three_people_far_faces_22k", "three_people_approach.mp4", 0.4, SMALL, None),
)
MAX_BYTES = 60_000


def draw_clips(clips: Path, models: Path) -> list[Path]:
    """Write `clip_NAME.jpg` into `models` for each picture whose models are there; what was written."""
    licences = {c["file"]: c["licence"] for c in json.loads((clips / "clips.json").read_text())["clips"]}
    written = []
    for picture in PICTURES:
        if not licences[picture.clip].startswith(FREE):
            raise SystemExit(f"{picture.clip}: {licences[picture.clip]} does not let its pictures be shown")
        if any((models / f"{picture.attention}{suffix}").is_file() for suffix in (".edge", ".onnx")):
            path = models / f"clip_{picture.name}.jpg"
            path.write_bytes(small_jpeg(drawn(picture, clips)))
            written.append(path)
    return written


def drawn(picture: Picture, clips: Path) -> BgrImage:
    """The clip's frame at the moment, as the node's page and recording show it."""
    bgr, outcome = seen(picture, clips)
    return annotate(bgr, outcome.regions, outcome.plan, outcome.tracks)


def seen(picture: Picture, clips: Path) -> tuple[BgrImage, Outcome]:
    """The frame at the moment and what the pipeline made of it, with default settings, from the clip's beginning on."""
    config = settings(picture, clips)
    clock = SystemClock()
    with open_source(config.camera, clock, loop=False, paced=False, start_ns=0) as source:
        pipeline = Pipeline(config, Health(clock))
        while (frame := source.read()) is not None:
            outcome = pipeline.process(frame)
            if frame.captured_ns >= picture.moment_s * 1e9:
                return to_bgr(frame.main), outcome
            frame.release()
    raise SystemExit(f"{picture.clip}: no picture at {picture.moment_s} s")


def settings(picture: Picture, clips: Path) -> Config:
    """The default ones, but for the clip and the models."""
    plain = Config()
    return replace(
        plain,
        camera=replace(plain.camera, source=str(clips / picture.clip)),
        pipeline=PipelineConfig("crops" if picture.detector else "attention"),
        attention=replace(plain.attention, model=picture.attention),
        detection=replace(plain.detection, model=picture.detector or plain.detection.model),
    )


def small_jpeg(bgr: BgrImage) -> bytes:
    """The best quality that stays within `MAX_BYTES`."""
    for quality in range(92, 20, -6):
        code = bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
        if len(code) <= MAX_BYTES:
            return code
    raise SystemExit(f"a picture of {bgr.shape} does not fit into {MAX_BYTES:,} bytes")
