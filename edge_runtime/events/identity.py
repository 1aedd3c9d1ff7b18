"""Who it is: `identity`, once a track of a face, told from its best views, and again only where they prove it wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edge_runtime.config import IdentityConfig
from edge_runtime.datatypes import Event, Track
from edge_runtime.events.appearance import Moment, track_event
from edge_runtime.events.explanation import Explanation, Listener
from edge_runtime.events.succession import Succession
from edge_runtime.identity.embedder import Metric
from edge_runtime.identity.gallery import Gallery
from edge_runtime.identity.reader import LABEL, Seen
from edge_runtime.tracking.tracker import TrackerOutput

KEPT = 8
"""Best views kept of a track."""
UNSURE = 1.05
"""Up to this many times the threshold a face is neither known nor unknown: more views may tell."""
RULE = "identity"

State = Literal["known", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Known, and who; or unknown."""

    state: State
    name: str | None = None


@dataclass(slots=True)
class _Face:
    """What is known of one track."""

    views: list[Seen] = field(default_factory=list)
    told: Verdict | None = None
    goes_on: bool = False
    """Another track goes on from it, which is counted in its place."""


def verdict(distances: dict[str, float], threshold: float, told: Verdict | None = None) -> Verdict | None:
    """Who it is by the distances of all who are enrolled; None: unsure.

    Args:
        distances: by name.
        threshold: at most so far is known; `UNSURE` times as far is unknown.
        told: what was said before. It stands until another is nearer by the same share, so that none of two alike
            comes and goes.
    """
    if not distances:
        return Verdict("unknown")
    name = min(distances, key=lambda n: distances[n])
    if distances[name] > UNSURE * threshold:
        return Verdict("unknown")
    if distances[name] > threshold:
        return None
    if told is not None and told.name in distances and distances[told.name] <= UNSURE * min(threshold, distances[name]):
        return told
    return Verdict("known", name)


def confidence(now: Verdict, distances: dict[str, float], threshold: float) -> float:
    """How sure a verdict is, 0.5 to 1: half where the distance is the threshold, where known and unknown part.

    It falls by the distance's share of the threshold, to 1 for a face that is quite the same or quite another. That is
    a margin, and no probability: how often faces at a distance are the same is the embedder's verification curve.

    Args:
        now: known or unknown.
        distances: of all who are enrolled, by name.
        threshold: see `verdict`.
    """
    near = distances[now.name] if now.name is not None else min(distances.values(), default=np.inf)
    share = near / threshold if now.state == "known" else threshold / max(near, 1e-9)
    return float(np.clip(1 - share / 2, 0.5, 1.0))


class Identity:
    """Two verbs: `worth` and `update`. Neither I/O nor a clock: the same tracks and views give the same events.

    A track is told of once: as known with a name, or as unknown. As long as its views are too few, or the distance lies
    between, nothing is said. A track that goes on from a lost one inherits what was said of it, not its views.

    Args:
        config: how many views it takes, and whether names are told.
        gallery: who is enrolled.
        metric: of the embeddings.
        threshold: of that metric.
        listener: told why it did or did not fire.
    """

    def __init__(
        self, config: IdentityConfig, gallery: Gallery, metric: Metric, threshold: float,
        listener: Listener | None = None,
    ) -> None:  # fmt: skip
        self._config, self._gallery, self._metric, self._threshold = config, gallery, metric, threshold
        self._explanation, self._succession = Explanation(listener), Succession()
        self._faces: dict[int, _Face] = {}

    @property
    def present(self) -> list[Verdict]:
        """What was said of each face that is still there, each once whatever its tracks."""
        return [face.told for face in self._faces.values() if face.told is not None and not face.goes_on]

    def worth(self, track: int) -> float:
        """The quality that a view of this track must have to be kept."""
        face = self._faces.get(track)
        return min(v.quality for v in face.views) if face is not None and len(face.views) >= KEPT else 0.0

    def use(self, gallery: Gallery) -> None:
        """Another gallery, made with the same network; what was said stands until views say otherwise."""
        self._gallery = gallery

    def update(self, output: TrackerOutput, seen: Sequence[Seen], moment: Moment) -> list[Event]:
        """The events of one frame.

        Args:
            output: the tracker's tracks after this frame.
            seen: faces that were looked at in it.
            moment: when that was.
        """
        faces = TrackerOutput(
            tuple(t for t in output.live if t.label == LABEL), tuple(t for t in output.ended if t.label == LABEL)
        )
        for new, old in self._succession.update(faces, moment).items():
            if old in self._faces:
                self._faces[new] = _Face(told=self._faces[old].told)
                self._faces[old].goes_on = True
        looked = {view.track: view for view in seen}
        events = []
        for track in faces.live:
            if track.id in looked:
                face = self._faces.setdefault(track.id, _Face())
                face.goes_on = False
                face.views = sorted([*face.views, looked[track.id]], key=lambda v: -v.quality)[:KEPT]
                events += self._judge(track, face, moment)
            elif track.confirmed and track.id not in self._faces:
                text = "no good view: it was not large, sharp and turned to the camera at once"
                self._explanation.note(moment, track, RULE, "unseen", text)
        for track in output.live:
            if track.label != LABEL:
                self._explanation.note(moment, track, RULE, "label", f"{track.label}: only faces are compared")
        for track in faces.ended:
            self._faces.pop(track.id, None)
        for track in output.ended:
            self._explanation.forget(track, RULE)
        return events

    def finish(self) -> None:
        """All tracks are over."""
        self._faces.clear()
        self._succession = Succession()

    def _judge(self, track: Track, face: _Face, moment: Moment) -> list[Event]:
        needed = self._config.views
        if len(face.views) < needed:
            text = f"{len(face.views)} of {needed} good views"
            self._explanation.note(moment, track, RULE, text, text)
            return []
        views = np.stack([v.embedding for v in face.views])
        distances = self._gallery.distances(views, self._metric)
        now = verdict(distances, self._threshold, face.told)
        nearest = next(iter(distances), None)
        facts = "nobody is enrolled"
        if nearest is not None:
            who = nearest if self._config.tell_names else "somebody enrolled"
            facts = f"{len(views)} views, nearest is {who} at {distances[nearest]:.3f} of {self._threshold:.3f}"
        sure = confidence(now, distances, self._threshold) if now is not None else 0.0
        if now is not None and not self._config.tell_names:
            now = Verdict(now.state)
        if now is None or now == face.told:
            self._explanation.note(moment, track, RULE, f"{now}", f"{'unsure' if now is None else 'as told'}: {facts}")
            return []
        face.told = now
        self._explanation.note(moment, track, RULE, f"{now}", f"{now.name or now.state}: {facts}", fired=True)
        return [track_event("identity", track, moment, state=now.state, name=now.name, confidence=sure)]
