"""A small network that tells where points lie on a crop: each cell says where it takes them to be, and how surely.

The answer is the mean over the cells' votes, weighted by a softmax of how sure they are: a differentiable Hough vote,
after the soft-argmax of Honari et al. 2018, "Improving Landmark Localization with Semi-Supervised Learning".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from build_tools.nets.centre import STRIDE, NetConfig, Trunk

CROP_PX = 64
CELLS = CROP_PX // STRIDE


class PointsNet(Trunk):
    """Input float32 [n, 3, 64, 64] BGR 0..255. Output: [n, 2 * points, 1, 1]: x, y of each as fractions of the crop."""

    def __init__(self, points: int, config: NetConfig) -> None:
        super().__init__(config, bare=True)
        self.points = points
        self.sure = nn.Conv2d(config.neck, points, 1)
        self.vote = nn.Conv2d(config.neck, 2 * points, 1)
        nn.init.normal_(self.vote.weight, std=0.01)
        nn.init.zeros_(self.vote.bias)  # type: ignore[arg-type]
        middle = (torch.arange(CELLS) + 0.5) / CELLS
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        self.register_buffer("middles", torch.stack([x, y]).reshape(1, 1, 2, CELLS**2), persistent=False)

    def forward(self, bgr: Tensor) -> Tensor:
        return self.told(bgr)[0]

    def told(self, bgr: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and how sure each cell is of each point: logits [n, points, cells]."""
        y8 = self.levels(bgr)[0]
        sure = self.sure(y8).reshape(-1, self.points, 1, CELLS**2)
        votes = self.vote(y8).reshape(-1, self.points, 2, CELLS**2) / CELLS + self.middles
        points: Tensor = (votes * torch.softmax(sure, 3)).sum(3).reshape(-1, 2 * self.points, 1, 1)
        return points, sure[:, :, 0]


def nearest_cells(points: Tensor) -> Tensor:
    """Shares [n, points, cells] of the four cells around each point [n, points, 2], which is a fraction of the crop."""
    place = (points * CELLS - 0.5).clamp(0, CELLS - 1)
    middles = torch.arange(CELLS, dtype=points.dtype)
    columns, rows = (torch.relu(1 - (place[..., axis, None] - middles).abs()) for axis in (0, 1))
    return (rows[..., :, None] * columns[..., None, :]).flatten(2)


class Fractions:
    """How the exported network answers: fractions of the crop, as they are."""

    outputs: tuple[str, ...] = ("points",)

    def deployed(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The output [n, 2 * points, 1, 1]."""
        return (outputs,)
