"""A small network that says of a patch whether something is there: convolutions, then one number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from build_tools.nets.centre import INPUT_SCALE, ConvBnRelu, NetConfig, Separable

STRIDE = 32


class PatchNet(nn.Module):
    """Input float32 [n, 3, 32, 32] BGR 0..255. Output: logits [n, 1, 1, 1].

    Full convolutions, not separable ones, down to stride 8: on so few pixels they cost little and see more.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.input_scale = INPUT_SCALE
        w4, w8, w16, w32 = config.widths
        d4, d8, d16, d32 = config.depths
        self.stem = ConvBnRelu(3, config.stem, 3, stride=2)
        self.stage4 = nn.Sequential(ConvBnRelu(config.stem, w4, 3, stride=2), *(Separable(w4, w4) for _ in range(d4)))
        self.stage8 = nn.Sequential(ConvBnRelu(w4, w8, 3, stride=2), *(Separable(w8, w8) for _ in range(d8)))
        self.stage16 = nn.Sequential(Separable(w8, w16, stride=2), *(Separable(w16, w16) for _ in range(d16)))
        self.stage32 = nn.Sequential(nn.Conv2d(w16, w32, 2, stride=2), nn.ReLU(), *(_mixing(w32) for _ in range(d32)))
        self.answer = nn.Conv2d(w32, 1, 1)

    def forward(self, bgr: Tensor) -> Tensor:
        x8 = self.stage8(self.stage4(self.stem(bgr * self.input_scale)))
        logits: Tensor = self.answer(self.stage32(self.stage16(x8)))
        return logits


class Presence:
    """How the exported network answers: one probability a patch."""

    outputs: tuple[str, ...] = ("probability",)

    def deployed(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The output [n, 1, 1, 1], 0 to 1."""
        return (torch.sigmoid(outputs),)


def _mixing(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU())
