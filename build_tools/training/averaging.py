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
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)
