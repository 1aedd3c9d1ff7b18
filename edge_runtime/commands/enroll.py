"""`edge-runtime enroll`: puts persons into the gallery from photos or the camera, lists them, takes them out."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_runtime import config as configuration
from edge_runtime.capture.source import open_source
from edge_runtime.clock import Clock, SystemClock
from edge_runtime.config import Config
from edge_runtime.errors import CaptureError, ConfigError, PhotoError
from edge_runtime.identity.enrolment import Portrait, doubts, portrait, read_photo
from edge_runtime.identity.gallery import Gallery, checked_name
from edge_runtime.identity.reader import FaceNetworks
from edge_runtime.identity.sealed import GalleryFile
from edge_runtime.imaging.colour import to_bgr

FEW_PHOTOS = 3
"""With fewer photos one bad one weighs much; the distance is the mean over all of them."""
CAMERA_VIEWS = 5
CAMERA_S = 30.0
"""How long the camera is tried."""
CAMERA_EVERY_S = 0.5

EPILOG = """\
Photos: three or more of one person alone, from the front, sharp, the face at least 40 px wide; as different as days
and light make them. Only embeddings are kept, encrypted, in the node's state folder; photos are not. A running node
takes up the change within seconds. Then set identity.enabled = true.
"""


def run(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="edge-runtime enroll", description="Say who is known.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the person, as events will carry it")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="pictures of that person alone")
    parser.add_argument("--camera", nargs="?", const="", metavar="SOURCE", help="look into the camera instead")
    parser.add_argument("--list", action="store_true", help="print who is enrolled")
    parser.add_argument("--remove", metavar="NAME", help="forget that person")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting")
    parser.add_argument("--state", metavar="DIR", help="folder for the node's state")
    args = parser.parse_args(arguments)
    config = configuration.load(args.config, args.set)
    if args.state is not None:
        config = dataclasses.replace(config, node=dataclasses.replace(config.node, state=args.state))
    file = GalleryFile.of(config)
    if args.list or args.remove is not None:
        if args.name or (args.list and args.remove is not None):
            parser.error("--list and --remove NAME stand alone")
        return _listed(file) if args.list else _removed(file, args.remove)
    if not args.name or bool(args.photos) == (args.camera is not None):
        parser.error("give a NAME with one PHOTO or more, or with --camera")
    name, networks = checked_name(args.name), FaceNetworks.of(config.identity)
    gallery = file.read() if file.exists() else Gallery.empty(networks.embedder)
    gallery.require(networks.embedder, str(file.path))
    if args.photos:
        portraits = _from_photos(args.photos, networks)
    else:
        portraits = _from_camera(config, args.camera, networks, SystemClock())
    embeddings = np.stack([p.embedding for p in portraits])
    for doubt in doubts(name, embeddings, gallery, networks):
        _say(f"note: {doubt}")
    gallery = gallery.enrolled(name, embeddings)
    file.write(gallery)
    total = len(gallery.persons[name])
    print(f"{name}: {_counted(len(portraits), 'photo')} enrolled, {total} in all; {file.path}")
    if total < FEW_PHOTOS:
        _say(f"note: {_counted(total, 'photo')} is little; {FEW_PHOTOS} or more make a name surer")
    if not config.identity.enabled:
        _say("note: identity.enabled is false: the node will not look for faces until it is set")
    return 0


def _listed(file: GalleryFile) -> int:
    if not file.exists():
        print("nobody is enrolled")
        return 0
    gallery = file.read()
    for name, photos in sorted(gallery.persons.items()):
        print(f"{name}: {_counted(len(photos), 'photo')}")
    print(f"{_counted(len(gallery.persons), 'person')}, embedder {gallery.embedder} ({gallery.digest})")
    return 0


def _removed(file: GalleryFile, name: str) -> int:
    gallery = file.read().removed(checked_name(name))
    file.write(gallery)
    print(f"{checked_name(name)}: removed; {_counted(len(gallery.persons), 'person')} left")
    return 0


def _from_photos(paths: Sequence[Path], networks: FaceNetworks) -> list[Portrait]:
    """A portrait of each photo; all of them are looked at before any is refused.

    Raises:
        PhotoError: with a line for each photo that does not fit.
    """
    portraits, unfit = [], []
    for path in paths:
        try:
            portraits.append(portrait(read_photo(path), str(path), networks))
        except PhotoError as error:
            unfit.append(str(error))
    if unfit:
        raise PhotoError("\n  ".join([f"{len(unfit)} of {len(paths)} do not fit; nobody was enrolled:", *unfit]))
    return portraits


def _from_camera(config: Config, source: str, networks: FaceNetworks, clock: Clock) -> list[Portrait]:
    """Portraits from the camera, looked for twice a second until there are enough.

    Raises:
        CaptureError: the camera cannot be opened, or showed no face that fits.
    """
    camera = config.camera if not source else dataclasses.replace(config.camera, source=source)
    if camera.source in ("demo", "synthetic"):
        raise ConfigError(f"--camera {camera.source}: shows no person to enrol; name a camera or a clip")
    _say(f"look into {camera.source}, alone, and turn your head a little; Ctrl-C ends")
    portraits: list[Portrait] = []
    why = "no frame came"
    for bgr in _frames(dataclasses.replace(config, camera=camera), clock):
        try:
            portraits.append(portrait(bgr, camera.source, networks))
        except PhotoError as error:
            if str(error) != why:
                _say(str(error))
            why = str(error)
            continue
        _say(f"{len(portraits)} of {CAMERA_VIEWS}")
        if len(portraits) == CAMERA_VIEWS:
            break
    if not portraits:
        raise CaptureError(f"{camera.source}: showed no face that fits, at last: {why}")
    return portraits


def _frames(config: Config, clock: Clock) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """A frame every `CAMERA_EVERY_S` for `CAMERA_S`, or until a clip ends."""
    with open_source(config.camera, clock, loop=False, paced=True) as source:
        begun_ns = due_ns = None
        while (frame := source.read()) is not None:
            at_ns = frame.captured_ns
            begun_ns = at_ns if begun_ns is None else begun_ns
            if due_ns is None or at_ns >= due_ns:
                due_ns = at_ns + round(CAMERA_EVERY_S * 1e9)
                bgr = np.array(to_bgr(frame.main))  # a copy: the buffer goes back to the camera
                frame.release()
                yield bgr
            else:
                frame.release()
            if at_ns - begun_ns > CAMERA_S * 1e9:
                return


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
