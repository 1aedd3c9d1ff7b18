"""A detector that grows while it learns: blocks added to its stages between two phases change next to nothing at first.

What it learned so far is kept, which training the larger network from nothing would have to learn again (Chen et al.
2016, "Net2Net"; near-identity blocks as in Zhang et al. 2019, "Fixup Initialization").
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from build_tools.errors import RecipeError
from build_tools.nets.centre import Separable, Trunk
from build_tools.recipe import Recipe
from build_tools.training.constrained_net import is_asked_for

FIRST_SCALE = 0.05
"""Scale of a new block's last norm: its share of the sum. At zero its ReLU would let no gradient through."""


def depths_at(recipe: Recipe, epoch: int) -> tuple[int, ...]:
    """Blocks at strides 4, 8, 16 and 32 of the network that a checkpoint of `epoch` finished epochs holds."""
    depths: tuple[int, ...] = recipe.net.depths
    first = 0
    for phase in recipe.phases:
        if first < epoch:
            depths = phase.depths or depths
        first += phase.epochs
    return depths


def grown(recipe: Recipe) -> Recipe:
    """The recipe with the network that its last phase ends with."""
    depths = depths_at(recipe, sum(phase.epochs for phase in recipe.phases))
    return replace(recipe, net=replace(recipe.net, depths=depths))  # type: ignore[arg-type]


def check(recipe: Recipe, where: str) -> None:
    """Refuse phases that would shrink the network, or grow one that is held to constraints.

    Raises:
        RecipeError: the first such phase.
    """
    depths: tuple[int, ...] = recipe.net.depths
    for phase in recipe.phases:
        wanted = phase.depths or depths
        if len(wanted) != len(depths) or any(w < d for w, d in zip(wanted, depths, strict=True)):
            raise RecipeError(
                f"{where}: phases.depths = {list(wanted)}: must be {len(depths)} numbers, each at least that of the "
                f"phase before, {list(depths)}"
            )
        if wanted != depths and is_asked_for(recipe.during):
            raise RecipeError(f"{where}: phases.depths: a network that [during] holds to constraints cannot grow")
        depths = wanted


def grow(net: Trunk, average: Trunk, depths: Sequence[int], seed: int) -> int:
    """Add blocks to both networks, the same to both, until their stages have `depths`; those already there stay.

    Args:
        net: the network that learns, in training.
        average: its running average.
        depths: blocks at strides 4, 8, 16 and 32, none fewer than now (`check`); empty: as they are.
        seed: of the new weights, so that an interrupted training grows the same ones.

    Returns:
        How many blocks were added.
    """
    if not depths:
        return 0
    added = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for mine, kept, depth in zip(net.stages(), average.stages(), depths, strict=True):
            new = [_quiet_block(mine) for _ in range(depth + 1 - len(mine))]  # one block halves
            mine.extend(new)
            kept.extend(copy.deepcopy(new))
            added += len(new)
    average.eval()
    return added


def _quiet_block(stage: nn.Sequential) -> Separable:
    conv = stage[-1].pointwise[0]  # type: ignore[index]
    assert isinstance(conv, nn.Conv2d)
    block = Separable(conv.out_channels, conv.out_channels)
    last = block.pointwise[1]
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.constant_(last.weight, FIRST_SCALE)
    return block.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
