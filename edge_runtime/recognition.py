"""Who the faces before the camera are: looks at them, asks the gallery, and takes up what is enrolled meanwhile."""

from __future__ import annotations

import contextlib

from edge_runtime.config import Config
from edge_runtime.datatypes import Event, Picture
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.events.appearance import Moment
from edge_runtime.events.explanation import Listener
from edge_runtime.events.identity import Identity, Verdict
from edge_runtime.events.schedule import Hours
from edge_runtime.identity.gallery import Gallery
from edge_runtime.identity.reader import FaceNetworks, FaceReader
from edge_runtime.identity.sealed import GalleryFile
from edge_runtime.tracking.tracker import TrackerOutput

REREAD_S = 5.0
"""Between two looks at whether somebody was enrolled or removed."""


class Recognition:
    """One verb: `update` with each frame's tracks.

    Args:
        config: all settings; `identity` is enabled.
        networks: between a picture and an embedding.
        listener: told why the rule did or did not fire.

    Raises:
        ConfigError: nobody is enrolled, or with another embedder.
        StorageError: the gallery or its key cannot be read.
    """

    def __init__(self, config: Config, networks: FaceNetworks, listener: Listener | None = None) -> None:
        self._file, self._embedder = GalleryFile.of(config), networks.embedder
        gallery, adapter = self._gallery(), networks.embedder.config
        if not gallery.persons:
            raise ConfigError(
                f"{self._file.path}: nobody is enrolled any more; run `edge-runtime enroll NAME PHOTO ...`, "
                "or set identity.enabled = false"
            )
        self._read_ns, self._changed = 0, self._file.changed()
        self._hours = Hours(config.identity.active, config.identity.quiet)
        self._reader = FaceReader(networks, config.identity.min_side_px)
        threshold = config.identity.threshold or adapter.threshold
        self._rule = Identity(config.identity, gallery, adapter.metric, threshold, listener)

    def update(self, picture: Picture, tracked: TrackerOutput, moment: Moment) -> list[Event]:
        """The events of one frame.

        Args:
            picture: the frame at native pixels.
            tracked: the tracker's tracks after it.
            moment: when it was.

        Raises:
            InferenceError: a network failed.
        """
        if self._hours.silent(moment.wall) is not None:
            self._rule.finish()
            return []
        self._reread(moment.at_ns)
        seen = self._reader.look(picture, tracked.live, moment.at_ns, self._rule.worth)
        return self._rule.update(tracked, [seen] if seen is not None else [], moment)

    @property
    def present(self) -> list[Verdict]:
        """What was said of each face that is still there."""
        return self._rule.present

    def finish(self) -> None:
        """All tracks are over."""
        self._rule.finish()

    def _gallery(self) -> Gallery:
        gallery = self._file.read()
        gallery.require(self._embedder, str(self._file.path))
        return gallery

    def _reread(self, now_ns: int) -> None:
        if now_ns - self._read_ns < REREAD_S * 1e9:
            return
        self._read_ns = now_ns
        changed = self._file.changed()
        if changed in (None, self._changed):
            return
        self._changed = changed
        # A file that cannot be used: the node goes on with whom it knows, and its next start says what is wrong.
        with contextlib.suppress(EdgeRuntimeError):
            self._rule.use(self._gallery())
