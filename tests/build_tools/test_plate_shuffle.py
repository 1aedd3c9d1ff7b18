"""Characters of a photographed plate change places: found by hiding them, put where others stood, and told right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.data.plate_glyphs import ALPHABET
from build_tools.data.plate_shuffle import Deck, Places, Read, places, shuffled
from build_tools.data.plate_text import INPUT_WH, PlateCrop

U8, F32 = NDArray[np.uint8], NDArray[np.float32]
TEXT = "AB123CD"
STEPS = 32
BLOCK_PX = 8


def centres(first: float, pitch: float, gap: float) -> F32:
    """Columns of the characters, with a gap where letters and digits meet."""
    return np.array([first + pitch * i + gap * ((i > 1) + (i > 4)) for i in range(len(TEXT))], np.float32)


def plate(at: F32, size_wh: tuple[int, int] = INPUT_WH) -> U8:
    """Each character is a block of its own grey, on black."""
    w, h = size_wh
    out = np.zeros((h, w, 3), np.uint8)
    for i, x in enumerate(at * w / INPUT_WH[0]):
        half = BLOCK_PX / 2 * w / INPUT_WH[0]
        out[h // 4 : 3 * h // 4, round(x - half) : round(x + half)] = 100 + 20 * i
    return out


def reader(at: F32, blind_to: int | None = None) -> tuple[list[int], Read]:
    """How often it was asked, and a network that knows a character by the light at its place."""
    asked: list[int] = []

    def read(seen: U8) -> F32:
        asked.append(len(seen))
        likely = np.full((len(seen), STEPS, len(ALPHABET) + 1), 1e-4, np.float32)
        likely[:, :, -1] = 0.5
        for i, x in enumerate(at):
            block = seen[:, 12:36, round(x - BLOCK_PX / 2) : round(x + BLOCK_PX / 2)].astype(np.float32)
            light = np.clip(block.mean((1, 2, 3)) / (100 + 20 * i), 0, 1)
            said = light if i != blind_to else np.ones_like(light)
            likely[:, int(x * STEPS / INPUT_WH[0]), ALPHABET.index(TEXT[i])] = said
        return likely

    return asked, read


@given(st.floats(10, 20), st.floats(11, 13), st.floats(0, 9))
def test_characters_are_found_by_hiding_them(first: float, pitch: float, gap: float) -> None:
    at = centres(first, pitch, gap)
    _, read = reader(at)
    found = places(read, plate(at), TEXT)
    assert found is not None
    assert np.abs(found.centres - at / INPUT_WH[0]).max() < 0.02
    assert found.pitch == pytest.approx(pitch / INPUT_WH[0], abs=0.01)


def test_a_character_that_hiding_does_not_show_is_where_the_others_leave_room_for_it() -> None:
    at = centres(16, 12, 5)
    _, read = reader(at, blind_to=3)
    found = places(read, plate(at), TEXT)
    assert found is not None
    assert np.abs(found.centres - at / INPUT_WH[0]).max() < 0.02


def test_a_plate_that_is_read_otherwise_has_no_places() -> None:
    at = centres(16, 12, 5)
    _, read = reader(at)
    assert places(read, plate(at), "AB123CE") is None


@given(st.integers(0, 2**32 - 1), st.sampled_from([(128, 48), (160, 60), (96, 24)]))
def test_what_is_written_is_what_stands_there(seed: int, size_wh: tuple[int, int]) -> None:
    at = centres(16, 12, 5)
    photo = plate(at, size_wh)
    where = Places(at / INPUT_WH[0], 12 / INPUT_WH[0])
    out, written = shuffled(np.random.default_rng(seed), photo, TEXT, where)
    assert out.shape == photo.shape
    assert [c.isdigit() for c in written] == [c.isdigit() for c in TEXT]
    for x, character in zip(at * size_wh[0] / INPUT_WH[0], written, strict=True):
        grey = int(out[size_wh[1] // 2, round(float(x)), 0])
        assert abs(grey - (100 + 20 * TEXT.index(character))) <= 12, f"{written}: {character} at {x}"


def test_a_deck_shuffles_once_the_network_reads_its_photos_and_never_other_plates() -> None:
    at = centres(16, 12, 5)
    mine, other = PlateCrop(plate(at), TEXT, "ar"), PlateCrop(plate(at), TEXT, "cn")
    deck, rng = Deck([(mine, 1.0), (other, 0.0)], 8), np.random.default_rng(1)
    asked, read = reader(at)
    deck.epoch_over(read)
    assert deck.dealt(rng, mine) is mine
    assert asked == []
    deck.epoch_over(read)
    assert len(asked) == 2, "the photo as it is, and all its hidings at once"
    assert len({deck.dealt(rng, mine).text for _ in range(20)}) > 10
    assert deck.dealt(rng, other) is other
