"""Muon: the kernels' steps are torch's own, on matrices; everything else is AdamW's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from build_tools.training.muon import Muon

RATE, DECAY = 0.01, 0.1


def network(memory_format: torch.memory_format) -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 48, 1),
        nn.Conv2d(48, 5, 1),
    )  # fmt: skip
    return net.to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def groups(net: nn.Sequential) -> list[dict[str, object]]:
    weights = [net[i].weight for i in (0, 3, 4)]
    rest = [p for p in net.parameters() if all(p is not w for w in weights)]
    return [{"params": weights, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]


def learn(net: nn.Sequential, optimiser: torch.optim.Optimizer | Muon, steps: int) -> None:
    torch.manual_seed(2)
    for _ in range(steps):
        optimiser.zero_grad()
        net(torch.randn(2, 3, 8, 8)).square().mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_kernels_step_as_torchs_matrices_and_the_rest_as_adamws(memory_format: torch.memory_format) -> None:
    mine, its, start = network(memory_format), network(torch.contiguous_format), network(torch.contiguous_format)
    optimiser = Muon(groups(mine), RATE)
    order = (0, 1, 2, 3) if memory_format is torch.contiguous_format else (0, 2, 3, 1)
    kernels = [its[0].weight, its[3].weight]
    matrices = [nn.Parameter(k.detach().permute(order).reshape(k.shape[0], -1).clone()) for k in kernels]
    muon = torch.optim.Muon(matrices, lr=RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    others = [{**g, "params": [p for p in g["params"] if all(p is not k for k in kernels)]} for g in groups(its)]  # type: ignore[attr-defined]
    adam = torch.optim.AdamW(others, lr=RATE)
    torch.manual_seed(2)
    for _ in range(3):
        its.zero_grad()
        its(torch.randn(2, 3, 8, 8)).square().mean().backward()
        for kernel, matrix in zip(kernels, matrices, strict=True):
            matrix.grad = kernel.grad.permute(order).reshape(matrix.shape)
        muon.step()
        adam.step()
        with torch.no_grad():
            for kernel, matrix in zip(kernels, matrices, strict=True):
                shape = [kernel.shape[axis] for axis in order]
                kernel.copy_(matrix.view(shape).permute([order.index(axis) for axis in range(4)]))
    learn(mine, optimiser, 3)
    for one, other, before in zip(mine.parameters(), its.parameters(), start.parameters(), strict=True):
        moved = (other - before).norm()
        assert moved > 0
        assert (one - other).norm() < 0.1 * moved  # its matrices are rounded to bfloat16


def test_a_rate_set_from_outside_counts_for_every_weight() -> None:
    net = network(torch.channels_last)
    optimiser = Muon(groups(net), RATE)
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(net)
    learn(net, optimiser, 2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))


def test_it_goes_on_from_its_state_to_the_same_weights() -> None:
    whole = network(torch.channels_last)
    optimiser = Muon(groups(whole), RATE)
    learn(whole, optimiser, 2)
    halfway, state = copy.deepcopy(whole), copy.deepcopy(optimiser.state_dict())
    learn(whole, optimiser, 2)
    resumed = Muon(groups(halfway), RATE)
    resumed.load_state_dict(state)
    learn(halfway, resumed, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halfway.parameters(), strict=True))
