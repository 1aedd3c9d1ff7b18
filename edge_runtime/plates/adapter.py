"""Says how a network of others wants its pictures and how its answers are read; a TOML file beside the network.

`ocr.onnx` or `ocr.edge` has `ocr.adapter.toml` beside it, whose keys are the fields of `ReaderAdapter`, or of
`FinderAdapter` where it finds plates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_runtime.settings import required, setting, toml

SIDE_MAX = 2048
WANTS = "its pictures and what it answers, as models/plate_reader.adapter.toml"


@dataclass(frozen=True, slots=True)
class ReaderAdapter:
    """How a reader of plates wants a plate that was cut out, and what its answer means."""

    input_wh: tuple[int, int] = required("width and height it takes; plates are stretched to it", example=(128, 48))
    alphabet: str = required("the characters of its answer's columns, in their order", example="0123456789ABC")
    blank: Literal["first", "last"] = setting(
        "last", "where the column is that stands for no character, before or after the alphabet's"
    )
    decoding: Literal["steps", "slots"] = setting(
        "steps", "steps: along the plate, repeats are one (CTC) | slots: one answer for each place"
    )
    colour: Literal["rgb", "bgr", "grey"] = setting("rgb", "order of its colours; grey: one channel")
    layout: Literal["nchw", "nhwc"] = setting("nchw", "order of its input's axes")
    mean: tuple[float, float, float] = setting((0.0, 0.0, 0.0), "taken from the values 0 to 255, in its own order")
    std: tuple[float, float, float] = setting((1.0, 1.0, 1.0), "what is left is divided by this")
    output: str = setting("", "which output it is; empty: its only one")

    def __post_init__(self) -> None:
        _check_size(self.input_wh)
        if not self.alphabet or len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError(f"alphabet = {toml(self.alphabet)}: must hold each character once")
        _check_std(self.std)


@dataclass(frozen=True, slots=True)
class FinderAdapter:
    """How a detector wants a vehicle's picture, and how the plates in its answer are read."""

    input_wh: tuple[int, int] = required("width and height it takes; vehicles are fitted into it", example=(320, 320))
    boxes: Literal["corners", "centres"] = setting(
        "corners", "a box's first four numbers, in input pixels: x1, y1, x2, y2 | centre x, centre y, width, height"
    )
    along: Literal["rows", "columns"] = setting("rows", "its answer has a box in each of its rows | columns")
    score: int = setting(4, "which number of a box is its score", low=4)
    score_min: float = setting(0.4, "boxes scored below this are no plates", low=0, high=1)
    colour: Literal["rgb", "bgr", "grey"] = setting("rgb", "order of its colours; grey: one channel")
    layout: Literal["nchw", "nhwc"] = setting("nchw", "order of its input's axes")
    mean: tuple[float, float, float] = setting((0.0, 0.0, 0.0), "taken from the values 0 to 255, in its own order")
    std: tuple[float, float, float] = setting((1.0, 1.0, 1.0), "what is left is divided by this")
    output: str = setting("", "which output it is; empty: its only one")

    def __post_init__(self) -> None:
        _check_size(self.input_wh)
        _check_std(self.std)


def _check_size(input_wh: tuple[int, int]) -> None:
    if not all(8 <= side <= SIDE_MAX for side in input_wh):
        raise ValueError(f"input_wh = {toml(input_wh)}: both must be between 8 and {SIDE_MAX}")


def _check_std(std: tuple[float, float, float]) -> None:
    if min(std) <= 0:
        raise ValueError("std: must be above 0")
