"""Somebody or something is at the camera: `tamper` and `tamper_clear`, by what the small picture has lost.

A reference of the scene is learnt as a slow mean, and each look is held against it: how much of the scene's structure
is still in its place, and how much detail it has. A view that is gone and flat is covered, or blinded where it is
bright; one in its place but soft is defocused; one with detail but elsewhere is moved. Noise and repeated pictures need
no reference. Evidence is summed over time, and an alarm ends at other limits than it began at, so that none flaps.

With the times of `TamperConfig` a cover or a light is told of within 4 s, a picture that repeats within 11 s, the
rest within 10 s, and the end of each within 3 s. A view moved by 8 % of its width or turned by 8 degrees is told of,
one moved by 3 % only where the scene has structure across the movement.

What cannot be told: a node that starts under a cover has never seen the scene, a lamp switched off in a room without
any other light looks like a cover, and where a scene shows fewer than `CELLS_MIN` cells of lasting structure (a blank
wall, a night without light) nothing is there to be lost. Night that falls over minutes is learnt, not reported.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_runtime.config import TamperConfig
from edge_runtime.datatypes import BgrImage, Event, TamperKind
from edge_runtime.events.appearance import Moment
from edge_runtime.events.explanation import Explanation, Listener
from edge_runtime.events.tamper_features import Features, correlation, energy, features
from edge_runtime.events.tamper_reasons import Comparison, facts, reason

Evidence = Literal[-1, 0, 1]
"""1: the sign is there; -1: clearly not; 0: between the two limits, or nobody can tell."""

SCENE: tuple[TamperKind, ...] = ("covered", "blinded", "defocused", "moved")
"""While one of these is seen, or stands, the reference learns nothing."""
LOOK_MAX_S = 1.0
"""One look speaks for at most this long: a gap in the frames is no evidence."""
COHERENT = 0.25
"""A cell has structure when its mean field keeps this share of its mean energy; noise and passers-by do not."""
STRUCTURE_MIN = 3.0
"""Mean square gradient, grey levels squared, below which a cell is blank. Empty asphalt: about 1."""
CELLS_MIN = 4
"""With fewer cells of structure there is nothing to hold a picture against."""
AGREES = 0.5
"""Correlation with the reference from which a cell counts as in its place."""
FLAT_DETAIL, FLAT_CONTRAST = 0.1, 0.05
"""Shares of the reference's energies at which all structure counts as gone. Under hands and cloths here: detail
0.04 or less, or with more noise contrast 0.045 or less; of views turned away: detail 0.2, contrast 0.08 or more."""
WASHED_LEVEL, WASHED_CONTRAST = 200.0, 0.1
"""Mean grey level, and share of the reference's energy, at which a picture is washed out by light."""
HYSTERESIS = 1.5
"""An alarm ends at a limit so many times further than the one it began at."""
TINY = 1e-3
"""Far below any energy a picture of whole grey levels has; keeps blank cells from dividing by nothing."""
BLANK = 0.5
"""Mean square gradient up to which every cell must lie for a picture to be all black or all white."""


class Alarm:
    """Evidence summed over time: raised after `raise_s` of it, cleared after `clear_s` of its contrary.

    Whatever does not speak for a change takes back as much as what speaks for it gives.
    """

    def __init__(self, raise_s: float, clear_s: float) -> None:
        self.raise_s, self.clear_s = raise_s, clear_s
        self._for_s = 0.0
        self.raised = False

    def step(self, evidence: Evidence, seconds: float) -> bool:
        """Count evidence that stood for `seconds`; whether that raised or cleared the alarm."""
        wanted, needed_s = (-1, self.clear_s) if self.raised else (1, self.raise_s)
        if evidence != wanted:
            self._for_s = max(0.0, self._for_s - seconds)
            return False
        self._for_s += seconds
        if self._for_s < needed_s:
            return False
        self.raised, self._for_s = not self.raised, 0.0
        return True


class Reference:
    """The scene as it mostly is; two verbs: `learn` from a look, `compare` one.

    Args:
        learn_s: nothing is compared before so much was learnt; until then all looks weigh alike.
        adapt_s: time constant of the mean after that.
    """

    def __init__(self, learn_s: float, adapt_s: float) -> None:
        self._learn_s, self._adapt_s = learn_s, adapt_s
        self._looks, self._for_s = 0, 0.0
        self._field = self._structure = self._detail = np.zeros(0, np.float32)

    def learn(self, look: Features, seconds: float) -> None:
        """Take a look that stands for `seconds` into the means; a picture of another size starts them anew."""
        if self._looks and look.field.shape != self._field.shape:
            self._looks, self._for_s = 0, 0.0
        self._looks += 1
        self._for_s += seconds
        weight = np.float32(seconds / self._adapt_s if self._for_s > self._learn_s else 1 / self._looks)
        if self._looks == 1:
            self._field, self._structure, self._detail = look.field, look.structure, look.detail
            return
        self._field = self._field + weight * (look.field - self._field)
        self._structure = self._structure + weight * (look.structure - self._structure)
        self._detail = self._detail + weight * (look.detail - self._detail)

    def compare(self, look: Features) -> Comparison | None:
        """The look held against the scene; None while nobody can tell."""
        if self._for_s < self._learn_s or look.field.shape != self._field.shape:
            return None
        steady = (energy(self._field) >= COHERENT * self._structure) & (self._structure >= STRUCTURE_MIN)
        if np.count_nonzero(steady) < CELLS_MIN:
            return None
        in_place = correlation(look.field, self._field)[steady] >= AGREES
        contrast = look.structure / np.maximum(self._structure, TINY)
        sharpness = look.detail / np.maximum(self._detail, TINY) / np.maximum(contrast, TINY)
        return Comparison(
            kept=float(np.mean(in_place)),
            contrast=float(look.structure.sum() / self._structure.sum()),
            detail=float(look.detail.sum() / max(self._detail.sum(), TINY)),
            sharpness=float(np.median(sharpness[steady][in_place])) if in_place.any() else 0.0,
        )


class Tamper:
    """Looks at the small picture a few times a second; one verb: `update`.

    Args:
        config: limits and times.
        listener: told why an alarm was raised or cleared, or was not.

    Attributes:
        looks: how many pictures were examined.
    """

    def __init__(self, config: TamperConfig, listener: Listener | None = None) -> None:
        c = self._config = config
        self._listening, self._explanation = listener is not None, Explanation(listener)
        raise_s: dict[TamperKind, float] = {
            "covered": c.raise_s, "blinded": c.raise_s, "defocused": c.scene_s,
            "moved": c.scene_s, "frozen": c.frozen_s, "noise": c.scene_s,
        }  # fmt: skip
        self._alarms = {kind: Alarm(raise_s[kind], c.clear_s) for kind in c.kinds}
        self._reference = Reference(c.learn_s, c.adapt_s)
        self._look: Features | None = None
        self._at_ns = 0
        self._moved_ns: int | None = None
        self._elsewhere = False
        self.looks = 0

    @property
    def raised(self) -> tuple[TamperKind, ...]:
        """The alarms that stand."""
        return tuple(kind for kind, alarm in self._alarms.items() if alarm.raised)

    def update(self, lores_bgr: BgrImage, moment: Moment) -> list[Event]:
        """The alarms that one frame raises and clears; most frames are not looked at.

        Args:
            lores_bgr: uint8 [h, w, 3], the frame's small picture.
            moment: when the frame was.
        """
        if not self._config.enabled or (self._look and moment.at_ns - self._at_ns < self._config.every_s * 1e9):
            return []
        seconds = 0.0 if self._look is None else min((moment.at_ns - self._at_ns) / 1e9, LOOK_MAX_S)
        look = self._look = features(lores_bgr, self._look)
        self._at_ns = moment.at_ns
        self.looks += 1
        against = self._reference.compare(look)
        seen = self._evidence(look, against)
        if not look.repeated and not any(seen[k] == 1 or self._alarms[k].raised for k in SCENE if k in self._alarms):
            self._reference.learn(look, seconds)
        changed = [kind for kind, alarm in self._alarms.items() if alarm.step(seen[kind], seconds)]
        if "covered" in changed and "covered" not in self.raised and seen["moved"] == 1 and "moved" in self._alarms:
            # Something is seen, but not the scene: the camera was turned to a blank wall, and that is no cover.
            self._elsewhere = True
        if self._listening:
            for kind in self._alarms:
                self._explain(kind, seen[kind], kind in changed, facts(kind, look, against), moment)
        self._accept(moment.at_ns)
        return [
            Event("tamper" if kind in self.raised else "tamper_clear", moment.at_ns, moment.media_s, kind=kind)
            for kind in changed
        ]

    def _explain(self, kind: TamperKind, seen: Evidence, changed: bool, measured: str, moment: Moment) -> None:
        alarm = self._alarms[kind]
        # After a change the next one would be its contrary; what is said is how much this one took.
        needed_s = alarm.clear_s if alarm.raised != changed else alarm.raise_s
        key, text = reason(seen, alarm.raised, changed, needed_s, measured)
        self._explanation.note(moment, None, f"tamper {kind}", key, text, fired=changed)

    def _evidence(self, look: Features, against: Comparison | None) -> dict[TamperKind, Evidence]:
        """What speaks for and against each alarm."""
        c = self._config
        white = _above(look.white_share, c.white_share)
        # A sensor that sees nothing but black or white has no noise that could change.
        featureless = float(look.structure.max()) <= BLANK
        frozen: Evidence = -1 if not look.repeated else 0 if featureless else 1
        noise: Evidence = 0 if look.noise is None or look.repeated else _above(look.noise, c.noise_level)
        if against is None:
            return {
                "covered": -1, "blinded": white, "defocused": -1, "moved": -1, "frozen": frozen, "noise": noise,
            }  # fmt: skip
        # Evidence is a logic of three values: `min` is "and", `max` is "or".
        washed = min(_above(look.brightness, WASHED_LEVEL), _below(against.contrast, WASHED_CONTRAST))
        blinded = max(white, washed)
        gone = _below(against.kept, c.kept_share)
        self._elsewhere = self._elsewhere and gone != -1
        flat = max(_below(against.detail, FLAT_DETAIL), _below(against.contrast, FLAT_CONTRAST))
        flat = -1 if self._elsewhere else flat
        covered: Evidence = 0 if blinded == 1 else min(gone, flat)
        defocused: Evidence = 0 if gone == 1 or blinded == 1 else _below(against.sharpness, c.sharp_share)
        moved: Evidence = gone if gone != 1 else 1 if flat == -1 and blinded != 1 else 0
        return {
            "covered": covered, "blinded": blinded, "defocused": defocused,
            "moved": moved, "frozen": frozen, "noise": noise,
        }  # fmt: skip

    def _accept(self, now_ns: int) -> None:
        """Learn the scene anew when the camera has looked elsewhere for long: somebody wants it to look there."""
        c = self._config
        if "moved" not in self.raised:
            self._moved_ns = None
        elif self._moved_ns is None:
            self._moved_ns = now_ns
        elif c.accept_s and now_ns - self._moved_ns >= c.accept_s * 1e9 and not {"covered", "blinded"} & {*self.raised}:
            self._reference, self._elsewhere = Reference(c.learn_s, c.adapt_s), False


def _above(value: float, limit: float) -> Evidence:
    """Whether the value has risen to the limit, or lies clearly below it."""
    return 1 if value >= limit else -1 if value <= limit / HYSTERESIS else 0


def _below(value: float, limit: float) -> Evidence:
    """Whether the value has fallen to the limit, or lies clearly above it."""
    return 1 if value <= limit else -1 if value >= limit * HYSTERESIS else 0
