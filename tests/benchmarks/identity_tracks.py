"""Known and unknown over whole tracks: photos of persons pasted over a real background, through the whole pipeline.

    python -m tests.benchmarks.identity_tracks [--enrolled 15] [--face-px 70]

Persons of the pack `identity`: some are enrolled with their first three photos and come again with their others; the
rest, and the strangers, were never enrolled. Each comes as a head that drifts over the empty porch of a clip, a photo
every 0.4 s.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.clock import SystemClock
from edge_runtime.config import AttentionConfig, CameraConfig, Config, IdentityConfig, NodeConfig, PipelineConfig
from edge_runtime.datatypes import Frame
from edge_runtime.health import Health
from edge_runtime.identity.embedder import Embedder
from edge_runtime.identity.enrolment import portrait
from edge_runtime.identity.gallery import Gallery
from edge_runtime.identity.reader import FaceNetworks
from edge_runtime.identity.sealed import GalleryFile
from edge_runtime.imaging.lores import make_lores
from edge_runtime.pipeline import Pipeline
from tests.identity_peers import CLIPS, networks, persons, photo

FPS = 10
SHOWN_FRAMES = 4
"""Frames for which one photo is seen."""
FRAME_WH = (640, 360)
FACE_SHARE = 0.63
"""Of a photo's side, in this pack."""
PHOTOS_ENROLLED = 3


def settings(state: Path) -> Config:
    """Faces alone, as a door bell would look for them."""
    return Config(
        node=NodeConfig(state=str(state)),
        camera=CameraConfig(lores_wh=(320, 240)),
        pipeline=PipelineConfig(mode="attention"),
        attention=AttentionConfig(model="face_cropper"),
        identity=IdentityConfig(enabled=True),
    )


def porch() -> NDArray[np.uint8]:
    """The empty porch at the end of a clip."""
    clip = cv2.VideoCapture(str(CLIPS / "front_door.mp4"))
    clip.set(cv2.CAP_PROP_POS_FRAMES, 55)
    _, bgr = clip.read()
    clip.release()
    return np.asarray(cv2.resize(bgr, FRAME_WH, interpolation=cv2.INTER_AREA), np.uint8)


def visit(photos: Sequence[Path], background: NDArray[np.uint8], face_px: int) -> Iterator[Frame]:
    """A head that drifts to the right over the background; its edges fade into it."""
    side = round(face_px / FACE_SHARE)
    y, x = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    fade = np.clip((1.15 - np.hypot(x, y)) / 0.25, 0, 1)[..., None]
    for i in range(SHOWN_FRAMES * max(len(photos), 4)):
        head = cv2.resize(photo(photos[i // SHOWN_FRAMES % len(photos)]), (side, side), interpolation=cv2.INTER_AREA)
        main = background.copy()
        left, top = 180 + 4 * i, 90 + i % 3
        place = main[top : top + side, left : left + side]
        place[:] = np.asarray(place * (1 - fade) + head * fade, np.uint8)
        yield Frame(main, make_lores(main, (320, 240)), round(i / FPS * 1e9), i, i / FPS)


def enrol(names: dict[str, list[Path]], faces: FaceNetworks, state: Path) -> None:
    """The first photos of each, as `edge-runtime enroll` does it."""
    gallery = Gallery.empty(faces.embedder)
    for name, photos in names.items():
        rows = [portrait(photo(p), p.name, faces).embedding for p in photos[:PHOTOS_ENROLLED]]
        gallery = gallery.enrolled(name, np.stack(rows))
    file = GalleryFile.of(settings(state))
    file.write(gallery)


def verdicts(frames: Iterator[Frame], config: Config, faces: FaceNetworks) -> list[str]:
    """What is said of whoever comes, in order: a name, or unknown."""
    pipeline = Pipeline(config, Health(SystemClock()), faces=faces)
    events = [event for frame in frames for event in pipeline.process(frame).events]
    return [str(event.name or event.state) for event in events if event.type == "identity"]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enrolled", type=int, default=15)
    parser.add_argument("--face-px", type=int, default=70)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state, faces = Path(folder), networks(Path(folder))
        everybody, strangers, background = persons("calibration"), persons("strangers"), porch()
        fit = {n: p for n, p in everybody.items() if n not in ("calibration_023", "calibration_030")}
        known = dict(list(fit.items())[: args.enrolled])
        enrol(known, faces, state)
        config = settings(state)
        told: dict[str, list[str]] = {}
        for name, photos in {**everybody, **{f"stranger {n}": p for n, p in strangers.items()}}.items():
            shown = photos[PHOTOS_ENROLLED:] if name in known else photos
            told[name] = verdicts(visit(shown, background, args.face_px), config, faces)
            print(name, told[name], flush=True)
    embedder: Embedder = faces.embedder
    figures = {
        "embedder": embedder.name,
        "face_px": args.face_px,
        "known": sum(told[name][-1:] == [name] for name in known),
        "known_silent": sum(not told[name] for name in known),
        "known_called_unknown": sum(told[name][-1:] == ["unknown"] for name in known),
        "known_taken_for_another": sum(bool(told[n]) and told[n][-1] not in (n, "unknown") for n in known),
        "of_known": len(known),
        "unknown": sum(told[n][-1:] == ["unknown"] for n in told if n not in known),
        "unknown_silent": sum(not told[n] for n in told if n not in known),
        "unknown_taken_for_known": sum(bool(told[n]) and told[n][-1] != "unknown" for n in told if n not in known),
        "of_unknown": len(told) - len(known),
        "corrected": sum(len(t) > 1 for t in told.values()),
        "views": dataclasses.asdict(config.identity)["views"],
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
