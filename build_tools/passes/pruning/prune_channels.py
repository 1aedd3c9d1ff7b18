"""Cuts channels: the pass `prune` with `structure = "channels"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import PassError
from build_tools.model import Model
from build_tools.passes.constant_weights import plain_weights
from build_tools.passes.contract import Change, Context, Fact
from build_tools.passes.healing.reconstruct import Healing, heal
from build_tools.passes.healing.samples import First
from build_tools.passes.pruning.channel_choice import aligned_step, global_shares, kept_count, strongest
from build_tools.passes.pruning.dead_channels import DeadChannels
from build_tools.passes.pruning.groups import Dependencies, Group, dependencies
from build_tools.passes.pruning.remove import Cut, remove_channels
from build_tools.passes.pruning.scores import channel_scores
from build_tools.passes.pruning.sensitivity import LEVELS, Curve, curves, error_by
from build_tools.passes.pruning.sparsity import equal_slopes

if TYPE_CHECKING:
    from build_tools.passes.prune import Prune

Kept = dict[str, NDArray[np.int64]]
F64 = NDArray[np.float64]


def prune_channels(model: Model, context: Context, settings: Prune) -> Change:
    """Cut channels out of a copy.

    Raises:
        PassError: a layer that was named cannot be cut.
    """
    before = model.copy()
    plain_weights(before)
    if settings.score == "zero":
        return _cut_dead(before, context, settings)
    known = dependencies(before.proto, context.calibration)
    refused = _refusals(known, settings)
    calibration = None if context.calibration is None else First(context.calibration, settings.samples)
    scores = channel_scores(before, known, settings.score, calibration, context.rng())
    shares, measured = _shares(before, known, scores, context, settings)
    kept: Kept = {}
    for group in known.groups:
        count = kept_count(group, shares[group.id], settings.align, settings.minimum)
        if count < group.channels:
            kept[group.id] = strongest(scores[group.id], count)
        elif shares[group.id] > 0:
            refused.append(f"{group.id}: {group.channels} channels are too few to cut at align = {settings.align}")
    out = remove_channels(before, kept, known)
    facts = _facts(known, kept, shares, measured)
    if settings.recover != "none" and context.calibration is not None:
        how = Healing(settings.recover, settings.ridge, settings.positions, context.seed)
        calibration = First(context.calibration, settings.samples)
        healed, left = heal(before, out, calibration, how, _outputs_kept(known, kept), context.progress)
        for name, more in healed.items():
            facts.setdefault(name, {}).update(more)
        refused += left
    return Change(out, _summary(before, out, known, kept), facts, tuple(refused))


def _cut_dead(model: Model, context: Context, settings: Prune) -> Change:
    """Cut what carries nothing, until nothing more is found: a reader that goes may be all that another had."""
    out, total = model, 0
    facts: dict[str, dict[str, Fact]] = {}
    first = known = dependencies(out.proto, context.calibration)
    refused = _refusals(known, settings)
    while True:
        finder = DeadChannels(out, known)
        folded, kept = out.copy(), Kept()
        for group in known.groups:
            dead = finder.dead(group)
            count = _live_count(group, int((~dead).sum()), settings)
            if count < group.channels:
                kept[group.id] = strongest((~dead).astype(np.float64), count)
                finder.fold(folded, group, np.delete(np.arange(group.channels), kept[group.id]))
        if not kept:
            break
        total += sum(g.channels - len(kept[g.id]) for g in known.groups if g.id in kept)
        facts |= _facts(known, kept, {}, {})
        # Folding may have given readers a bias: the graph is looked at anew.
        out = remove_channels(folded, kept, dependencies(folded.proto, context.calibration))
        known = dependencies(out.proto, context.calibration)
    channels = sum(g.channels for g in first.groups)
    return Change(out, f"{total} of {channels} channels were dead and are gone, without loss", facts, tuple(refused))


def _live_count(group: Group, live: int, settings: Prune) -> int:
    """The smallest count that the alignment allows and that holds all live channels."""
    step = aligned_step(group, settings.align)
    return min(max(-(-max(live, settings.minimum) // step) * step, step), group.channels)


def _refusals(known: Dependencies, settings: Prune) -> list[str]:
    """Layers that cannot be cut, one line each.

    Raises:
        PassError: one of them was asked for by name.
    """
    for name in settings.layers:
        if not _groups_of(known, name):
            reason = known.refused.get(name, "it makes no channels of its own")
            raise PassError(f"layers.{name}: its channels cannot be cut: {reason}; take it out of `layers`")
    return [f"{name}: channels not cut, {reason}" for name, reason in known.refused.items()]


def _groups_of(known: Dependencies, weight: str) -> list[Group]:
    return [g for g in known.groups if any(m.weight == weight and m.role != "in" for m in g.members)]


def _shares(
    model: Model, known: Dependencies, scores: dict[str, F64], context: Context, settings: Prune
) -> tuple[dict[str, float], dict[str, Curve]]:
    """Share that goes by group id, and what was measured to find it."""
    given = {g.id: share for name, share in settings.layers.items() for g in _groups_of(known, name)}
    free = [g for g in known.groups if g.id not in given]
    if settings.allocation == "uniform" or not free:
        return dict.fromkeys((g.id for g in free), settings.target) | given, {}
    if settings.allocation == "global":
        return global_shares(free, scores, settings.target) | given, {}
    sizes = {g.id: g.channels for g in free}

    def pruned(group_id: str, share: float) -> Model:
        count = max(round((1 - share) * sizes[group_id]), 1)
        return remove_channels(model, {group_id: strongest(scores[group_id], count)}, known)

    error = error_by(settings.allocation, model, context, settings.samples)
    measured = curves(sizes, pruned, error, LEVELS, context.progress)
    return equal_slopes(measured, sizes, settings.target) | given, measured


def _outputs_kept(known: Dependencies, kept: Kept) -> dict[str, NDArray[np.bool_]]:
    """Weight name -> bool [outputs of the old layer]."""
    cut = Cut.of(known, kept)
    layers = (u for u in known.flow.uses if u.role != "in" and known.flow.graph.constants[u.weight].ndim > 1)
    return {use.weight: cut.kept_ids(use.ids) for use in layers}


def _facts(
    known: Dependencies, kept: Kept, shares: dict[str, float], measured: dict[str, Curve]
) -> dict[str, dict[str, Fact]]:
    facts: dict[str, dict[str, Fact]] = {}
    outputs = _outputs_kept(known, kept)
    for group in known.groups:
        for weight in group.makers():
            fact = facts.setdefault(weight, {"channels": int(outputs[weight].sum())})
            if group.id in measured:
                levels, errors = measured[group.id]
                fact["sensitivity"] = float(np.interp(shares[group.id], [0.0, *levels], [0.0, *errors]))
    return facts


def _summary(before: Model, out: Model, known: Dependencies, kept: Kept) -> str:
    total = sum(g.channels for g in known.groups)
    gone = sum(g.channels - len(kept[g.id]) for g in known.groups if g.id in kept)
    weights = f"{before.parameters():,} -> {out.parameters():,} weights"
    return f"{gone} of {total} channels in {len(kept)} of {len(known.groups)} groups are gone, {weights}"
