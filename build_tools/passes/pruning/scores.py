"""How much each channel of a dependency group matters; the least are cut first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.errors import PassError
from build_tools.model import Model
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration
from build_tools.passes.pruning.channel_labels import varying
from build_tools.passes.pruning.groups import Dependencies, Group, Member

F64 = NDArray[np.float64]
Kind = Literal["l1", "l2", "bn", "activation", "taylor"]
NEEDS_DATA = ("activation", "taylor")


def channel_scores(
    model: Model, known: Dependencies, kind: Kind, calibration: Calibration | None, rng: np.random.Generator
) -> dict[str, F64]:
    """Group id -> importance of each channel, its mean 1 in every group so that groups can be compared.

    Args:
        model: the model that `known` was found in.
        known: its groups.
        kind: l1, l2: norm of all weights that go with a channel (Li et al. 2017; over the whole group: Fang et al.
            2023) | bn: scale of its BatchNorm, l2 where there is none (Liu et al. 2017) | activation: how strongly its
            readers feel it: rms of the channel times norm of what reads it | taylor: change of the model's outputs
            without it, to first order (`taylor`).
        calibration: inputs, for activation and taylor.
        rng: draws taylor's projections.

    Raises:
        PassError: no calibration data where it is needed.
    """
    if kind in NEEDS_DATA and (calibration is None or not len(calibration)):
        raise PassError(f'score = "{kind}" needs calibration data; give some, or score = "l2"')
    if kind == "taylor" and calibration is not None:
        return _taylor(model, known, calibration, rng)
    if kind == "activation" and calibration is not None:
        power = _channel_power(model, known, calibration)
        return {g.id: _level(_felt(g, known, power)) for g in known.groups}
    return {g.id: _level(_norm(g, known, kind)) for g in known.groups}


def _norm(group: Group, known: Dependencies, kind: Kind) -> F64:
    if kind == "bn":
        scales = [m for m in group.members if m.op == "BatchNormalization" and _is_scale(m, known)]
        if scales:
            return np.asarray(sum(_slices(known, m, 1) for m in scales))
    power = 1 if kind == "l1" else 2
    total = np.zeros(group.channels)
    for member in group.members:
        if known.flow.graph.constants[member.weight].ndim > 1 and member.op != "PRelu":
            total += _level(_slices(known, member, power))
    return total if power == 1 else np.sqrt(total)


def _is_scale(member: Member, known: Dependencies) -> bool:
    maker = known.flow.graph.makers[member.tensor]
    return bool(maker.input[1] == member.weight)


def _slices(known: Dependencies, member: Member, power: int) -> F64:
    """Sum of |w|^power of each channel's slice: [channels]."""
    weight = known.flow.graph.constants[member.weight]
    flat = np.moveaxis(weight, member.axis, 0).reshape(weight.shape[member.axis], -1)
    sums = (np.abs(flat) ** power).sum(1, dtype=np.float64)
    return np.asarray(sums[member.positions].sum(1))


def _level(scores: F64) -> F64:
    mean = float(scores.mean())
    return scores / mean if mean > 0 else scores


def _channel_power(model: Model, known: Dependencies, calibration: Calibration) -> dict[str, F64]:
    """Mean square by place along the channel axis, of every tensor that a layer reads channels from."""
    axes: dict[str, int] = {}
    for group in known.groups:
        for member in group.members:
            if member.role == "in":
                axes[member.tensor] = channel_axis(known, member.tensor)
    sums = {name: np.zeros(known.flow.shape(name)[axis]) for name, axis in axes.items()}
    count = 0
    for values in stream(model.proto, list(axes), calibration):
        count += 1
        for name, axis in axes.items():
            rest = tuple(a for a in range(values[name].ndim) if a != axis)
            sums[name] += np.square(values[name], dtype=np.float64).mean(rest)
    return {name: total / max(count, 1) for name, total in sums.items()}


def channel_axis(known: Dependencies, tensor: str) -> int:
    """The axis of a tensor along which its channels lie."""
    moving = varying(known.flow.labels.roots(known.flow.ids[tensor]))
    return moving[0] if moving else 1


def places(known: Dependencies, group: Group, tensor: str) -> list[NDArray[np.int64]]:
    """For each channel of a group its places along the channel axis of a tensor."""
    ids = known.flow.labels.roots(known.flow.ids[tensor])
    row = np.moveaxis(ids, channel_axis(known, tensor), 0).reshape(-1)
    return [np.flatnonzero(row == root) for root in group.roots.tolist()]


def _felt(group: Group, known: Dependencies, power: Mapping[str, F64]) -> F64:
    total = np.zeros(group.channels)
    for member in group.members:
        if member.role == "in":
            mine = np.array([power[member.tensor][p].mean() for p in places(known, group, member.tensor)])
            total += np.sqrt(mine) * np.sqrt(_slices(known, member, 2))
    return total


def _taylor(model: Model, known: Dependencies, calibration: Calibration, rng: np.random.Generator) -> dict[str, F64]:
    from build_tools.passes.pruning.taylor import weight_effects  # torch is loaded only for this

    squares = {group.id: np.zeros(group.channels) for group in known.groups}
    for effects in weight_effects(model, calibration, rng):
        for group in known.groups:
            change = np.zeros(group.channels)
            for member in group.members:
                # At its readers a channel's effect is counted once, wherever else it passes on its way.
                if member.role == "in" and member.weight in effects:
                    effect = effects[member.weight].reshape(known.flow.shape(member.weight))
                    flat = np.moveaxis(effect, member.axis, 0).reshape(effect.shape[member.axis], -1)
                    change += flat.sum(1, dtype=np.float64)[member.positions].sum(1)
            squares[group.id] += np.square(change)
    return {group_id: _level(np.sqrt(total)) for group_id, total in squares.items()}
