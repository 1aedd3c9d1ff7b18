"""From a wish (which techniques, how much each may cost) and the sensitivity scan to the tables of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from build_tools.search.sensitivity import LayerScan

Table = dict[str, Any]
"""A `[[passes]]` table."""
PRUNE_STEPS = tuple(round(0.95 - 0.05 * i, 2) for i in range(18))
"""Shares pruned, from harsh to gentle."""
CHANNEL_SHARE = 0.5
"""A channel goes with all of its weights, important ones too: layers bear about half of the share that single weights
may have pruned."""
BITS = (2, 3, 4, 5, 6, 8)
RANK_STEPS = (0.25, 0.35, 0.5, 0.6, 0.75, 0.85)
"""Shares of a layer's cost left, from harsh to gentle."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A point of the search space.

    A pressure, 0 to 1, says how much a technique may cost a layer: the loss below which this share of all that was
    scanned of the technique lies. Each layer is then pressed as far as it bears for that loss: sensitive ones little.

    Attributes:
        lowrank: whether layers are taken apart.
        lowrank_pressure: how hard.
        prune: what is pruned.
        prune_pressure: how hard.
        recover: heal pruned layers from calibration data.
        store: how values are put on few levels.
        store_pressure: how few.
        rounding: quantize: how levels are chosen.
    """

    lowrank: bool = False
    lowrank_pressure: float = 0.1
    prune: Literal["none", "weights", "channels"] = "none"
    prune_pressure: float = 0.1
    recover: bool = False
    store: Literal["quantize", "codebook"] = "quantize"
    store_pressure: float = 0.1
    rounding: Literal["nearest", "adaptive"] = "nearest"


def lowrank_table(wish: Wish, scans: Sequence[LayerScan]) -> Table | None:
    """The `lowrank` pass, or None when no layer is worth it."""
    if not wish.lowrank:
        return None
    allowed = tolerance(scans, "rank", wish.lowrank_pressure)
    shares = {s.weight: share for s in scans if (share := _strongest(s, "rank", allowed, RANK_STEPS))}
    if not shares:
        return None
    return {"kind": "lowrank", "rank": "share", "only": list(shares), "layers": shares}


def prune_table(
    wish: Wish,
    scans: Sequence[LayerScan],
    present: Iterable[str],
    groups: Sequence[Sequence[str]],
    calibrated: bool,
) -> Table | None:
    """The `prune` pass, or None when nothing is pruned.

    Args:
        wish: what is wanted.
        scans: of the doctored model's layers.
        present: weights there are now.
        groups: of these, those whose channels can only be cut together; a group bears what its most sensitive does.
        calibrated: there is calibration data to heal with.
    """
    if wish.prune == "none":
        return None
    allowed = tolerance(scans, "prune", wish.prune_pressure)
    shares = {s.weight: _strongest(s, "prune", allowed, PRUNE_STEPS) or 0.0 for s in scans}
    layers = _handed_down(shares, present)
    if wish.prune == "channels":
        members = [[name for name in group if name in layers] for group in groups]
        least = [min((layers[name] for name in group), default=0.0) for group in members]
        layers = {name: round(s * CHANNEL_SHARE, 3) for s, group in zip(least, members, strict=True) for name in group}
    layers = {name: share for name, share in layers.items() if share}
    if not layers:
        return None
    recover = "least_squares" if wish.recover and calibrated else "none"
    return {"kind": "prune", "structure": wish.prune, "target": 0.0, "recover": recover, "layers": layers}


def store_table(wish: Wish, scans: Sequence[LayerScan], present: Iterable[str], calibrated: bool) -> Table:
    """The pass `quantize` or `codebook`."""
    allowed = tolerance(scans, "bits", wish.store_pressure)
    bits = {s.weight: int(_strongest(s, "bits", allowed, BITS) or 8) for s in scans}
    layers = {name: b for name, b in _handed_down(bits, present).items() if b != 8}
    table: Table = {"kind": wish.store, "bits": 8}
    if wish.store == "quantize":
        table |= {"range": "mse", "rounding": wish.rounding if calibrated else "nearest"}
    return table | {"layers": layers}


def tolerance(scans: Sequence[LayerScan], technique: str, pressure: float) -> float:
    """The relative loss a layer may cost: the `pressure`-quantile of all losses that were measured of the technique.

    So the same space serves every metric, those that lose a little at 8 bits and those that lose nothing at 4.
    """
    losses = [max(loss, 0.0) for one in scans for loss in one.losses[technique].values() if loss is not None]
    return float(np.quantile(losses, pressure)) if losses else 0.0


def _strongest(one: LayerScan, technique: str, tolerance: float, steps: Iterable[float]) -> float | None:
    """The harshest level that costs no more than `tolerance`."""
    for level in steps:
        loss = one.loss(technique, level)
        if loss is not None and loss <= tolerance:
            return level
    return None


def _handed_down(by_weight: Mapping[str, Any], present: Iterable[str]) -> dict[str, Any]:
    """The same for the weights there are now: the parts `w.0`, `w.1` of a layer taken apart get what `w` has."""
    found = {}
    for name in present:
        origin = name
        while origin not in by_weight and origin.rpartition(".")[2].rstrip("_").isdecimal():
            origin = origin.rpartition(".")[0]
        if origin in by_weight:
            found[name] = by_weight[origin]
    return found
