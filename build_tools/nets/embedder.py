"""A small network that turns an upright face into numbers: depthwise-separable, and at its end one weight a place.

What is left of the face's map is not averaged but weighed place by place (a depthwise convolution as large as the map):
the middle of a face says more than its corners (Chen et al. 2018, "MobileFaceNets", section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from build_tools.nets.centre import INPUT_SCALE, ConvBnRelu, NetConfig, Separable

STRIDE = 32


class EmbedderNet(nn.Module):
    """Input float32 [n, 3, side, side] BGR 0..255, side a multiple of 32. Output: [n, neck, 1, 1].

    Args:
        side: of the face.
        config: widths and depths at strides 4, 8, 16 and 32; `neck` is the length of the embedding.
    """

    def __init__(self, side: int, config: NetConfig) -> None:
        super().__init__()
        self.input_scale = INPUT_SCALE
        self.stem = ConvBnRelu(3, config.stem, 3, stride=2)
        stages, inputs = [], config.stem
        for width, depth in zip(config.widths, config.depths, strict=True):
            stages += [Separable(inputs, width, stride=2), *(Separable(width, width) for _ in range(depth))]
            inputs = width
        self.stages = nn.Sequential(*stages)
        last = side // STRIDE
        self.places = nn.Sequential(nn.Conv2d(inputs, inputs, last, groups=inputs, bias=False), nn.BatchNorm2d(inputs))
        self.embedding = nn.Conv2d(inputs, config.neck, 1)

    def forward(self, bgr: Tensor) -> Tensor:
        x = self.places(self.stages(self.stem(bgr * self.input_scale)))
        embedding: Tensor = self.embedding(x)
        return embedding


class Embedding:
    """How the exported network answers: its numbers, as they are."""

    outputs: tuple[str, ...] = ("embedding",)

    def deployed(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The output [n, d, 1, 1]."""
        return (outputs,)


def distance(mine: Tensor, wanted: Tensor) -> Tensor:
    """Mean Euclidean distance of embeddings [n, d, 1, 1] from those wanted [n, d]."""
    # Added below the root, so that it has a slope at zero.
    return torch.sqrt((mine.flatten(1) - wanted).square().sum(1) + 1e-6).mean()
