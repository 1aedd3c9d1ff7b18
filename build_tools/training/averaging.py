"""The running average of a whole network, norms' statistics included; what is kept of a training."""

from __future__ import annotations

import torch
from torch import nn


def follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """Move the average towards the network as it is now; what is counted, not measured, is taken over.

    Args:
        average: a copy of the network; changed in place.
        net: the network.
        keep: share of the average that stays.
    """
    mine, its = average.state_dict().values(), net.state_dict().values()
    pairs = list(zip(mine, its, strict=True))
    with torch.no_grad():
        measured = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in measured], [now for _, now in measured], 1 - keep)
        for mean, now in pairs:
            if not mean.is_floating_point():
                mean.copy_(now)
