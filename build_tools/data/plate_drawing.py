"""Draws number plates in the manner of several countries, for a reader to learn from where no photos are free.

Formats and colours are the countries' own; letters are those of `plate_glyphs`. Nobody's number is drawn on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from build_tools.data.plate_glyphs import ALPHABET, F32, Pen, put, write

Bgr = NDArray[np.uint8]
Colour = tuple[int, int, int]

BLACK, WHITE, BLUE, YELLOW = (20, 20, 20), (240, 240, 240), (170, 70, 10), (20, 190, 240)
GREEN, RED, SILVER = (70, 140, 30), (30, 30, 170), (190, 190, 190)
HEIGHT_PX = 56
"""Of a plate as it is drawn: more than the reader sees of it."""
DIGITS, LETTERS = ALPHABET[:10], ALPHABET[10:]


@dataclass(frozen=True, slots=True)
class Style:
    """How the plates of a country look.

    Attributes:
        patterns: L a letter, D a digit, A either, # a sign that is not read, - a dash or dot, blank a gap.
        aspect: width over height, from and to.
        paints: ground and ink, BGR.
        tall: height of the characters over that of the plate, from and to.
        left: share of the width that a strip of blue takes on the left.
        top: share of the height that a band of the ink's colour takes.
        lines: small writing above and below.
        letters: that are used.
        weight: how often it is drawn.
    """

    patterns: tuple[str, ...]
    aspect: tuple[float, float]
    paints: tuple[tuple[Colour, Colour], ...]
    tall: tuple[float, float] = (0.55, 0.72)
    left: float = 0.0
    top: float = 0.0
    lines: bool = False
    letters: str = LETTERS
    weight: float = 1.0


NO_IO = LETTERS.replace("I", "").replace("O", "")
STYLES: tuple[Style, ...] = (
    Style(("#L-AAAAA", "#L-DDDDD", "#L-ADDDD", "#L-DDDAD", "#L-DDADD"), (2.8, 3.6),
          ((BLUE, WHITE), (BLUE, WHITE), (BLUE, WHITE), (YELLOW, BLACK), (WHITE, BLACK)), (0.55, 0.75), letters=NO_IO,
          weight=4.0),
    Style(("#L-ADDDDD", "#L-DDDDDA"), (3.0, 3.6), ((GREEN, BLACK), (WHITE, BLACK)), letters=NO_IO, weight=0.5),
    Style(("LLL DDD", "LLL-DDD"), (2.2, 3.0), ((BLACK, WHITE),), (0.42, 0.62), lines=True, weight=2.0),
    Style(("LL DDD LL",), (2.6, 3.4), ((WHITE, BLACK), (SILVER, BLACK)), (0.42, 0.62), top=0.2, lines=True, weight=2.0),
    Style(("L DD LLL", "LL DDD LL", "LL-LL DDD", "LL DDDDD", "LLL DDD", "L-LL DDDD", "DLLDDDD", "DDLLLD", "LL-DDD-LL",
           "DDDD LLL", "LLDD LLL", "L DDDDD", "LL LLLDD", "LLL DDDD"), (3.8, 5.0),
          ((WHITE, BLACK), (WHITE, BLACK), (YELLOW, BLACK)), (0.6, 0.75), left=0.09, weight=3.0),
    Style(("LLL DDDD", "LLLD DDD", "DLLLDDD", "LLL DDD", "DDD LLL", "LDDDDD", "LL DDDDD", "DDDDDD"), (1.9, 2.3),
          ((WHITE, BLUE), (WHITE, BLACK), (WHITE, RED), (YELLOW, BLACK), (BLUE, YELLOW), (WHITE, GREEN)), (0.4, 0.55),
          lines=True, weight=1.5),
    Style(("LLL-DDDD", "LLLDLDD"), (2.8, 3.3), ((SILVER, BLACK), (WHITE, BLACK), (RED, WHITE)), (0.48, 0.62), top=0.22,
          weight=1.0),
    Style(("LLDDLLDDDD", "AAAAAA", "AAAAAAA", "AAAAA", "AAAAAAAA", "LDDDLL", "LDDDLLDD", "LLLLDDD"), (2.4, 5.0),
          ((WHITE, BLACK), (BLACK, WHITE), (YELLOW, BLACK), (BLUE, WHITE), (GREEN, WHITE)), (0.45, 0.75), weight=2.0),
)  # fmt: skip


def draw(rng: np.random.Generator, styles: tuple[Style, ...] = STYLES) -> tuple[Bgr, str]:
    """A plate with a little around it, uint8 [h, w, 3] BGR, and its text of A-Z and 0-9."""
    weights = np.array([s.weight for s in styles])
    style = styles[int(rng.choice(len(styles), p=weights / weights.sum()))]
    pattern = style.patterns[int(rng.integers(len(style.patterns)))]
    written = "".join(_character(rng, sign, style.letters) for sign in pattern)
    ground, ink = style.paints[int(rng.integers(len(style.paints)))]
    plate = _plate(rng, written, style, ground, ink)
    return _mounted(rng, plate, ground), "".join(c for c in written if c in ALPHABET)


def _character(rng: np.random.Generator, sign: str, letters: str) -> str:
    if sign == "A":
        sign = "D" if rng.random() < 0.65 else "L"
    among = {"L": letters, "D": DIGITS}.get(sign)
    return sign if among is None else among[int(rng.integers(len(among)))]


def _plate(rng: np.random.Generator, written: str, style: Style, ground: Colour, ink: Colour) -> Bgr:
    h = HEIGHT_PX
    w = round(h * rng.uniform(*style.aspect))
    mask = np.zeros((h, w), np.uint8)
    top = round(h * style.top * rng.uniform(0.7, 1.2)) if style.top and rng.random() < 0.9 else 0
    left = round(w * style.left * rng.uniform(0.8, 1.2)) if style.left and rng.random() < 0.8 else 0
    tall = h * rng.uniform(*style.tall)
    free = h - top - tall
    y = top + free * rng.uniform(0.35, 0.65)
    _write_line(rng, mask, written, (left + w * rng.uniform(0.01, 0.05), w * rng.uniform(0.95, 0.99)), y, tall)
    if style.lines and rng.random() < 0.8:
        for at in (max(top * 0.2, 1.0), y + tall + free * 0.2):
            if rng.random() < 0.7:
                _small_print(rng, mask, at, min(max(top * 0.6, free * 0.3), h * 0.13))
    if rng.random() < 0.5:
        inset = int(rng.integers(0, 3))
        cv2.rectangle(mask, (inset, inset), (w - 1 - inset, h - 1 - inset), 255, int(rng.integers(1, 3)))
    paper, pigment = (_near(rng, colour, 28) for colour in (ground, ink))
    plate: F32 = np.empty((h, w, 3), np.float32)
    plate[:] = paper
    if top:
        plate[:top] = _near(rng, BLUE if rng.random() < 0.6 else ink, 30)
    if left:
        plate[:, :left] = _near(rng, BLUE, 40)
        mask[round(h * 0.1) : round(h * 0.4), round(left * 0.2) : round(left * 0.8)] = 160
    share = (mask.astype(np.float32) / 255)[..., None]
    if rng.random() < 0.3:  # stamped letters throw a shadow
        moved = np.roll(share, (1, 1), (0, 1))
        plate *= 1 - np.clip(moved - share, 0, 1) * np.float32(rng.uniform(0.1, 0.5))
    plate = np.asarray(plate * (1 - share) + pigment * share, np.float32)
    for _ in range(int(rng.integers(0, 5))):  # screws and dirt
        place = int(rng.integers(w)), int(rng.choice([0.08, 0.12, 0.9]) * h)
        cv2.circle(plate, place, int(rng.integers(1, 4)), _near(rng, SILVER, 100).tolist(), -1, cv2.LINE_AA)
    return np.clip(plate, 0, 255).astype(np.uint8)


def _write_line(
    rng: np.random.Generator, mask: Bgr, written: str, span: tuple[float, float], y: float, tall: float
) -> None:
    """Write the characters between two columns, squeezed where they would not fit."""
    pen = Pen.drawn(rng)
    gap = float(rng.uniform(0.08, 0.26))
    wide = [{" ": rng.uniform(0.1, 0.5), "-": rng.uniform(0.1, 0.3)}.get(c, pen.width) for c in written]
    total = (sum(wide) + gap * (len(written) - 1)) * tall
    room = span[1] - span[0] - pen.thickness * tall
    squeeze = min(1.0, room / total) if rng.random() < 0.7 else room / total
    squeeze = min(squeeze, 1.35)
    # Squeezed letters have thinner strokes, or their holes close.
    pen = replace(pen, width=pen.width * squeeze, thickness=min(pen.thickness, 0.3 * pen.width * squeeze))
    x = span[0] + pen.thickness * tall / 2 + (room - total * squeeze) / 2
    dash = rng.random() < 0.5
    for sign, width in zip(written, wide, strict=True):
        at = (x, y)
        if sign == "#":
            _foreign_sign(rng, mask, at, tall, pen)
        elif sign == "-":
            middle = np.array([[x, y + tall / 2], [x + width * tall * squeeze * (0.8 if dash else 0.05), y + tall / 2]])
            put(mask, middle.astype(np.float32), pen.thickness * tall)
        elif sign != " ":
            write(mask, sign, at, tall, pen)
        x += (width + gap) * tall * squeeze


def _foreign_sign(rng: np.random.Generator, mask: Bgr, at_xy: tuple[float, float], tall: float, pen: Pen) -> None:
    """Strokes that look like a sign of another script, which is not read."""
    for _ in range(int(rng.integers(5, 10))):
        a, b = rng.random(2)
        along, low, high = rng.random(), min(a, b) * 0.6, max(a, b) * 0.6 + 0.4
        kind = rng.random()
        ends = [[low, along], [high, along]] if kind < 0.45 else [[along, low], [along, high]]
        if kind > 0.85:
            ends = [[a, low], [b, high]]
        points: F32 = np.array(ends, np.float32) * np.array([pen.width * 1.1, 1.0], np.float32) * np.float32(tall)
        put(mask, points + np.array(at_xy, np.float32), pen.thickness * tall * 0.5)


def _small_print(rng: np.random.Generator, mask: Bgr, y: float, tall: float) -> None:
    """A line of small letters, such as the name of the land."""
    letters = "".join(LETTERS[int(i)] for i in rng.integers(0, 26, int(rng.integers(6, 20))))
    w = mask.shape[1]
    inset = w * rng.uniform(0.1, 0.35)
    line = np.zeros_like(mask)
    _write_line(rng, line, letters, (inset, w - inset), y, tall)
    np.maximum(mask, (line * rng.uniform(0.4, 1.0)).astype(np.uint8), out=mask)


def _mounted(rng: np.random.Generator, plate: Bgr, ground: Colour) -> Bgr:
    """The plate on something, a border of it in view."""
    h, w = plate.shape[:2]
    up, down = (round(h * m) for m in rng.uniform(0.02, 0.3, 2))
    left, right = (round(w * m) for m in rng.uniform(0.02, 0.14, 2))
    canvas = np.empty((h + up + down, w + left + right, 3), np.float32)
    body = rng.uniform(0, 255) if rng.random() < 0.5 else rng.uniform(0, 70)
    rows = np.linspace(-1, 1, len(canvas), dtype=np.float32)[:, None, None]
    canvas[:] = np.clip(body + rng.normal(0, 15, 3), 0, 255) + rows * np.float32(rng.normal(0, 25))
    edges = rng.integers(0, 4)
    for _ in range(int(edges)):  # bumpers and shadows
        y = int(rng.choice([rng.integers(0, up + 1), rng.integers(h + up, len(canvas) + 1)]))
        cv2.line(canvas, (0, y), (canvas.shape[1], y), rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 6)))
    if rng.random() < 0.4:  # a frame around it
        thick = int(rng.integers(1, 6))
        shade = _near(rng, BLACK if rng.random() < 0.6 else WHITE, 40).tolist()
        cv2.rectangle(canvas, (left - thick, up - thick), (left + w + thick, up + h + thick), shade, -1)
    canvas[up : up + h, left : left + w] = plate
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _near(rng: np.random.Generator, colour: Colour, spread: float) -> F32:
    return np.clip(np.array(colour) + rng.normal(0, spread, 3) / 2, 0, 255).astype(np.float32)
