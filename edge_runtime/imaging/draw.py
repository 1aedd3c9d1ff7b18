"""Draws what the node sees: regions dashed, crop windows dotted, tracks solid with a tag."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from edge_runtime.datatypes import BgrImage, CropPlan, Detections, Track, group_of

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

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
FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(
    bgr: BgrImage, regions: Detections | None, plan: CropPlan | None, tracks: Sequence[Track], footer: str = ""
) -> BgrImage:
    """A new picture with everything drawn in; `bgr` [h, w, 3] stays as it is.

    Args:
        bgr: the frame.
        regions: what attention found: thin and dashed.
        plan: the windows that were cropped: thin, dotted, white.
        tracks: confirmed ones are drawn solid with `label id score`, lost ones thin.
        footer: a line for the lower left corner.
    """
    out: BgrImage = bgr.copy()
    unit = max(min(out.shape[:2]) / 540, 0.5)
    thin, thick = max(1, round(unit)), max(2, round(2 * unit))
    if plan is not None:
        for window in plan.windows.tolist():
            _dashed(out, tuple(window), WINDOW, thin, dash=2 * thin, gap=5 * thin)
    if regions is not None:
        for i, box in enumerate(regions.boxes.tolist()):
            _dashed(out, tuple(box), _colour(regions.name(i)), thin, dash=7 * thin, gap=5 * thin)
    for track in tracks:
        if track.confirmed:
            _tracked(out, track, thin if track.lost else thick, unit)
    if footer:
        _tag(out, footer, (0.0, float(out.shape[0])), DARK, unit, above=True)
    return out


def _colour(label: str) -> Colour:
    return COLOURS.get(group_of(label), OTHER)


def _tracked(out: BgrImage, track: Track, width: int, unit: float) -> None:
    colour = _colour(track.label)
    x1, y1, x2, y2 = (round(v) for v in track.box)
    cv2.rectangle(out, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)
    text = f"{track.label} {track.id}" + (" lost" if track.lost else f" {track.score:.2f}")
    _tag(out, text, (track.box[0], track.box[1]), colour, unit, above=True)


def _tag(out: BgrImage, text: str, corner_xy: tuple[float, float], colour: Colour, unit: float, *, above: bool) -> None:
    """Text on a filled ground at a corner, moved so that it stays inside the picture."""
    scale, pad = 0.5 * unit, round(4 * unit)
    (w, h), drop = cv2.getTextSize(text, FONT, scale, max(1, round(unit)))
    height, width = out.shape[:2]
    x = min(max(round(corner_xy[0]), 0), max(width - w - 2 * pad, 0))
    y = round(corner_xy[1]) - (h + drop + 2 * pad if above else 0)
    y = min(max(y, 0), max(height - h - drop - 2 * pad, 0))
    cv2.rectangle(out, (x, y), (x + w + 2 * pad, y + h + drop + 2 * pad), colour, -1)
    bright = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 120
    ink = DARK if bright else (255, 255, 255)
    cv2.putText(out, text, (x + pad, y + pad + h), FONT, scale, ink, max(1, round(unit)), cv2.LINE_AA)


def _dashed(out: BgrImage, box: Box, colour: Colour, width: int, dash: int, gap: int) -> None:
    """The outline of a box in strokes of `dash` pixels, `gap` pixels apart."""
    height, wide = out.shape[:2]
    x1, y1, x2, y2 = (round(v) for v in box)
    for x in range(x1, x2, dash + gap):
        for y in (y1, y2 - 1):
            if 0 <= y < height:
                cv2.line(out, (max(x, 0), y), (min(x + dash, x2, wide), y), colour, width)
    for y in range(y1, y2, dash + gap):
        for x in (x1, x2 - 1):
            if 0 <= x < wide:
                cv2.line(out, (x, max(y, 0)), (x, min(y + dash, y2, height)), colour, width)
