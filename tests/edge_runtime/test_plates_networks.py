"""Readers and finders of plates: any ONNX with a small TOML beside it; each mistake is refused with its remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from edge_runtime.errors import ConfigError, FormatError
from edge_runtime.plates.finder import AdaptedFinder, PlateFinder, open_finder
from edge_runtime.plates.reader import PlateReader, open_reader
from tests.plate_models import READER, striped, write_finder, write_striped_reader

FINDER = "input_wh = [96, 64]\nscore_min = 0.4\n"
ROWS = [[10, 20, 30, 28, 0.5, 0], [40, 20, 64, 28, 0.9, 0], [0, 0, 9, 9, 0.3, 0]]


@pytest.mark.parametrize("gives", ["columns", "rows", "flat"])
def test_a_reader_may_answer_along_either_side_or_flat(tmp_path: Path, gives: str) -> None:
    reader = PlateReader(write_striped_reader(tmp_path / "ocr.onnx", gives=gives))
    assert reader(striped("AA_AB_B_")).text == "AABB"


def test_a_reader_of_slots_reads_each_place(tmp_path: Path) -> None:
    reader = PlateReader(write_striped_reader(tmp_path / "ocr.onnx", READER + 'decoding = "slots"\n'))
    assert reader(striped("AA_AB_B_")).text == "AAABB"


def test_the_blank_may_come_first(tmp_path: Path) -> None:
    first = READER.replace('"AB"', '"BA"') + 'blank = "first"\n'
    reader = PlateReader(write_striped_reader(tmp_path / "ocr.onnx", first))
    # Blue, the first channel, is the blank now, green a B and red an A.
    assert reader(striped("AB_A_ABB")).text == "BAAB"


def test_a_plate_of_any_size_is_stretched_and_whole_numbers_and_other_orders_of_axes_are_taken(tmp_path: Path) -> None:
    whole = write_striped_reader(tmp_path / "whole.onnx", kind=TensorProto.UINT8)
    assert PlateReader(whole)(striped("A_B_A_B_", (160, 40))).text == "ABAB"
    last = write_striped_reader(tmp_path / "last.onnx", READER + 'layout = "nhwc"\n', takes=(1, 16, 64, 3))
    assert PlateReader(last)(striped("A_B_A_B_")).text == "ABAB"


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ('input_wh = [64, 16]\nalphabet = "ABC"\n', "one side must be 4"),
        ('input_wh = [64, 16]\nalphabet = "AA"\n', 'alphabet = "AA": must hold each character once'),
        ('alphabet = "AB"\n', "input_wh is missing"),
        ('input_wh = [60, 16]\nalphabet = "AB"\n', "takes no pictures of 60x16 as ocr.adapter.toml says"),
        (READER + 'output = "text"\n', 'output = "text": the network has columns; name one of them'),
        (READER + "std = [0, 1, 1]\n", "std: must be above 0"),
        (READER + 'blanc = "last"\n', "did you mean blank?"),
    ],
)
def test_mistakes_in_an_adapter_are_refused(tmp_path: Path, adapter: str, message: str) -> None:
    path = write_striped_reader(tmp_path / "ocr.onnx", adapter)
    with pytest.raises((ConfigError, FormatError)) as refusal:
        PlateReader(path)
    assert message in str(refusal.value)


def test_no_reader_no_finder_no_adapter_and_no_file_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plates.reader is empty: .* take \"plate_reader\""):
        open_reader("")
    with pytest.raises(ConfigError, match=r"plates.finder is empty: .* take \"plate_finder\""):
        open_finder("")
    with pytest.raises(
        ConfigError,
        match=r'plates\.reader = "plate_reeder": not shipped .*; did you mean plate_reader',
    ):
        open_reader("plate_reeder")
    bare = write_striped_reader(tmp_path / "ocr.onnx")
    (tmp_path / "ocr.adapter.toml").unlink()
    with pytest.raises(ConfigError, match=r"ocr\.adapter\.toml: missing; it says how ocr\.onnx wants its pictures"):
        open_reader(str(bare))
    (tmp_path / "gone.adapter.toml").write_text(READER)
    with pytest.raises(FormatError, match=r"no such model file; check plates\.reader"):
        open_reader(str(tmp_path / "gone.onnx"))


def test_a_detector_of_others_may_give_corners_or_centres_in_rows_or_columns(tmp_path: Path) -> None:
    rows = AdaptedFinder(write_finder(tmp_path / "rows.onnx", ROWS, FINDER))
    centres = [[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score] for x1, y1, x2, y2, score, _ in ROWS]
    told = FINDER + 'boxes = "centres"\nalong = "columns"\n'
    columns = AdaptedFinder(write_finder(tmp_path / "columns.onnx", centres, told, columns=True))
    for finder in (rows, columns):
        boxes, scores = finder(np.zeros((64, 96, 3), np.uint8))
        np.testing.assert_allclose(boxes, [ROWS[1][:4], ROWS[0][:4]])
        np.testing.assert_allclose(scores, [0.9, 0.5])


def test_an_answer_without_scores_is_refused(tmp_path: Path) -> None:
    path = write_finder(tmp_path / "flat.onnx", [[1, 2, 3, 4]] * 2, FINDER)
    with pytest.raises(FormatError, match="no boxes whose number 4 is a score; check `along` and `score`"):
        AdaptedFinder(path)


def test_a_network_that_knows_no_plates_is_refused() -> None:
    from edge_runtime.engine import open_model

    with pytest.raises(FormatError, match=r"no license_plate; check plates\.finder"):
        PlateFinder(open_model("scene_attention", "attention"))
