"""How far a digit may be turned, slanted, scaled, shifted and bent in training; no torch, so recipes may name it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.settings import setting


@dataclass(frozen=True, slots=True)
class Distortion:
    """Random distortions of small pictures; all at zero: none."""

    rotate_degrees: float = setting(0.0, "turned by up to", low=0, high=180)
    scale: float = setting(0.0, "each side scaled by up to exp(scale)", low=0, high=1)
    shear: float = setting(0.0, "slanted by up to this share of the height", low=0, high=1)
    shift_px: float = setting(0.0, "shifted by up to, in pixels", low=0)
    bend: float = setting(0.0, "standard deviation of 25 points' shifts, in half pictures", low=0, high=0.5)

    @property
    def any(self) -> bool:
        """Whether anything is distorted at all."""
        return max(self.rotate_degrees, self.scale, self.shear, self.shift_px, self.bend) > 0
