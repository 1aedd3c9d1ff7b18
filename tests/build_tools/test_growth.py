"""Growing: the larger network answers nearly as the smaller one, learns in all its parts, and resumes as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from build_tools import recipe as recipes
from build_tools.errors import RecipeError
from build_tools.nets.centre import NetConfig
from build_tools.nets.pyramid import PyramidNet
from build_tools.training import growth
from build_tools.training.trainer import Trainer
from tests.build_tools.packs import TINY, write_pack, write_recipe

GROWING = TINY.replace("rate = 0.0005", "rate = 0.0005\ndepths = [0, 1, 0, 2]")


def pair() -> tuple[PyramidNet, PyramidNet]:
    nets = []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(PyramidNet(2, NetConfig(16, (16, 16, 32, 32), (0, 1, 1, 0), 16)))
    return nets[0], nets[1].eval()


def provenance(path: Path) -> dict[str, Any]:
    told = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    found: dict[str, Any] = json.loads(told["edge"])["provenance"]
    return found


def test_new_blocks_change_little_and_all_their_weights_learn() -> None:
    net, average = pair()
    picture = torch.rand(1, 3, 64, 64) * 255
    before = average(picture)
    assert growth.grow(net, average, (1, 1, 3, 0), seed=3) == 3
    assert [len(stage) for stage in net.stages()] == [2, 2, 4, 1]
    for was, now in zip(before, average(picture), strict=True):
        assert torch.allclose(was, now, atol=0.1 * float(was.abs().max()))
    sum(level.square().sum() for level in net.train()(torch.rand(2, 3, 64, 64) * 255)).backward()
    for stage, block in ((net.stage4, 1), (net.stage16, 2), (net.stage16, 3)):
        for name, p in stage[block].named_parameters():
            assert p.grad is not None and bool(p.grad.abs().max() > 0), name


def test_same_seed_grows_the_same_blocks_and_leaves_torchs_own_numbers_alone() -> None:
    (net, average), (other, its_average) = pair(), pair()
    torch.manual_seed(7)
    growth.grow(net, average, (0, 1, 2, 1), seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(8)
    growth.grow(other, its_average, (0, 1, 2, 1), seed=3)
    for mine, its in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))


def test_a_training_grows_and_resumes_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", 16)
    path = write_recipe(tmp_path, GROWING)
    whole = Trainer(path, tmp_path / "whole", resume=False)
    whole.run()
    assert [len(stage) for stage in whole.net.stages()] == [1, 2, 1, 3]
    assert provenance(tmp_path / "whole" / "tiny.onnx")["net"]["depths"] == [0, 1, 0, 2]
    for stop in (2, 3):  # where the smaller network ends, and within the larger one's phase
        out = tmp_path / f"stopped{stop}"
        first = Trainer(path, out, resume=False)
        save = first._save

        def interrupted(*args: object, ended: bool, first: Trainer = first, stop: int = stop, save=save) -> None:  # type: ignore[no-untyped-def]
            save(*args, ended=ended)
            if first.epoch == stop:
                raise KeyboardInterrupt

        first._save = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            first.run()
        second = Trainer(path, out, resume=True)
        second.run()
        for a, b in zip(whole.average.state_dict().values(), second.average.state_dict().values(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (GROWING.replace("[0, 1, 0, 2]", "[0, 1]"), "must be 4 numbers"),
        (GROWING.replace("depths = [0, 0, 0, 0]", "depths = [1, 0, 0, 0]"), "at least that of the phase before"),
        (GROWING + "\n[during]\nlevels = { bits = 4 }\n", "during"),
    ],
)
def test_what_cannot_grow_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = write_recipe(tmp_path, text)
    with pytest.raises(RecipeError, match=what):
        growth.check(recipes.load(path), str(path))
