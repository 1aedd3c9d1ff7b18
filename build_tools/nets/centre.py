"""Centre-point detector: a depthwise-separable trunk, three levels added up to stride 8, a heatmap and a box map.

One family serves both jobs: narrow on the whole low-resolution picture (attention), wide on 128x128 crops
(detector). Objects are points: each class has a heatmap that peaks at object centres, and each cell tells the
distances from its centre to the four sides of the object there (Zhou et al. 2019, "Objects as Points";
box over an area instead of a point after Liu et al. 2020, "Training-Time-Friendly Network").

Channel counts are multiples of 16: other counts leave ONNX Runtime's blocked layout and run slower.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRIDE = 8
INPUT_SCALE = 1 / 128
"""Pixels are only scaled, not shifted: padding is black then, and the scale folds exactly into the stem's weights."""
SIZE_MULTIPLE = 32
"""Input sides are padded to this, so that the three levels align when they are added."""


@dataclass(frozen=True, slots=True)
class NetConfig:
    """Widths and depths; `widths` are the channels at strides 4, 8, 16 and 32, `depths` the blocks there."""

    stem: int = 16
    widths: tuple[int, int, int, int] = (32, 64, 80, 96)
    depths: tuple[int, int, int, int] = (1, 2, 2, 1)
    neck: int = 64


class ConvBnRelu(nn.Sequential):
    """k x k convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, k: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, k, stride, k // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise 1x1; a residual where shapes allow it (Howard et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvBnRelu(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = ConvBnRelu(inputs, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return x + y if self.residual else y


class Trunk(nn.Module):
    """What both families share: levels at strides 8, 16 and 32, the coarse ones added to the finer.

    Args:
        config: widths and depths.
        bare: levels 16 and 32 that are as wide as the neck go into it as they are; level 8 always does.
    """

    def __init__(self, config: NetConfig, *, bare: bool) -> None:
        super().__init__()
        self.input_scale = INPUT_SCALE
        w4, w8, w16, w32 = config.widths
        self.stem = ConvBnRelu(3, config.stem, 3, stride=2)
        self.stage4 = _stage(config.stem, w4, config.depths[0])
        self.stage8 = _stage(w4, w8, config.depths[1])
        self.stage16 = _stage(w8, w16, config.depths[2])
        self.stage32 = _stage(w16, w32, config.depths[3])
        self.lateral8 = _lateral(w8, config.neck, bare=True)
        self.lateral16 = _lateral(w16, config.neck, bare=bare)
        self.lateral32 = _lateral(w32, config.neck, bare=bare)
        self.join16 = Separable(config.neck, config.neck)
        self.join8 = Separable(config.neck, config.neck)

    def stages(self) -> tuple[nn.Sequential, ...]:
        """The blocks at strides 4, 8, 16 and 32; the first of each halves."""
        return self.stage4, self.stage8, self.stage16, self.stage32

    def levels(self, bgr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps [n, neck, h/s, w/s] at strides 8, 16 and 32 of float32 [n, 3, h, w]."""
        x8 = self.stage8(self.stage4(self.stem(bgr * self.input_scale)))
        x16 = self.stage16(x8)
        y32 = self.lateral32(self.stage32(x16))
        y16 = self.join16(self.lateral16(x16) + _doubled(y32))
        return self.join8(self.lateral8(x8) + _doubled(y16)), y16, y32


class CentreNet(Trunk):
    """Input float32 [n, 3, h, w] BGR 0..255, h and w multiples of 32.

    Output: heat logits [n, classes, h/8, w/8] and box distances [n, 4, h/8, w/8] (left, top, right, bottom from the
    cell's centre, in cells, positive).
    """

    def __init__(self, classes: int, config: NetConfig) -> None:
        super().__init__(config, bare=False)
        self.head = Separable(config.neck, config.neck)
        self.heat = nn.Conv2d(config.neck, classes, 1)
        self.box = nn.Conv2d(config.neck, 4, 1)
        # A prior of 1 % keeps the first steps from being swamped by background (Lin et al. 2017, section 4.1).
        nn.init.constant_(self.heat.bias, -4.6)  # type: ignore[arg-type]
        nn.init.constant_(self.box.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, bgr: Tensor) -> tuple[Tensor, Tensor]:
        y8 = self.head(self.levels(bgr)[0])
        return self.heat(y8), torch.exp(self.box(y8).float().clamp(-4, 4))


def _lateral(width: int, neck: int, *, bare: bool) -> nn.Module:
    return nn.Identity() if bare and width == neck else ConvBnRelu(width, neck, 1)


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    """One halving block and `depth` blocks at the new size."""
    blocks = [Separable(inputs, outputs, stride=2)]
    blocks += [Separable(outputs, outputs) for _ in range(depth)]
    return nn.Sequential(*blocks)


def parameter_count(net: nn.Module) -> int:
    """Trainable numbers, batch normalisation folded away (its scale and shift become one bias per channel)."""
    norms = sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    return sum(p.numel() for p in net.parameters()) - norms
