"""Parking slots: free -> arriving -> occupied -> leaving -> free, from what a classifier says now and then.

A look speaks for occupied, for free, or for neither. Whatever speaks for a change is summed over time, and what speaks
against it takes as much back, so that a car that drives past, a lorry in the way or a light that sweeps over a slot
changes nothing as long as it is gone before `min_dwell_s` is over. A change needs two looks in succession at least.

A look that speaks for neither by itself may do so by what the looks before it were like: a slot with a bush looks half
occupied when it is free, and a car in the dark looks half free. Shadows creep and light fades; cars come and go within
seconds. So a sudden step counts, where it lasts, and takes three times as long.

What cannot be told: looks that are farther apart than cars that pass may all fall on a passing car, and whatever stands
before a slot for longer than `min_dwell_s` and hides it is taken for what it looks like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from edge_runtime.config import ParkingConfig, SlotConfig
from edge_runtime.datatypes import Event, EventType
from edge_runtime.events.appearance import Moment
from edge_runtime.events.explanation import Explanation, Listener
from edge_runtime.events.parking_reasons import Looks, Weighed

SlotState = Literal["free", "occupied"]
Phase = Literal["unknown", "free", "arriving", "occupied", "leaving"]

OCCUPIED_FROM = 0.8
FREE_UP_TO = 0.35
"""Between the two a look speaks for neither by itself, once a slot's state is known. Of 2,658 ACPDS slots of frames by
which the shipped network was trained or chosen (it is as good on others), 0.97 of those up to the one were free, and
0.86 of those from the other to 0.9 were occupied."""
LIKELIER_FROM = 0.65
"""From here on occupied is likelier than free: 0.69 of those up to 0.8 were, but 0.41 of those between 0.5 and this."""
STEP = 2.0
"""In log odds: the odds change to the sevenfold."""
ODDS_MIN = 1e-3
"""Surer than this nobody is."""
LEVEL_S = 120.0
"""Time constant with which a slot's usual look follows the light."""
LATELY_S = 30.0
"""Looks farther apart than this do not tell a step from a slow change."""
STEP_WEIGHT = 1 / 3
LOOK_MAX_S = 5.0
"""So much of the time since the look before speaks for a change at the most: a gap in which nobody looked (the camera
was lost, detection was off) is no evidence. Where looks are always farther apart it is twice as long as they are."""


class Slot:
    """One slot; one verb: `look`.

    Args:
        min_dwell_s: evidence for a change must outweigh what speaks against it by so much time.
        state: as it is known from before; None: not known.

    Attributes:
        state: `free`, `occupied`, or None while nobody knows.
        stood_s: how long the state before had stood, in seconds; None where nobody saw when that began.
        weighed: what the last look was taken for.
    """

    def __init__(self, min_dwell_s: float, state: SlotState | None = None) -> None:
        self.state = state
        self.stood_s: float | None = None
        self._needed_s = min_dwell_s
        self._candidate: SlotState | None = None
        self._for_s = 0.0
        self._again = False
        self.weighed: Weighed | None = None
        self._looked_ns: int | None = None
        self._gaps_s = math.inf, math.inf  # the last two between looks; at first nobody knows how far apart those are
        self._began_ns = 0
        self._since_ns: int | None = None
        self._level: float | None = None

    @property
    def phase(self) -> Phase:
        """The state, and whether it is about to change."""
        if self.state is None:
            return "unknown"
        if self._candidate is None:
            return self.state
        return "arriving" if self._candidate == "occupied" else "leaving"

    def look(self, probability: float, at_ns: int) -> bool:
        """Take a look into account; whether the state changed.

        Args:
            probability: that the slot is occupied, 0 to 1.
            at_ns: when it was seen, monotonic nanoseconds; not before the last look.
        """
        seconds = 0.0 if self._looked_ns is None else (at_ns - self._looked_ns) / 1e9
        self._looked_ns = at_ns
        odds = math.log(max(probability, ODDS_MIN) / max(1 - probability, ODDS_MIN))
        said, weight = self._said(probability, odds, seconds)
        counted_s = min(seconds, max(LOOK_MAX_S, 2 * min(self._gaps_s))) * weight
        before, spoken_s = self.state, self._for_s + counted_s
        changed = self._taken(said, seconds, counted_s, at_ns)
        self.weighed = Weighed(
            probability, before, said, weight, self.state if changed else self._candidate,
            spoken_s if changed else self._for_s, self._began_ns, self._needed_s,
        )  # fmt: skip
        if seconds:
            self._gaps_s = seconds, self._gaps_s[0]
        if changed or self._level is None or seconds > LATELY_S:
            self._level = odds
        elif self._candidate is None:  # what may be a change does not become usual meanwhile
            self._level += (odds - self._level) * (1 - math.exp(-seconds / LEVEL_S))
        return changed

    def _said(self, probability: float, odds: float, seconds: float) -> tuple[SlotState | None, float]:
        """What a look speaks for, and how much its time counts."""
        if self.state is None:  # what is likelier is worth more than nothing
            return "occupied" if probability >= LIKELIER_FROM else "free", 1.0
        if not FREE_UP_TO < probability < OCCUPIED_FROM:
            return "occupied" if probability >= OCCUPIED_FROM else "free", 1.0
        if self._level is not None and seconds <= LATELY_S:
            step = odds - self._level
            if step >= STEP and self.state == "free":
                return "occupied", STEP_WEIGHT
            if step <= -STEP and self.state == "occupied":
                return "free", STEP_WEIGHT
        return None, 1.0

    def _taken(self, said: SlotState | None, seconds: float, counted_s: float, at_ns: int) -> bool:
        """Go on with the candidate for a change, or not; whether the state changed."""
        if said is None or said == self.state or said != self._candidate:
            self._interrupt(said, seconds, at_ns)
            return False
        if self._again:
            self._for_s += counted_s
        elif not self._for_s:
            self._began_ns = at_ns
        enough, self._again = self._again and self._for_s >= self._needed_s, True
        if enough:
            self._change(said)
        return enough

    def _interrupt(self, said: SlotState | None, seconds: float, at_ns: int) -> None:
        """A look that does not go on with the candidate: it speaks for nothing, against it, or for a new one."""
        self._again = False
        # Doubt takes back half of what its contrary would.
        self._for_s = max(0.0, self._for_s - (seconds / 2 if said is None else seconds))
        if self._for_s:
            return
        self._candidate = None if said == self.state else said
        self._for_s, self._began_ns, self._again = 0.0, at_ns, self._candidate is not None

    def _change(self, to: SlotState) -> None:
        self.stood_s = None if self._since_ns is None else (self._began_ns - self._since_ns) / 1e9
        # Nobody saw when that began which stood at the first look.
        self._since_ns = None if self.state is None else self._began_ns
        self.state, self._candidate, self._for_s, self._again = to, None, 0.0, False


class Parking:
    """All slots of a camera. Neither I/O nor a clock: the same looks give the same events.

    A slot is told of when its state becomes known and when it changes; `slot_free` and `slot_occupied` of one slot
    alternate. Their `dwell_s` is how long the state before had stood, where both of its ends were seen.

    Args:
        slots: as configured.
        config: times.
        listener: told why a slot did or did not change.
    """

    def __init__(self, slots: Sequence[SlotConfig], config: ParkingConfig, listener: Listener | None = None) -> None:
        self._config = config
        self._explanation = Explanation(listener)
        self._looks: dict[str, Looks] = {}
        self._configured = tuple(slots)
        self._slots = {slot.name: Slot(config.min_dwell_s) for slot in slots}
        self._looked_ns: int | None = None

    def apply(self, slots: Sequence[SlotConfig]) -> None:
        """Take other slots; one that is as it was goes on, one that was drawn anew is another and not known yet."""
        kept = {slot: self._slots[slot.name] for slot in self._configured}
        self._looks = {slot.name: self._looks[slot.name] for slot in slots if slot in kept and slot.name in self._looks}
        self._configured = tuple(slots)
        self._slots = {slot.name: kept.get(slot) or Slot(self._config.min_dwell_s) for slot in slots}

    def restore(self, states: Mapping[str, SlotState]) -> None:
        """Begin with what was known before a restart; slots that are not configured any more are left out."""
        for name, state in states.items():
            if name in self._slots:
                self._slots[name] = Slot(self._config.min_dwell_s, state)

    def due(self, at_ns: int) -> bool:
        """Whether the slots are to be looked at again."""
        if not self._slots:
            return False
        return self._looked_ns is None or at_ns - self._looked_ns >= self._config.every_s * 1e9

    def update(self, probabilities: Sequence[float], moment: Moment) -> list[Event]:
        """The events of one look, in the order of the slots.

        Args:
            probabilities: that each slot is occupied, in the order in which slots are configured.
            moment: when the frame was.
        """
        self._looked_ns = moment.at_ns
        events = []
        for (name, slot), probability in zip(self._slots.items(), probabilities, strict=True):
            changed = slot.look(float(probability), moment.at_ns)
            self._explain(name, slot, moment, changed)
            if changed:
                kind: EventType = "slot_free" if slot.state == "free" else "slot_occupied"
                at_ns, media_s = moment.at_ns, moment.media_s
                events.append(Event(kind, at_ns, media_s, slot=name, dwell_s=slot.stood_s, state=slot.state))
        return events

    def unseen(self, moment: Moment, why: str) -> None:
        """Nothing can be seen of the slots now."""
        for name in self._slots:
            self._explanation.note(moment, None, f"slot {name}", why, f"not looked at: {why}")

    def finish(self, moment: Moment) -> None:
        """The clip is over, or nobody looks any more: what was about to change is said."""
        for name, looks in self._looks.items():
            self._explanation.note(moment, None, f"slot {name}", "end", looks.end())

    def _explain(self, name: str, slot: Slot, moment: Moment, changed: bool) -> None:
        assert slot.weighed is not None
        looks = self._looks.setdefault(name, Looks())
        reason, text = looks.told(slot.weighed, changed)
        self._explanation.note(moment, None, f"slot {name}", reason, text, fired=changed)

    def states(self) -> dict[str, SlotState]:
        """The slots whose state is known."""
        return {name: slot.state for name, slot in self._slots.items() if slot.state is not None}

    def phases(self) -> dict[str, Phase]:
        """All slots, and what is about to change."""
        return {name: slot.phase for name, slot in self._slots.items()}

    @property
    def unsettled(self) -> bool:
        """Whether a slot is unknown or about to change, so that looking on matters."""
        return any(slot.phase not in ("free", "occupied") for slot in self._slots.values())
