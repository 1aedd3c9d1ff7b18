"""Pictures of clips show what a node tells of the very moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.commands.replay import NOON, replay
from edge_runtime.config import Config
from edge_runtime.datatypes import Track
from edge_runtime.shipped import shipped
from tests.benchmarks.clip_pictures import Picture, drawn, seen, settings

CLIPS = shipped("demo.mp4").parent
A_CAR = Picture("demo", "demo.mp4", 5.6, "scene_attention", "crop_detector")


def replayed(config: Config, moment_s: float) -> list[tuple[int, str, float]]:
    """Id, label and score of what `edge-runtime replay` follows at the moment."""
    at: dict[float, list[tuple[int, str, float]]] = {}

    def spectator(tracks: Sequence[Track], at_s: float) -> None:
        at[at_s] = [(t.id, t.label, t.score) for t in tracks]

    for event in replay(config, SystemClock(), NOON, spectator=spectator):
        if event.at_ns > moment_s * 1e9:
            break
    return at[min(t for t in at if t >= moment_s)]


def test_a_picture_shows_the_tracks_that_replay_follows_at_its_moment() -> None:
    bgr, outcome = seen(A_CAR, CLIPS)
    told = [(t.id, t.label, t.score) for t in outcome.tracks]
    assert told == replayed(settings(A_CAR, CLIPS), A_CAR.moment_s)
    assert [label for _, label, _ in told] == ["car"]
    assert np.any(drawn(A_CAR, CLIPS) != bgr)


def test_a_moment_after_the_clips_end_is_refused() -> None:
    late = Picture("late", "demo.mp4", 999.0, "face_cropper", None)
    with pytest.raises(SystemExit, match=r"demo\.mp4: no picture at 999\.0 s"):
        seen(late, CLIPS)
