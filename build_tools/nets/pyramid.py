"""Pyramid detector: a depthwise-separable trunk, three levels, and at each cell of each level scores and a box.

Levels at strides 8, 16 and 32 share the work by the size of objects (Lin et al. 2017, "Feature Pyramid Networks");
coarse levels are added to finer ones, and each has one 1x1 convolution as its head, so that the graph stays small.
There are no anchors: a cell tells the distances from its centre to the four sides (Tian et al. 2019, FCOS).

Channel counts are multiples of 16: other counts leave ONNX Runtime's blocked layout and run slower.
"""

from __future__ import annotations

from torch import Tensor, nn

from build_tools.nets.centre import NetConfig, Trunk

STRIDES = (8, 16, 32)


class PyramidNet(Trunk):
    """Input float32 [n, 3, h, w] BGR 0..255, h and w multiples of 32.

    Output: for each stride s float32 [n, classes + 4, h/s, w/s]: score logits, then the logarithms of the distances
    left, top, right and bottom from the cell's centre, in cells.
    """

    def __init__(self, classes: int, config: NetConfig) -> None:
        super().__init__(config, bare=True)
        self.heads = nn.ModuleList([_head(config.neck, classes) for _ in STRIDES])

    def forward(self, bgr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y8, y16, y32 = self.levels(bgr)
        head8, head16, head32 = self.heads
        return head8(y8), head16(y16), head32(y32)


def _head(neck: int, classes: int) -> nn.Conv2d:
    head = nn.Conv2d(neck, classes + 4, 1)
    nn.init.normal_(head.weight, std=0.01)
    # A prior of 1 % keeps the first steps from being swamped by background (Lin et al. 2017, RetinaNet, section 4.1).
    nn.init.constant_(head.bias[:classes], -4.6)  # type: ignore[index]
    nn.init.constant_(head.bias[classes:], 0.0)  # type: ignore[index]
    return head
