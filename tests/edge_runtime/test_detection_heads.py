"""A head that is found as a face and as a person is nobody beside the person whose it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.detection.detector import bare_heads
from tests.builders import NAMES, detections

BODY, HEAD = (100, 60, 180, 300), (120, 64, 158, 112)


def test_a_head_inside_its_person_is_no_second_person() -> None:
    found = detections([BODY, HEAD, (121, 66, 157, 110)], [0.6, 0.5, 0.7], ["person", "person", "face"])
    assert bare_heads(found).tolist() == [False, True, False]


def test_a_person_of_whom_only_the_head_is_seen_stays() -> None:
    found = detections([HEAD, (121, 66, 157, 110)], [0.5, 0.7], ["person", "face"])
    assert not bare_heads(found).any()
    found = detections([BODY, (300, 64, 338, 112), (301, 66, 337, 110)], [0.6, 0.5, 0.7], ["person", "person", "face"])
    assert not bare_heads(found).any()


def test_a_child_before_a_grown_up_stays() -> None:
    found = detections(
        [BODY, (130, 160, 170, 300), (140, 164, 160, 190)], [0.6, 0.5, 0.7], ["person", "person", "face"]
    )
    assert not bare_heads(found).any()


sides = st.integers(1, 100)
things = st.tuples(st.integers(0, 50), st.integers(0, 50), sides, sides, st.sampled_from(NAMES))


@given(st.lists(things, max_size=8))
def test_only_persons_go_and_never_the_largest(found: list[tuple[int, int, int, int, str]]) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in found]
    labels = [name for *_, name in found]
    gone = bare_heads(detections(boxes, [0.5] * len(found), labels))
    assert all(labels[i] == "person" for i in range(len(found)) if gone[i])
    persons = [(w * h, i) for i, (_, _, w, h, name) in enumerate(found) if name == "person"]
    assert not persons or not gone[max(persons)[1]]
