"""Digits drawn a little differently every time: turned, sheared, scaled, shifted and bent, a batch at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from build_tools.data.distortion import Distortion

CONTROL_POINTS = 5
"""A side, of the grid that bends a digit (Simard et al. 2003): a stroke is bent as a whole, not torn."""


def distort(digits: Tensor, strength: Distortion, generator: torch.Generator) -> Tensor:
    """Each digit under a random smooth map of its own.

    Args:
        digits: float32 [n, 1, h, w], background 0.
        strength: how far at most.
        generator: of the random maps.

    Returns:
        float32 [n, 1, h, w].
    """
    count, _, height, width = digits.shape

    def spread(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    angle = spread(count) * math.radians(strength.rotate_degrees)
    wide, high = (spread(2, count) * strength.scale).exp()
    shear = spread(count) * strength.shear
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack([cos * wide, -sin * high + shear, sin * wide, cos * high], 1).view(count, 2, 2)
    shift = spread(count, 1, 2) * strength.shift_px * 2 / torch.tensor([width, height])
    places = (_places(height, width).view(1, -1, 2) @ rows.transpose(1, 2) + shift).view(count, height, width, 2)
    if strength.bend > 0:
        pulls = torch.randn(count, 2, CONTROL_POINTS, CONTROL_POINTS, generator=generator) * strength.bend
        smooth = functional.interpolate(pulls, size=(height, width), mode="bilinear", align_corners=True)
        places = places + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(digits, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _places(height: int, width: int) -> Tensor:
    """Centres of the pixels as (x, y), -1..1 from edge to edge, float32 [h, w, 2]."""
    y = torch.linspace(-1 + 1 / height, 1 - 1 / height, height)
    x = torch.linspace(-1 + 1 / width, 1 - 1 / width, width)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
