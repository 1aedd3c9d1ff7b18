"""Pyramid detector: a depthwise-separable trunk, three levels, and at each cell of each level scores and a box.

Levels at strides 8, 16 and 32 share the work by the size of objects (Lin et al. 2017, "Feature Pyramid Networks");
coarse levels are added to finer ones, and each has one 1x1 convolution as its head, so that the graph stays small.
There are no anchors: a cell tells the distances from its centre to the four sides (Tian et al. 2019, FCOS).

Channel counts are multiples of 16: other counts leave ONNX Runtime's blocked layout and run slower.
"""

from __future__ import annotations

from torch import Tensor, nn

from build_tools.nets.centre import INPUT_SCALE, ConvBnRelu, NetConfig, Separable, stage

STRIDES = (8, 16, 32)


class PyramidNet(nn.Module):
    """Input float32 [n, 3, h, w] BGR 0..255, h and w multiples of 32.

    Output: for each stride s float32 [n, classes + 4, h/s, w/s]: score logits, then the logarithms of the distances
    left, top, right and bottom from the cell's centre, in cells.
    """

    def __init__(self, classes: int, config: NetConfig) -> None:
        super().__init__()
        self.input_scale = INPUT_SCALE
        w4, w8, w16, w32 = config.widths
        self.stem = ConvBnRelu(3, config.stem, 3, stride=2)
        self.stage4 = stage(config.stem, w4, config.depths[0])
        self.stage8 = stage(w4, w8, config.depths[1])
        self.stage16 = stage(w8, w16, config.depths[2])
        self.stage32 = stage(w16, w32, config.depths[3])
        self.lateral8, self.lateral16, self.lateral32 = (_lateral(w, config.neck) for w in (w8, w16, w32))
        self.join16 = Separable(config.neck, config.neck)
        self.join8 = Separable(config.neck, config.neck)
        self.heads = nn.ModuleList([_head(config.neck, classes) for _ in STRIDES])

    def forward(self, bgr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x8 = self.stage8(self.stage4(self.stem(bgr * self.input_scale)))
        x16 = self.stage16(x8)
        y32 = self.lateral32(self.stage32(x16))
        y16 = self.join16(self.lateral16(x16) + _doubled(y32))
        y8 = self.join8(self.lateral8(x8) + _doubled(y16))
        head8, head16, head32 = self.heads
        return head8(y8), head16(y16), head32(y32)


def _lateral(width: int, neck: int) -> nn.Module:
    return nn.Identity() if width == neck else ConvBnRelu(width, neck, 1)


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _head(neck: int, classes: int) -> nn.Conv2d:
    head = nn.Conv2d(neck, classes + 4, 1)
    nn.init.normal_(head.weight, std=0.01)
    # A prior of 1 % keeps the first steps from being swamped by background (Lin et al. 2017, RetinaNet, section 4.1).
    nn.init.constant_(head.bias[:classes], -4.6)  # type: ignore[index]
    nn.init.constant_(head.bias[classes:], 0.0)  # type: ignore[index]
    return head
