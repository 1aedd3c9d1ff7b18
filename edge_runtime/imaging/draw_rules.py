"""Draws the rules of a configuration on a picture: zones and slots filled, lines with an arrow the way `in` goes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import Config, LineConfig
from edge_runtime.datatypes import BgrImage
from edge_runtime.imaging.draw import DARK, FONT, LIGHT, Colour, contrast
from edge_runtime.polygons import Point

# Okabe and Ito (2008), BGR: blue, orange, vermilion.
ZONE: Colour = (178, 114, 0)
SLOT: Colour = (0, 159, 230)
LINE: Colour = (0, 94, 213)
FILLED = 0.25
"""Share of its colour that a zone lays over the picture."""
ARROW = 0.06
"""Length of the arrow across a line as a share of the picture's shorter side."""


def draw_rules(bgr: BgrImage, config: Config) -> BgrImage:
    """A new picture with zones, slots and lines drawn in; `bgr` [h, w, 3] stays as it is."""
    out: BgrImage = bgr.copy()
    areas = [(zone.name, zone.points, ZONE) for zone in config.zones]
    areas += [(slot.name, slot.points, SLOT) for slot in config.slots]
    unit = max(min(out.shape[:2]) / 540, 0.5)
    for _, points, colour in areas:
        corners = _pixels(points, out)
        wash = out.copy()
        cv2.fillPoly(wash, [corners], colour)
        out = np.asarray(cv2.addWeighted(wash, FILLED, out, 1 - FILLED, 0), np.uint8)
        cv2.polylines(out, [corners], True, colour, max(2, round(2 * unit)), cv2.LINE_AA)
    for line in config.lines:
        _line(out, line, unit)
    # Names come last, so that nothing runs through them.
    for name, points, colour in areas:
        _name(out, name, np.asarray(_pixels(points, out).mean(0)), colour, unit)
    for line in config.lines:
        _name(out, f"{line.name}: in", _pixels(line.points, out)[0].astype(np.float64), LINE, unit)
    return out


def _line(out: BgrImage, line: LineConfig, unit: float) -> None:
    """The line from a to b, and from its middle an arrow to its right-hand side."""
    a, b = _pixels(line.points, out).astype(np.float64)
    thick = max(2, round(3 * unit))
    cv2.line(out, _at(a), _at(b), LINE, thick, cv2.LINE_AA)
    along = (b - a) / max(float(np.hypot(*(b - a))), 1.0)
    middle = (a + b) / 2
    tip = middle + np.array([-along[1], along[0]]) * ARROW * min(out.shape[:2])
    cv2.arrowedLine(out, _at(middle), _at(tip), LINE, thick, cv2.LINE_AA, tipLength=0.4)


def _name(out: BgrImage, text: str, where: NDArray[np.float64], ground: Colour, unit: float) -> None:
    """Text on a filled ground around `where`, moved so that it stays inside the picture."""
    scale, pad = 0.5 * unit, round(4 * unit)
    (w, h), _ = cv2.getTextSize(text, FONT, scale, 1)
    height, width = out.shape[:2]
    x = round(min(max(float(where[0]) - w / 2, pad), max(width - w - pad, pad)))
    y = round(min(max(float(where[1]) + h / 2, h + pad), max(height - pad, h + pad)))
    cv2.rectangle(out, (x - pad, y - h - pad), (x + w + pad, y + pad), ground, -1)
    ink = max(DARK, LIGHT, key=lambda c: contrast(c, ground))
    cv2.putText(out, text, (x, y), FONT, scale, ink, max(1, round(unit)), cv2.LINE_AA)


def _pixels(points: tuple[Point, ...], out: BgrImage) -> NDArray[np.int32]:
    """The points as pixels [n, 2] of the picture."""
    h, w = out.shape[:2]
    return np.asarray(np.round(np.array(points) * (w - 1, h - 1)), np.int32)


def _at(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
