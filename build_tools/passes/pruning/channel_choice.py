"""How many channels each group keeps, and which: shares by rule or by measurement, rounded to what runs fast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from build_tools.passes.pruning.groups import Group

F64 = NDArray[np.float64]


def aligned_step(group: Group, align: int) -> int:
    """Channels by whose multiples every tensor that a group is in stays aligned."""
    return align // math.gcd(align, group.width)


def kept_count(group: Group, share: float, align: int, minimum: int) -> int:
    """How many channels of a group stay when about `share` of them is to go.

    ONNX Runtime's convolutions work on blocks of 8 channels (AVX2; 16 with AVX-512). Measured on AVX2 with about half
    of YuNet-n's channels: 0.45 of its time in multiples of 8, 0.95 without. So the count is the nearest multiple of
    `align` (in the narrowest tensor that the channels are in), and a group without a smaller multiple is left whole.
    """
    step = aligned_step(group, align)
    lowest = max(step, -(-minimum // step) * step)
    sizes: list[int] = [*range(lowest, group.channels, step), group.channels]
    wanted = (1 - share) * group.channels
    return min(sizes, key=lambda size: (abs(size - wanted), -size))


def strongest(scores: F64, count: int) -> NDArray[np.int64]:
    """Indices of the `count` channels of highest score, rising; of equals the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def global_shares(groups: Sequence[Group], scores: Mapping[str, F64], target: float) -> dict[str, float]:
    """Share that goes of each group when all groups' channels are ranked together."""
    every = np.sort(np.concatenate([scores[g.id] for g in groups]))
    count = round(target * len(every))
    threshold = every[count - 1] if count else -np.inf
    return {g.id: float((scores[g.id] <= threshold).mean()) for g in groups}
