"""Why a tamper alarm was raised or cleared or was not, in words."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.datatypes import TamperKind
from edge_runtime.events.tamper_features import Features


@dataclass(frozen=True, slots=True)
class Comparison:
    """A look held against the reference.

    Attributes:
        kept: share of the cells of lasting structure that have it in its place, 0 to 1.
        contrast: energy of all structure as a share of the reference's.
        detail: energy of the finest detail as a share of the reference's, wherever it is now.
        sharpness: detail for contrast, which exposure does not change, as a share of the reference's; the median of
            the cells in place.
    """

    kept: float
    contrast: float
    detail: float
    sharpness: float


def facts(kind: TamperKind, look: Features, against: Comparison | None) -> str:
    """What was measured for an alarm of that kind; shares are of the learnt scene."""
    if kind == "blinded":
        return f"{look.white_share:.0%} white, mean grey {look.brightness:.0f}"
    if kind == "frozen":
        return "the picture repeats" if look.repeated else "the picture changes"
    if kind == "noise":
        return "no noise measured" if look.noise is None else f"noise of {look.noise:.1f} grey levels"
    if against is None:
        return "no scene is learnt that it could be held against"
    if kind == "defocused":
        return f"sharpness {against.sharpness:.2f} of the scene's"
    return f"{against.kept:.0%} of the scene in its place, detail {against.detail:.2f}, contrast {against.contrast:.2f}"


def reason(evidence: int, raised: bool, changed: bool, needed_s: float, measured: str) -> tuple[str, str]:
    """How an alarm stands after a look: a key that stays the same while that does, and a text.

    Args:
        evidence: 1: the sign is there; -1: clearly not; 0: neither.
        raised: whether the alarm stands, after the look.
        changed: whether the look raised or cleared it.
        needed_s: how much evidence the change that came, or would be next, takes.
        measured: see `facts`.
    """
    if changed:
        if raised:
            return "stands", f"tamper: {needed_s:g} s of it; {measured}"
        return "none", f"tamper_clear: well for {needed_s:g} s; {measured}"
    if raised:
        if evidence == -1:
            return "well", f"well again: {measured}; cleared after {needed_s:g} s"
        return "stands", f"goes on: {measured}"
    if evidence == 1:
        return "sign", f"a sign of it: {measured}; raised after {needed_s:g} s"
    return "unlearnt" if measured.startswith("no scene") else "none", f"no sign of it: {measured}"
