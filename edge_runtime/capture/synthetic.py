"""Made-up scenes with known truth: person-like and car-like figures that cross a textured ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.capture.timeline import Timeline
from edge_runtime.clock import Clock
from edge_runtime.config import CameraConfig
from edge_runtime.datatypes import BgrImage, Frame
from edge_runtime.imaging.lores import make_lores

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Lane:
    """One figure that crosses the picture again and again.

    Attributes:
        label: `person` or `car`.
        size_wh: of the figure, pixels.
        top: y of its upper edge, pixels.
        step_px: pixels a frame; negative: to the left.
        period_px: pixels from one crossing's start to the next one's.
        phase_px: where in that period frame 0 is.
        colour_bgr: of its body.
    """

    label: str
    size_wh: tuple[int, int]
    top: int
    step_px: float
    period_px: float
    phase_px: float
    colour_bgr: tuple[int, int, int]

    def left(self, seq: int, width: int) -> int:
        """x of the figure's left edge in frame `seq` of a picture that is `width` wide; may lie outside."""
        gone_px = math.floor((self.phase_px + seq * abs(self.step_px)) % self.period_px)
        return gone_px - self.size_wh[0] if self.step_px > 0 else width - gone_px


class SyntheticSource:
    """Scenes of `config.size_wh` at `config.fps`; the same seed gives the same pixels.

    Args:
        config: size, rate and lores size.
        clock: where times come from.
        seed: of the scene.
        frames: after how many frames it ends; None: never.
        paced: frames come when they are due; false: at once.
        start_ns: `captured_ns` of frame 0; None: when it is read.
    """

    def __init__(
        self,
        config: CameraConfig,
        clock: Clock,
        *,
        seed: int = 0,
        frames: int | None = None,
        paced: bool = False,
        start_ns: int | None = None,
    ) -> None:
        self.name = "synthetic scene"
        self.live = False
        self._config = config
        self._clock = clock
        self._frames = frames
        self._paced = paced
        self._start_ns = start_ns
        rng = np.random.default_rng(seed)
        self._lanes = _lanes(config.size_wh, config.fps, rng)
        self._ground = _ground(config.size_wh, rng)
        self._seq = 0
        self._timeline = Timeline(clock, paced, start_ns)

    def __enter__(self) -> Self:
        self._seq = 0
        self._timeline = Timeline(self._clock, self._paced, self._start_ns)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def read(self) -> Frame | None:
        if self._frames is not None and self._seq >= self._frames:
            return None
        seq, self._seq = self._seq, self._seq + 1
        media_s = seq / self._config.fps
        main = self.picture(seq)
        lores = make_lores(main, self._config.lores_wh)
        return Frame(main, lores, self._timeline.reach(media_s), seq, media_s)

    def truth(self, frame_seq: int) -> list[tuple[str, Box]]:
        """Label and box (xyxy, full-frame pixels, cut at the borders) of each figure seen in that frame."""
        width, height = self._config.size_wh
        seen: list[tuple[str, Box]] = []
        for lane in self._lanes:
            left = lane.left(frame_seq, width)
            x1, x2 = max(left, 0), min(left + lane.size_wh[0], width)
            y1, y2 = max(lane.top, 0), min(lane.top + lane.size_wh[1], height)
            if x1 < x2 and y1 < y2:
                seen.append((lane.label, (float(x1), float(y1), float(x2), float(y2))))
        return seen

    def picture(self, frame_seq: int) -> BgrImage:
        """The pixels [h, w, 3] of that frame."""
        canvas = self._ground.copy()
        width = self._config.size_wh[0]
        for lane in sorted(self._lanes, key=lambda lane: lane.top + lane.size_wh[1]):
            draw = _draw_person if lane.label == "person" else _draw_car
            draw(canvas, lane, lane.left(frame_seq, width), frame_seq)
        return canvas


def _lanes(size_wh: tuple[int, int], fps: float, rng: np.random.Generator) -> list[Lane]:
    """Two walkers and two cars, sized and paced for the picture; a crossing takes 4 to 10 s."""
    width, height = size_wh
    lanes: list[Lane] = []
    for label, share_h, aspect in (
        ("car", 0.16, 2.2),
        ("person", 0.3, 0.36),
        ("car", 0.2, 2.2),
        ("person", 0.4, 0.36),
    ):
        figure_h = max(8, round(height * share_h * rng.uniform(0.85, 1.15)))
        figure_w = max(4, round(figure_h * aspect))
        # Further away is smaller and higher up, as seen from above a door.
        top = round(height * (0.3 + share_h) * rng.uniform(0.9, 1.1))
        crossing_s = rng.uniform(4, 10)
        path_px = width + figure_w
        step_px = path_px / (crossing_s * fps) * (1 if rng.random() < 0.5 else -1)
        period_px = path_px * rng.uniform(1.2, 1.6)
        phase_px = rng.uniform(0, period_px)
        red, green, blue = (int(channel) for channel in rng.integers(20, 236, 3))
        lanes.append(Lane(label, (figure_w, figure_h), top, step_px, period_px, phase_px, (blue, green, red)))
    return lanes


def _ground(size_wh: tuple[int, int], rng: np.random.Generator) -> BgrImage:
    """Asphalt-like texture at three scales, darker towards the top, with a kerb."""
    width, height = size_wh
    texture: NDArray[np.float32] = np.full((height, width), 110, np.float32)
    for cell_px, strength in ((2, 7.0), (12, 10.0), (70, 14.0)):
        grid = rng.normal(0, strength, (height // cell_px + 2, width // cell_px + 2)).astype(np.float32)
        texture += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    texture += np.linspace(-25, 15, height, dtype=np.float32)[:, None]
    kerb = round(height * 0.25)
    texture[kerb : kerb + max(2, height // 90)] += 45
    tint = np.array((1.02, 1.0, 0.97), np.float32)
    return np.asarray(np.clip(texture[:, :, None] * tint, 0, 255), np.uint8)


def _draw_person(canvas: BgrImage, lane: Lane, left: int, seq: int) -> None:
    """Head, trunk and two swinging legs that together fill the figure's box."""
    width, height = lane.size_wh
    right, bottom = left + width - 1, lane.top + height - 1
    head_h = max(2, height // 6)
    hips = lane.top + round(height * 0.55)
    skin, trousers = (150, 180, 220), (60, 50, 45)
    centre = (left + right) // 2
    swing = math.sin(seq * 0.7) * 0.5 + 0.5
    for foot in (left + round(swing * (width // 3)), right - round(swing * (width // 3))):
        leg = np.array([(centre - width // 6, hips), (centre + width // 6, hips), (foot, bottom)], np.int32)
        cv2.fillConvexPoly(canvas, leg, trousers)
    cv2.rectangle(canvas, (left, lane.top + head_h), (right, hips), lane.colour_bgr, cv2.FILLED)
    head = (centre, lane.top + head_h // 2)
    cv2.ellipse(canvas, head, (max(1, width // 4), head_h // 2), 0, 0, 360, skin, cv2.FILLED)


def _draw_car(canvas: BgrImage, lane: Lane, left: int, seq: int) -> None:
    """Body, cabin with windows and two wheels that together fill the figure's box."""
    width, height = lane.size_wh
    right, bottom = left + width - 1, lane.top + height - 1
    wheel = max(1, height // 6)
    waist = lane.top + height // 2
    cabin = np.array(
        [
            (left + width // 5, waist),
            (left + width // 3, lane.top),
            (right - width // 3, lane.top),
            (right - width // 6, waist),
        ],
        np.int32,
    )
    cv2.fillConvexPoly(canvas, cabin, lane.colour_bgr)
    inset = max(1, height // 12)
    glass = (left + width // 3, lane.top + inset), (right - width // 3, waist - inset)
    cv2.rectangle(canvas, glass[0], glass[1], (70, 60, 50), cv2.FILLED)
    cv2.rectangle(canvas, (left, waist), (right, bottom - wheel), lane.colour_bgr, cv2.FILLED)
    for hub in (left + width // 5, right - width // 5):
        cv2.circle(canvas, (hub, bottom - wheel), wheel, (25, 25, 25), cv2.FILLED)
