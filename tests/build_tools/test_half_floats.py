"""Steps in bfloat16: the same network, the same direction, and the detour around the slow gradient changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from build_tools.nets.centre import NetConfig
from build_tools.nets.pyramid import PyramidNet
from build_tools.training.half_floats import prepare

CONFIG = NetConfig(16, (16, 16, 32, 32), (0, 1, 0, 1), 16)


def gradients(net: nn.Module, bgr: Tensor, *, half: bool) -> dict[str, Tensor]:
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = net(bgr)
    sum((o.float() - 0.3).square().mean() for o in outputs).backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_a_step_goes_the_way_of_float32() -> None:
    torch.manual_seed(3)
    net = PyramidNet(2, CONFIG).train()
    prepared = copy.deepcopy(net)
    prepare(prepared)
    assert list(prepared.state_dict()) == list(net.state_dict())
    bgr = torch.rand(8, 3, 64, 64) * 255
    whole, half = gradients(net, bgr, half=False), gradients(prepared, bgr, half=True)
    assert whole.keys() == half.keys()
    assert {g.dtype for g in half.values()} == {torch.float32}
    mine, its = (torch.cat([g.flatten() for g in of.values()]) for of in (half, whole))
    assert torch.nn.functional.cosine_similarity(mine, its, dim=0) > 0.95


@settings(max_examples=20, deadline=None)
@given(channels=st.sampled_from([8, 16, 48]), side=st.integers(5, 20), stride=st.sampled_from([(2, 2), (2, 1)]))
def test_the_detour_is_torchs_own_gradient(channels: int, side: int, stride: tuple[int, int]) -> None:
    torch.manual_seed(side)
    plain = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    detour = copy.deepcopy(plain)
    prepare(nn.Sequential(detour))
    x = torch.randn(2, channels, side, side)
    found = []
    for layer in (plain, detour):
        given_x = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(given_x)
        y.float().square().sum().backward()
        assert given_x.grad is not None and layer.weight.grad is not None
        found.append((y.float(), given_x.grad, layer.weight.grad))
    for mine, its in zip(*reversed(found), strict=True):
        assert torch.allclose(mine, its, rtol=0.03, atol=0.03 * float(its.abs().max()))


def test_without_rounding_a_prepared_layer_is_any_other() -> None:
    layer = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False)
    x = torch.randn(1, 8, 9, 9)
    before = layer(x)
    prepare(layer)
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.Conv2d(8, 8, 3, 2, 1)])
def test_other_layers_stay_as_they_are(layer: nn.Conv2d) -> None:
    prepare(layer)
    assert type(layer) is nn.Conv2d
