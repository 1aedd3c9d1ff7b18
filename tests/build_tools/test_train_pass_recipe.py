"""`[during]` in a recipe for one of our own networks: what is asked for is in the exported file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from build_tools.errors import RecipeError
from build_tools.graph import Graph
from build_tools.model import load_model
from build_tools.passes.activations import session
from build_tools.training.constrained_net import settle_export
from build_tools.training.export import export_onnx
from build_tools.training.held import lies_on
from build_tools.training.task import CentreTask
from build_tools.training.trainer import Trainer
from tests.build_tools.packs import TINY, write_pack, write_recipe

TWO_EPOCHS = re.sub(r"\[\[phases\]\]\nepochs = 2\nrate = 0.0005\n", "", TINY)
DURING = """
[during.prune]
target = 0.75
end = 0.5
[during.quantize]
bits = 4
begin = 0.5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("during")
    write_pack(folder / "pack", 12)
    write_recipe(folder, TWO_EPOCHS + DURING)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trainer:
    trainer = Trainer(folder / "tiny.toml", folder / "out", resume=False)
    trainer.run()
    return trainer


def test_a_network_trained_under_constraints_is_exported_sparse_and_computes_what_was_validated(
    trained: Trainer, folder: Path
) -> None:
    model = load_model(folder / "out/tiny.onnx")
    assert trained.constrained is not None
    net, _ = trained.constrained.settled(trained.average)
    for layer in Graph(model.proto).layers():
        values = model.weight(layer.weight)
        assert (values == 0).mean() >= 0.74
        for channel in values:
            assert len(np.unique(np.abs(channel))) <= 8  # four bits: 0 and seven steps to either side
    bgr = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    heat, box = session(model.proto).run(None, {"bgr": bgr})
    with torch.no_grad():
        logits, distances = net(torch.from_numpy(bgr))
    assert np.abs(heat - torch.sigmoid(logits).numpy()).max() < 0.01
    assert np.abs(box / distances.numpy() - 1).max() < 0.02


def test_the_exported_weights_lie_on_their_grids_bit_for_bit(trained: Trainer, tmp_path: Path) -> None:
    assert trained.constrained is not None
    net, grids = trained.constrained.settled(trained.average)
    assert set(grids) == {n for n, p in net.named_parameters() if p.ndim == 4}
    export_onnx(net, CentreTask(), (96, 96), {}, tmp_path / "again.onnx")
    model = settle_export(net, grids, tmp_path / "again.onnx")
    assert len(model.grids) == len(grids)
    for name, grid in model.grids.items():
        assert grid.bits == 4
        assert lies_on(model.weight(name), grid)


def test_an_interrupted_constrained_training_ends_at_the_same_bits(
    trained: Trainer, folder: Path, tmp_path: Path
) -> None:

    class Stopped(Exception):
        pass

    first = Trainer(folder / "tiny.toml", tmp_path / "torn", resume=False)
    learn, steps = first._learn, []

    def stop(*args: object) -> object:
        steps.append(1)
        if len(steps) == 4:  # in the second epoch
            raise Stopped
        return learn(*args)  # type: ignore[arg-type]

    first._learn = stop  # type: ignore[method-assign, assignment]
    with pytest.raises(Stopped):
        first.run()
    expected = load_model(folder / "out/tiny.onnx")
    resumed = load_model(Trainer(folder / "tiny.toml", tmp_path / "torn", resume=True).run())
    for name in expected.weight_names():
        assert np.array_equal(resumed.weight(name), expected.weight(name))


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("[during.codebook]\nbits = 4", "codebook.bits"),
        ("[during.quantize]\nbits = 4\nper_channel = false", "quantize.per_channel = false"),
        ("[during.quantize]\nbits = 4\nactivation_bits = 8", "quantize.activation_bits"),
        ('[during.prune]\ntarget = 0.5\nstructure = "channels"', "prune.structure"),
    ],
)
def test_what_the_export_would_undo_is_refused(table: str, key: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, TWO_EPOCHS + table)
    with pytest.raises(RecipeError, match=rf"tiny\.toml: during\.{re.escape(key)}.*folding of batch norms"):
        Trainer(recipe, tmp_path / "out", resume=False)
