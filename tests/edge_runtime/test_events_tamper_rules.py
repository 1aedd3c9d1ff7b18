"""What tampering is not: dusk, lamps that pass, gaps, flicker; and how alarms begin, stand and end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.config import TamperConfig
from edge_runtime.datatypes import Event
from edge_runtime.events.appearance import Moment
from edge_runtime.events.explanation import Note
from edge_runtime.events.tamper import Alarm, Evidence, Tamper
from edge_runtime.events.tamper_features import correlation, features
from edge_runtime.reasons import Reasons

Image = NDArray[np.uint8]
STEP_S = 0.25
GRAIN = np.random.default_rng(5).standard_normal((16, 180, 320, 3), np.float32)


def scene(seed: int = 1) -> NDArray[np.float32]:
    """A yard of blocks and lines on a soft ground, float32 [180, 320, 3]."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.normal(110, 12, (9, 16, 3)).astype(np.float32), (320, 180), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 4, 4), (310, 170, 60, 40)))
        ground[y : y + h, x : x + w] = rng.uniform(40, 200, 3)
    return ground


YARD = scene()


def shot(picture: NDArray[Any], i: int, sigma: float = 2.0) -> Image:
    """What a camera makes of it: with noise, in whole grey levels."""
    return np.clip(picture + np.float32(sigma) * GRAIN[i * 7 % 16], 0, 255).astype(np.uint8)


def watch(
    tamper: Tamper, view: Callable[[int], Image], seconds: float, start_s: float = 0.0, step_s: float = STEP_S
) -> list[tuple[float, str, str | None]]:
    """(seconds, type, kind) of what the pictures lead to."""
    told = []
    for i in range(round(seconds / step_s)):
        at_s = start_s + i * step_s
        for event in tamper.update(view(i), Moment(round(at_s * 1e9), None, (1280, 720))):
            told.append((at_s, event.type, event.kind))
    return told


def yard(i: int) -> Image:
    return shot(YARD, i)


def black(i: int) -> Image:
    return shot(np.zeros_like(YARD) + 4, i)


def kinds(told: Iterable[tuple[float, str, str | None]]) -> list[tuple[str, str | None]]:
    return [(type_, kind) for _, type_, kind in told]


@given(
    st.lists(st.tuples(st.sampled_from((-1, 0, 1)), st.floats(0.01, 1.0)), max_size=300),
    st.floats(0.1, 5.0),
    st.floats(0.1, 5.0),
)
@settings(deadline=None)
def test_an_alarm_changes_only_after_enough_evidence_and_never_flaps(
    steps: list[tuple[Evidence, float]], raise_s: float, clear_s: float
) -> None:
    alarm = Alarm(raise_s, clear_s)
    since = {-1: 0.0, 0: 0.0, 1: 0.0}
    for evidence, seconds in steps:
        since[evidence] += seconds
        before = alarm.raised
        changed = alarm.step(evidence, seconds)
        assert changed == (alarm.raised != before)
        if changed:
            assert evidence == (1 if alarm.raised else -1)
            assert since[evidence] >= (raise_s if alarm.raised else clear_s) - 1e-9
            since = {-1: 0.0, 0: 0.0, 1: 0.0}


@given(st.floats(0.5, 5.0), st.floats(0.05, 1.0))
def test_an_alarm_is_raised_in_time_by_evidence_without_a_break(raise_s: float, seconds: float) -> None:
    alarm, steps = Alarm(raise_s, 1.0), 0
    while not alarm.step(1, seconds):
        steps += 1
        assert steps * seconds < raise_s + 1e-9


@given(st.floats(0.2, 1.0), st.floats(-20, 40))
@settings(max_examples=25, deadline=None)
def test_structure_stays_the_same_under_another_exposure_and_with_bright_and_dark_exchanged(
    gain: float, offset: float
) -> None:
    before = features(shot(YARD, 0, 0), None).field
    dimmed = features(np.clip(YARD * gain + offset, 0, 255).astype(np.uint8), None).field
    inverted = features(np.clip(255 - YARD * gain, 0, 255).astype(np.uint8), None).field
    assert np.median(correlation(before, dimmed)) > 0.9
    assert np.median(correlation(before, inverted)) > 0.9


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0])
def test_noise_is_measured_in_grey_levels(sigma: float) -> None:
    rng = np.random.default_rng(2)
    first, second = (
        np.clip(YARD + sigma * rng.standard_normal((180, 320, 1)), 0, 255).astype(np.uint8) for _ in range(2)
    )
    noise = features(second, features(first, None)).noise
    assert noise == pytest.approx(sigma, rel=0.2)


def test_dusk_that_falls_while_texture_remains_is_no_cover() -> None:
    # To a twelfth of the light in two minutes, far faster than any dusk.
    assert watch(Tamper(TamperConfig()), lambda i: shot(YARD * 12 ** -min(i / 480, 1), i), 240.0) == []


def test_night_that_falls_until_nothing_is_seen_is_no_cover() -> None:
    # The light halves every two minutes.
    assert watch(Tamper(TamperConfig()), lambda i: shot(YARD * 0.5 ** (i / 120), i), 1300.0, step_s=1.0) == []


def test_a_cover_at_dusk_is_told_of_all_the_same() -> None:
    tamper = Tamper(TamperConfig())
    dim = YARD * np.float32(0.15)
    assert watch(tamper, lambda i: shot(dim, i), 20.0) == []
    assert kinds(watch(tamper, lambda i: shot(np.zeros_like(dim) + 3, i), 10.0, 20.0)) == [("tamper", "covered")]


def test_headlights_that_pass_blind_nobody() -> None:
    tamper = Tamper(TamperConfig())
    assert watch(tamper, yard, 15.0) == []
    assert watch(tamper, lambda i: shot(YARD * 0.1 + 240, i), 2.5, 15.0) == []
    assert watch(tamper, yard, 15.0, 17.5) == []


def test_a_lorry_that_fills_the_view_for_six_seconds_has_not_moved_the_camera() -> None:
    tamper, lorry = Tamper(TamperConfig()), scene(9)
    assert watch(tamper, yard, 15.0) == []
    assert watch(tamper, lambda i: shot(lorry, i), 6.0, 15.0) == []
    assert watch(tamper, yard, 15.0, 21.0) == []


def test_flicker_is_no_tampering() -> None:
    tamper = Tamper(TamperConfig())
    assert watch(tamper, yard, 15.0) == []
    assert watch(tamper, lambda i: black(i) if i % 2 else yard(i), 30.0, 15.0) == []


def test_a_view_that_stays_elsewhere_is_learnt_and_the_old_one_is_then_elsewhere() -> None:
    tamper, other = Tamper(TamperConfig(accept_s=30.0)), scene(4)
    assert watch(tamper, yard, 15.0) == []
    told = watch(tamper, lambda i: shot(other, i), 60.0, 15.0)
    assert kinds(told) == [("tamper", "moved"), ("tamper_clear", "moved")]
    assert told[1][0] - told[0][0] == pytest.approx(32.0, abs=1.0)
    assert kinds(watch(tamper, yard, 12.0, 75.0)) == [("tamper", "moved")]


def test_a_view_that_stays_elsewhere_is_never_accepted_where_that_is_asked_for() -> None:
    tamper, other = Tamper(TamperConfig(accept_s=0.0)), scene(4)
    assert watch(tamper, yard, 15.0) == []
    assert kinds(watch(tamper, lambda i: shot(other, i), 120.0, 15.0)) == [("tamper", "moved")]
    assert kinds(watch(tamper, yard, 5.0, 135.0)) == [("tamper_clear", "moved")]


def test_a_node_that_starts_under_a_cover_tells_nothing_and_learns_the_scene_when_it_is_gone() -> None:
    tamper = Tamper(TamperConfig())
    assert watch(tamper, black, 30.0) == []
    assert watch(tamper, yard, 200.0, 30.0) == []
    assert kinds(watch(tamper, black, 5.0, 230.0)) == [("tamper", "covered")]


def test_a_gap_in_the_frames_is_no_evidence() -> None:
    tamper = Tamper(TamperConfig())
    assert watch(tamper, yard, 15.0) == []
    assert watch(tamper, lambda _: yard(0), 1.0, 15.0) == []
    assert watch(tamper, lambda _: yard(0), 1.0, 3600.0) == [], "the same picture an hour later, and nothing between"


def test_a_picture_without_any_light_may_repeat() -> None:
    tamper = Tamper(TamperConfig(kinds=("frozen",)))
    assert watch(tamper, lambda _: np.zeros((180, 320, 3), np.uint8), 30.0) == []
    assert kinds(watch(tamper, lambda _: yard(0), 30.0, 30.0)) == [("tamper", "frozen")]


def test_a_picture_of_another_size_is_learnt_anew() -> None:
    tamper = Tamper(TamperConfig())
    assert watch(tamper, yard, 15.0) == []
    half = [np.asarray(cv2.resize(yard(i), (160, 90), interpolation=cv2.INTER_AREA), np.uint8) for i in range(16)]
    assert watch(tamper, lambda i: half[i % 16], 15.0, 15.0) == []
    assert kinds(watch(tamper, lambda i: np.zeros_like(half[0]), 5.0, 30.0)) == [("tamper", "covered")]


def test_only_what_is_watched_for_is_told() -> None:
    for config in (TamperConfig(enabled=False), TamperConfig(kinds=("moved", "noise"))):
        tamper = Tamper(config)
        assert watch(tamper, yard, 15.0) == []
        assert watch(tamper, black, 15.0, 15.0) == []


def test_a_frame_is_looked_at_four_times_a_second_whatever_the_frame_rate() -> None:
    tamper = Tamper(TamperConfig())
    watch(tamper, yard, 10.0, step_s=1 / 30)
    assert 36 <= tamper.looks <= 41


def test_an_alarm_says_what_was_measured_for_it_once_as_long_as_it_stays() -> None:
    notes: list[Note] = []
    tamper = Tamper(TamperConfig(), notes.append)
    told = watch(tamper, lambda i: yard(i) if i < 40 or i >= 80 else black(i), 25.0)
    assert told == [(12.75, "tamper", "covered"), (21.75, "tamper_clear", "covered")]
    covered = [note for note in notes if note.rule == "tamper covered"]
    assert [(note.at_ns / 1e9, note.fired, note.text.partition(":")[0]) for note in covered] == [
        (0.0, False, "no sign of it"),
        (5.25, False, "no sign of it"),
        (10.0, False, "a sign of it"),
        (12.75, True, "tamper"),
        (20.0, False, "well again"),
        (21.75, True, "tamper_clear"),
    ]
    assert covered[0].text == "no sign of it: no scene is learnt that it could be held against"
    assert covered[3].text.startswith("tamper: 3 s of it; 0% of the scene in its place, detail 0.")
    assert covered[-1].text.startswith("tamper_clear: well for 2 s; 100% of the scene in its place")
    assert [note.rule for note in notes if note.fired] == ["tamper covered"] * 2


def test_the_page_is_told_what_was_measured_for_an_alarm() -> None:
    reasons = Reasons()
    tamper = Tamper(TamperConfig(), reasons.note)
    told = watch(tamper, lambda i: yard(i) if i < 40 else black(i), 13.0)
    assert told == [(12.75, "tamper", "covered")]
    (line,) = reasons.added([Event("tamper", 0, kind="covered")], [b'{"schema":1}'])
    assert json.loads(line)["why"].startswith("tamper: 3 s of it; 0% of the scene in its place")
