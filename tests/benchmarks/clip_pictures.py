"""Draws what our attention and detector see on the clips whose licence lets pictures be shown (CC BY).

Regions of attention are dashed, windows that are cropped dotted, the detector's boxes solid with their scores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.attention.network import AttentionNetwork
from edge_runtime.config import AttentionConfig, CroppingConfig, DetectionConfig
from edge_runtime.cropping.planner import plan_windows
from edge_runtime.datatypes import BgrImage, Detections, Frame, Track
from edge_runtime.detection.detector import CropDetector
from edge_runtime.engine import open_model
from edge_runtime.imaging.draw import annotate
from edge_runtime.imaging.lores import make_lores

FREE = "CC BY"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: a clip's moment, and the models that look at it by name; no detector: attention alone."""

    name: str
    clip: str
    moment_s: float
    attention: str
    detector: str | None


SCENE, FACES, CLOSE = "scene_attention", "face_cropper", "crop_detector"
PICTURES = (
    Picture("lot_cars_overhead", "lot_cars_overhead.mp4", 6.0, SCENE, CLOSE),
    Picture("lot_mixed_short", "lot_mixed_short.mp4", 1.5, SCENE, CLOSE),
    Picture("one_by_one", "one_by_one.mp4", 15.0, SCENE, CLOSE),
    Picture("three_people_approach", "three_people_approach.mp4", 2.5, SCENE, CLOSE),
    Picture("three_people_faces", "three_people_approach.mp4", 2.5, FACES, None),
    Picture("three_people_far_faces", "three_people_approach.mp4", 0.4, FACES, None),
)
LORES_WH = (320, 240)
SCORE_MIN = 0.4
"""Boxes scored below this are not drawn, as no track starts from them."""
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
            path.write_bytes(small_jpeg(drawn(picture, frame_at(clips / picture.clip, picture.moment_s))))
            written.append(path)
    return written


def drawn(picture: Picture, bgr: BgrImage) -> BgrImage:
    """The frame with what attention and detector see in it."""
    cropping = CroppingConfig()
    frame = Frame(bgr, make_lores(bgr, LORES_WH), 0, 0)
    regions = AttentionNetwork(open_model(picture.attention, "attention"), AttentionConfig())(frame)
    if picture.detector is None:
        return annotate(bgr, None, None, _as_tracks(regions))
    detector = CropDetector(open_model(picture.detector, "detector"), DetectionConfig(), cropping.budget)
    plan = plan_windows(regions, (), frame.size_wh, detector.crop_px, cropping)
    return annotate(bgr, regions, plan, _as_tracks(detector(frame.main, plan, frame.size_wh)))


def frame_at(clip: Path, seconds: float) -> BgrImage:
    """The clip's picture at a moment, BGR."""
    video = cv2.VideoCapture(str(clip))
    video.set(cv2.CAP_PROP_POS_MSEC, seconds * 1000)
    good, bgr = video.read()
    video.release()
    if not good:
        raise SystemExit(f"{clip}: no picture at {seconds} s")
    return np.asarray(bgr, np.uint8)


def small_jpeg(bgr: BgrImage) -> bytes:
    """The best quality that stays within `MAX_BYTES`."""
    for quality in range(92, 20, -6):
        code = bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
        if len(code) <= MAX_BYTES:
            return code
    raise SystemExit(f"a picture of {bgr.shape} does not fit into {MAX_BYTES:,} bytes")


def _as_tracks(found: Detections) -> list[Track]:
    """As if each had been seen often enough to be told of."""
    sure = found.select(found.scores >= SCORE_MIN)
    return [
        Track(i + 1, sure.name(i), score, score, _box(sure, i), 0, 0, 1, confirmed=True, lost=False)
        for i, score in enumerate(sure.scores.tolist())
    ]


def _box(found: Detections, i: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = found.boxes[i].tolist()
    return x1, y1, x2, y2
