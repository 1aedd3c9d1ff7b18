"""Draws what the node sees: regions dashed, crop windows dotted, tracks solid with a tag."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_runtime.datatypes import BgrImage, CropPlan, Detections, Track, group_of

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Pixels = tuple[int, int, int, int]

# The palette of Okabe and Ito (2008) keeps apart for colour-blind eyes; BGR.
COLOURS: dict[str, Colour] = {
    "face": (66, 228, 240),
    "person": (115, 158, 0),
    "vehicle": (233, 180, 86),
    "two-wheeler": (167, 121, 204),
}
OTHER: Colour = (0, 159, 230)
WINDOW: Colour = (235, 235, 235)
DARK: Colour = (20, 20, 20)
LIGHT: Colour = (255, 255, 255)
DIM = 0.55
"""A lost track is drawn in this share of its colour's brightness."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(
    bgr: BgrImage, regions: Detections | None, plan: CropPlan | None, tracks: Sequence[Track], footer: str = ""
) -> BgrImage:
    """A new picture with everything drawn in; `bgr` [h, w, 3] stays as it is.

    Boxes may reach beyond the picture; what lies outside is not drawn. Lines and letters grow with the picture.

    Args:
        bgr: the frame.
        regions: what attention found: thin and dashed, in the colour of their label's group.
        plan: the windows that were cropped: thin, dotted, black and white.
        tracks: confirmed ones are drawn solid with `label id score`, lost ones thin and dim.
        footer: a line for the lower left corner.
    """
    out: BgrImage = bgr.copy()
    unit = max(min(out.shape[:2]) / 540, 0.5)
    thin, thick = max(1, round(unit)), max(2, round(2 * unit))
    if plan is not None:
        for window in plan.windows.tolist():
            # Black dots between the white ones: one of them shows on any ground.
            _dashed(out, tuple(window), WINDOW, thin, dash=2 * thin, gap=6 * thin, start=0)
            _dashed(out, tuple(window), DARK, thin, dash=2 * thin, gap=6 * thin, start=2 * thin)
    if regions is not None:
        for i, box in enumerate(regions.boxes.tolist()):
            _dashed(out, tuple(box), _colour(regions.name(i)), thin, dash=7 * thin, gap=5 * thin, start=0)
    shown = [(t, box) for t in tracks if t.confirmed and (box := _pixels(t.box, out)) is not None]
    for track, box in shown:
        _outline(out, box, _track_colour(track), thin if track.lost else thick)
    for track, box in shown:  # after all outlines, so that none runs through a tag
        text = f"{track.label} {track.id} " + ("lost" if track.lost else f"{track.score:.2f}")
        _tag(out, text, box[0], box[1], _track_colour(track), unit)
    if footer:
        _tag(out, footer, 0, out.shape[0], DARK, unit)
    return out


def contrast(a: Colour, b: Colour) -> float:
    """How well `a` stands out from `b`, both BGR: 1 (not at all) to 21 (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((_luminance(a), _luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0 to 1."""
    blue, green, red = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour))
    return 0.0722 * blue + 0.7152 * green + 0.2126 * red


def _colour(label: str) -> Colour:
    return COLOURS.get(group_of(label), OTHER)


def _track_colour(track: Track) -> Colour:
    blue, green, red = _colour(track.label)
    return (round(blue * DIM), round(green * DIM), round(red * DIM)) if track.lost else (blue, green, red)


def _pixels(box: Box, out: BgrImage) -> Pixels | None:
    """The first and last column and row of a box as x1, y1, x2, y2, both drawn; None where nothing of it is in view.

    A side beyond the picture lands a little outside it: it is not seen, and no drawing loop runs far.
    """
    height, width = out.shape[:2]
    beyond = 64
    x1, x2 = (round(min(max(x, -beyond), width + beyond)) for x in (box[0], box[2]))
    y1, y2 = (round(min(max(y, -beyond), height + beyond)) for y in (box[1], box[3]))
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0 or x2 <= x1 or y2 <= y1:
        return None
    return x1, y1, x2 - 1, y2 - 1


def _outline(out: BgrImage, box: Pixels, colour: Colour, thickness: int) -> None:
    cv2.rectangle(out, box[:2], box[2:], colour, thickness)


def _tag(out: BgrImage, text: str, x: int, y: int, ground: Colour, unit: float) -> None:
    """Text on a filled ground whose lower left corner is at x, y, moved so that it stays inside the picture."""
    scale, pad, thickness = 0.5 * unit, round(4 * unit), max(1, round(unit))
    (w, h), drop = cv2.getTextSize(text, FONT, scale, thickness)
    height, width = out.shape[:2]
    box_w, box_h = w + 2 * pad, h + drop + 2 * pad
    x = min(max(x, 0), max(width - box_w, 0))
    y = min(max(y - box_h, 0), max(height - box_h, 0))
    cv2.rectangle(out, (x, y), (x + box_w - 1, y + box_h - 1), ground, -1)
    ink = max(DARK, LIGHT, key=lambda c: contrast(c, ground))
    cv2.putText(out, text, (x + pad, y + pad + h), FONT, scale, ink, thickness, cv2.LINE_AA)


def _dashed(out: BgrImage, box: Box, colour: Colour, thickness: int, *, dash: int, gap: int, start: int) -> None:
    """The outline of a box in strokes of `dash` pixels, `gap` pixels apart, the first `start` pixels from the corner.

    By index arrays: a call of OpenCV per stroke takes ten times as long for a window across the picture.
    """
    corners = _pixels(box, out)
    if corners is None:
        return
    height, width = out.shape[:2]
    x1, y1, x2, y2 = corners
    xs = np.arange(max(x1, 0), min(x2 + 1, width))
    ys = np.arange(max(y1, 0), min(y2 + 1, height))
    xs = xs[(xs - x1 - start) % (dash + gap) < dash]
    ys = ys[(ys - y1 - start) % (dash + gap) < dash]
    for y in (y1, y2 - thickness + 1):
        out[max(y, 0) : max(y + thickness, 0), xs] = colour
    for x in (x1, x2 - thickness + 1):
        out[ys, max(x, 0) : max(x + thickness, 0)] = colour
