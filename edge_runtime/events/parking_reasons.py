"""Why a parking slot changed or did not, in words: what its looks were taken for, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Weighed:
    """What one look at a slot was taken for. States are `free` and `occupied`.

    Attributes:
        probability: that the slot is occupied, 0 to 1.
        state: before the look; None: not known.
        said: what the look speaks for; None: neither.
        weight: how much of its time counts for that, 0 to 1.
        candidate: what the slot changed to, or is about to change to; None: nothing speaks for a change.
        for_s: evidence for the candidate, in seconds.
        began_ns: since when that was summed.
        needed_s: how much a change takes.
    """

    probability: float
    state: str | None
    said: str | None
    weight: float
    candidate: str | None
    for_s: float
    began_ns: int
    needed_s: float

    def reason(self) -> tuple[str, str]:
        """What the slot stands at after a look that changed nothing: a key that is the same while that is, a text."""
        p, needed = f"p {self.probability:.2f}", f"{self.needed_s:g} s"
        if self.candidate is not None and self.said != self.candidate:
            left = f"takes back what speaks for {self.candidate}, {self.for_s:.1f} of {needed} are left"
            return f"against {self.candidate}", f"looks {self.said or 'like neither'}, {p}: {left}"
        if self.state is None:
            return f"unknown {self.said}", f"{self.said} is likelier, {p}: known after {needed} of it"
        if self.said is None:
            return "doubt", f"looks like neither, {p}: stays {self.state}"
        if self.said == self.state:
            return self.state, f"looks {self.state}, {p}: as it is"
        if self.weight < 1:
            step = f"{p} is a sudden step towards {self.said}: its time counts {self.weight:.0%}"
            return f"step to {self.said}", f"{step}; changes after {needed}"
        return f"for {self.said}", f"looks {self.said}, {p}: changes after {needed} of it"


@dataclass(slots=True)
class _Range:
    """How many looks, and between which probabilities."""

    looks: int = 0
    low: float = 1.0
    high: float = 0.0

    def add(self, probability: float) -> None:
        self.looks += 1
        self.low, self.high = min(self.low, probability), max(self.high, probability)

    def __str__(self) -> str:
        return f"{self.looks} looks, p {self.low:.2f} to {self.high:.2f}"


@dataclass(slots=True)
class Looks:
    """The looks at one slot; two verbs: `told` after each, `end` after the last. p is how probably it is occupied."""

    _all: _Range = field(default_factory=_Range)
    _since: _Range = field(default_factory=_Range)
    _last: Weighed | None = None
    _changed: bool = False

    def told(self, weighed: Weighed, changed: bool) -> tuple[str, str]:
        """A key that stays the same while the slot's reasons do, and the text.

        Args:
            weighed: the look.
            changed: whether the slot changed its state by it.
        """
        if self._last is None or weighed.candidate is None or weighed.began_ns != self._last.began_ns:
            self._since = _Range()
        self._last, self._changed = weighed, changed
        self._all.add(weighed.probability)
        self._since.add(weighed.probability)
        if not changed:
            return weighed.reason()
        rule = f"parking.min_dwell_s = {weighed.needed_s:g}"
        return "changed", f"slot_{weighed.candidate}: {self._summed(weighed)}; {rule}"

    def end(self) -> str:
        """All looks, and what is left open after the last."""
        pending = ""
        if self._last is not None and self._last.candidate is not None and not self._changed:
            pending = f"; of {self._last.needed_s:g} s for a change {self._summed(self._last)}"
        return f"the end; in all {self._all}{pending}"

    def _summed(self, weighed: Weighed) -> str:
        since = f"{weighed.began_ns / 1e9:.2f} s, {self._since}"
        return f"{weighed.for_s:.1f} s speak for {weighed.candidate}, summed since {since}"
