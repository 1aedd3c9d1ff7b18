"""Looks at the vehicles that are followed, one a frame, and reads their plates at native pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_runtime.datatypes import VEHICLES, Picture, Track
from edge_runtime.plates.finder import Box, Finder, around, open_finder, plate_in
from edge_runtime.plates.reader import Reader, open_reader
from edge_runtime.plates.reading import Reading
from edge_runtime.rules import PlatesConfig
from edge_runtime.tracking.turns import Turns

LABELS = ("vehicle", *(v for v in VEHICLES if v != "bicycle"))
"""What has a plate; `vehicle` is what attention alone says."""
EVERY_S = 0.25
"""Between two looks at one vehicle."""
MARGIN = 0.08
"""So much of the plate's sides is shown to the reader around it, as it was trained on plates cut a little wide."""


@dataclass(frozen=True, slots=True)
class PlateSeen:
    """A plate that was read.

    Attributes:
        track: id of its vehicle's track.
        reading: what was read.
        width_px: of the plate, in pixels of the frame.
    """

    track: int
    reading: Reading
    width_px: float


@dataclass(frozen=True, slots=True)
class PlateNetworks:
    """The networks between a picture and a text."""

    finder: Finder
    reader: Reader

    @staticmethod
    def of(config: PlatesConfig) -> PlateNetworks:
        """As configured.

        Raises:
            ConfigError: no model is named, or a model or an adapter is missing or wrong.
            BundleError: a model cannot be used.
        """
        return PlateNetworks(open_finder(config.finder), open_reader(config.reader))


class PlateLooker:
    """One verb: `look`.

    A frame costs at most four runs of the finder and one of the reader, however many vehicles there are.

    Args:
        networks: between a picture and a text.
        min_width_px: narrower plates are not read.
    """

    def __init__(self, networks: PlateNetworks, min_width_px: float) -> None:
        self._networks, self._min_width_px = networks, min_width_px
        self._turns = Turns(EVERY_S)

    def look(
        self, picture: Picture, tracks: Sequence[Track], now_ns: int, wanted: Callable[[int], bool]
    ) -> PlateSeen | None:
        """The plate of the vehicle whose turn it is, where one is seen and large enough.

        Args:
            picture: the frame at native pixels.
            tracks: live tracks.
            now_ns: capture time of the frame.
            wanted: for a track's id, whether another reading of its plate is of use.

        Raises:
            InferenceError: a network failed.
        """
        vehicles = [t for t in tracks if t.label in LABELS and t.confirmed]
        track = self._turns.take(
            vehicles, lambda t: _width_px(t) >= self._min_width_px and wanted(t.id), _width_px, now_ns
        )
        if track is None:
            return None
        found = plate_in(picture, track.box, self._networks.finder)
        if found is None or _owner(found[0], vehicles) != track.id:
            return None
        box = [float(edge) for edge in found[0]]
        seen = around(picture, box, MARGIN)
        if seen is None or box[2] - box[0] < self._min_width_px:
            return None
        return PlateSeen(track.id, self._networks.reader(seen[0]), box[2] - box[0])


def _owner(plate: Box, vehicles: Sequence[Track]) -> int | None:
    """Whose plate it is: of vehicles that hide each other, the one in front stands lowest in the picture."""
    x, y = (plate[:2] + plate[2:]) / 2
    around_it = [t for t in vehicles if t.box[0] <= x < t.box[2] and t.box[1] <= y < t.box[3]]
    return max(around_it, key=lambda t: t.box[3]).id if around_it else None


def _width_px(track: Track) -> float:
    return track.box[2] - track.box[0]
