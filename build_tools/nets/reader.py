"""A small network that reads a line of characters: convolutions until one row is left, then a character at each step.

After Shi et al. 2016, "An End-to-End Trainable Neural Network for Image-based Sequence Recognition", with convolutions
along the row in place of a recurrent layer: they are faster and quantise without loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from build_tools.nets.centre import INPUT_SCALE, ConvBnRelu, NetConfig, Separable

STEP_PX = 4
REACH = 7
"""Steps that a block along the row sees."""


class ReaderNet(nn.Module):
    """Input float32 [n, 3, 48, 128] BGR 0..255. Output: logits [n, characters + 1, 1, 32], the last the blank.

    Args:
        characters: of the alphabet.
        config: `widths` are the channels at heights 12, 6 and 3, and in the row; `depths` the blocks there.
    """

    def __init__(self, characters: int, config: NetConfig) -> None:
        super().__init__()
        self.input_scale = INPUT_SCALE
        w12, w6, w3, row = config.widths
        d12, d6, d3, along = config.depths
        self.stem = ConvBnRelu(3, config.stem, 3, stride=2)
        self.high12 = nn.Sequential(ConvBnRelu(config.stem, w12, 3, 2), *(Separable(w12, w12) for _ in range(d12)))
        self.high6 = nn.Sequential(_Lower(w12, w6), *(Separable(w6, w6) for _ in range(d6)))
        self.high3 = nn.Sequential(_Lower(w6, w3), *(Separable(w3, w3) for _ in range(d3)))
        self.row = nn.Sequential(nn.Conv2d(w3, row, (3, 1), bias=False), nn.BatchNorm2d(row), nn.ReLU(inplace=True))
        self.along = nn.Sequential(*(_Along(row) for _ in range(along)))
        self.answer = nn.Conv2d(row, characters + 1, 1)

    def forward(self, bgr: Tensor) -> Tensor:
        x = self.high3(self.high6(self.high12(self.stem(bgr * self.input_scale))))
        logits: Tensor = self.answer(self.along(self.row(x)))
        return logits


class _Lower(nn.Sequential):
    """3x3 convolution that halves the height alone."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, (2, 1), 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )


class _Along(nn.Module):
    """What stands beside a step: depthwise along the row, then pointwise, added to what came."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(width, width, (1, REACH), padding=(0, REACH // 2), groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.pointwise = ConvBnRelu(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return x + y


class Steps:
    """How the exported network answers: the probability of each character, and of none, at each step."""

    outputs: tuple[str, ...] = ("steps",)

    def deployed(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The output [n, characters + 1, 1, steps]."""
        return (torch.softmax(outputs, 1),)
