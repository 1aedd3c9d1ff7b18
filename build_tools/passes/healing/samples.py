"""The first of many: calibration samples, names in a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from build_tools.passes.contract import Calibration, Feed


@dataclass(frozen=True, slots=True, eq=False)
class First:
    """Calibration data cut off after `samples` samples (whole feeds); 0: all of it."""

    calibration: Calibration
    samples: int

    def __iter__(self) -> Iterator[Feed]:
        seen = 0
        for feed in self.calibration:
            yield feed
            seen += max((len(v) for v in feed.values() if v.ndim), default=1)
            if self.samples and seen >= self.samples:
                return

    def __len__(self) -> int:
        return len(self.calibration)


def several(names: Sequence[str], shown: int = 3) -> str:
    """Names for a message: the first few, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
