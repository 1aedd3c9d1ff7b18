"""The newest-frame mailbox: what it drops, how it finds a lost camera again, how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.capture import LatestFrame
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CaptureError
from tests.builders import FakeClock

PICTURE = np.zeros((4, 4, 3), np.uint8)
BOUND_S = 5.0


class ScriptedSource:
    """A source that follows a script: `f` a frame, `x` lost while reading, `o` the next opening fails.

    After the script it ends, or blocks until `unblock` is set. `released[i]` counts the releases of frame i.
    """

    def __init__(self, script: str, *, live: bool = True, blocks: bool = False, clock: FakeClock | None = None):
        self.name = "scripted"
        self.live = live
        self.released: list[int] = []
        self.opened_at_s: list[float] = []
        self.open_now = False
        self.unblock = threading.Event()
        self.gate = threading.Semaphore(0)
        self.gated = False
        self._script = list(script)
        self._blocks = blocks
        self._clock = clock or FakeClock()

    def __enter__(self) -> ScriptedSource:
        assert not self.open_now, "opened twice"
        self.opened_at_s.append(self._clock.now_ns() / 1e9)
        if self._script and self._script[0] == "o":
            self._script.pop(0)
            raise CaptureError("scripted: not there; plug it in")
        self.open_now = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open_now = False

    def read(self) -> Frame | None:
        assert self.open_now, "read while closed"
        if self.gated:
            self.gate.acquire()
        if not self._script:
            if self._blocks:
                self.unblock.wait()
            return None
        if self._script[0] == "o" or self._script.pop(0) == "x":
            raise CaptureError("scripted: lost; check its cable")
        index = len(self.released)
        self.released.append(0)
        return Frame(PICTURE, PICTURE, index, 0, release=lambda: self._release(index))

    def _release(self, index: int) -> None:
        self.released[index] += 1


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def mailbox(source: ScriptedSource, problems: list[str] | None = None, clock: FakeClock | None = None) -> LatestFrame:
    report = (problems if problems is not None else []).append
    return LatestFrame(source, clock or FakeClock(), retry_s=0.5, retry_max_s=3.0, on_problem=report)


def take_all(box: LatestFrame) -> list[Frame]:
    frames: list[Frame] = []
    while not box.ended:
        frame = box.get(BOUND_S)
        if frame is not None:
            frames.append(frame)
            frame.release()
    return frames


def test_a_slow_consumer_gets_the_newest_frame_and_the_others_are_counted_as_dropped() -> None:
    source = ScriptedSource("fffff", blocks=True)
    with mailbox(source) as box:
        until(lambda: box.seen == 5)
        frame = box.get(BOUND_S)
        assert frame is not None
        assert frame.captured_ns == 4
        assert box.dropped == 4
        assert source.released == [1, 1, 1, 1, 0]
        frame.release()
        source.unblock.set()
    assert source.released == [1, 1, 1, 1, 1]


def test_a_quick_consumer_gets_every_frame() -> None:
    source = ScriptedSource("ffff")
    source.gated = True
    taken: list[int] = []
    with mailbox(source) as box:
        for _ in range(4):
            source.gate.release()
            frame = box.get(BOUND_S)
            assert frame is not None
            taken.append(frame.seq)
            frame.release()
        source.gate.release()
        until(lambda: box.ended)
    assert taken == [0, 1, 2, 3]
    assert (box.seen, box.dropped) == (4, 0)


def test_the_last_frame_of_a_clip_is_not_lost_and_then_the_mailbox_has_ended() -> None:
    source = ScriptedSource("fff", live=False)
    with mailbox(source) as box:
        until(lambda: not source.open_now)
        assert not box.ended
        frame = box.get(0)
        assert frame is not None
        assert frame.seq == 2
        assert box.ended
        before = time.monotonic()
        assert box.get(BOUND_S) is None
        assert time.monotonic() - before < 1


def test_get_gives_none_when_no_frame_comes_in_time() -> None:
    source = ScriptedSource("", blocks=True)
    with mailbox(source) as box:
        assert box.get(0.02) is None
        assert not box.ended
        source.unblock.set()


def test_an_unread_frame_is_released_when_the_mailbox_is_left() -> None:
    source = ScriptedSource("f", blocks=True)
    with mailbox(source) as box:
        until(lambda: box.seen == 1)
        source.unblock.set()
    assert source.released == [1]
    assert box.dropped == 1


def test_a_lost_camera_is_opened_again_after_pauses_that_double_up_to_the_longest() -> None:
    clock = FakeClock(0)
    source = ScriptedSource("fxooooof", clock=clock)
    problems: list[str] = []
    with mailbox(source, problems, clock) as box:
        until(lambda: box.ended or (box.get(0.01) is None and box.ended))
    waits = np.diff(source.opened_at_s)
    assert waits == pytest.approx([0.5, 1.0, 2.0, 3.0, 3.0, 3.0])
    assert box.reopened == 1
    assert problems == ["scripted: lost; check its cable; trying again", "scripted: back after 12.5 s"]


def test_a_camera_that_opens_but_gives_nothing_stays_one_outage() -> None:
    clock = FakeClock(0)
    source = ScriptedSource("fxxxf", clock=clock)
    problems: list[str] = []
    with mailbox(source, problems, clock) as box:
        until(lambda: not source.open_now and box.seen == 2)
    assert np.diff(source.opened_at_s) == pytest.approx([0.5, 1.0, 2.0])
    assert len(problems) == 2
    assert box.reopened == 1


def test_numbers_go_on_when_the_camera_was_opened_again() -> None:
    source = ScriptedSource("ffxff")
    source.gated = True
    with mailbox(source) as box:
        seen: list[int] = []
        for _ in range(5):
            source.gate.release()
        while not box.ended:
            source.gate.release()
            frame = box.get(BOUND_S)
            if frame is not None:
                seen.append(frame.seq)
    assert seen == sorted(seen)
    assert seen[-1] == 3
    assert box.reopened == 1


def test_a_source_that_cannot_be_opened_at_first_raises_at_once() -> None:
    problems: list[str] = []
    with pytest.raises(CaptureError, match="not there"), mailbox(ScriptedSource("o"), problems):
        pass
    assert problems == []


def test_a_torn_clip_gives_its_frames_and_then_raises() -> None:
    source = ScriptedSource("ffx", live=False)
    with mailbox(source) as box:
        until(lambda: not source.open_now)
        frame = box.get(BOUND_S)
        assert frame is not None
        assert frame.seq == 1
        assert not box.ended
        with pytest.raises(CaptureError, match="lost"):
            box.get(BOUND_S)
        assert box.ended
    assert len(source.opened_at_s) == 1


def test_an_unexpected_error_in_the_thread_reaches_the_consumer() -> None:
    class Broken(ScriptedSource):
        def read(self) -> Frame | None:
            raise ZeroDivisionError("a bug")

    with mailbox(Broken("f")) as box, pytest.raises(ZeroDivisionError):
        box.get(BOUND_S)


def test_leaving_is_bounded_while_a_read_blocks_and_its_late_frame_is_released() -> None:
    source = ScriptedSource("f")
    source.gated = True
    before = time.monotonic()
    with mailbox(source):
        pass
    assert time.monotonic() - before < 4
    source.gate.release()
    until(lambda: not source.open_now)
    assert source.released == [1]


@settings(max_examples=40, deadline=None)
@given(
    script=st.text("fffx", max_size=25),
    takes=st.lists(st.sampled_from((0.0, 0.001)), max_size=12),
)
def test_every_frame_seen_is_either_delivered_or_dropped_and_released_once(script: str, takes: Sequence[float]) -> None:
    source = ScriptedSource(script)
    delivered = 0
    with mailbox(source) as box:
        for timeout_s in takes:
            frame = box.get(timeout_s)
            if frame is not None:
                delivered += 1
                frame.release()
    assert box.seen == delivered + box.dropped
    assert source.released == [1] * box.seen
