"""`edge-build` end to end on a tiny painted pack: train, interrupt and resume, evaluate, bench, and what is refused."""

from __future__ import annotations

import _thread
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from build_tools.cli import main
from build_tools.nets.centre import CentreNet, NetConfig
from edge_runtime.engine import OnnxEngine
from tests.build_tools.packs import TINY, write_pack, write_recipe


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Training sets torch's threads for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe and its pack of 20 pictures."""
    folder = tmp_path_factory.mktemp("train")
    write_pack(folder / "pack", 20)
    write_recipe(folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The output of a training that nothing interrupted."""
    assert main(["train", str(folder / "tiny.toml"), "--out", str(folder / "whole")]) == 0
    return folder / "whole"


def weights(out: Path) -> dict[str, torch.Tensor]:
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    return {f"{kind}.{name}": w for kind in ("net", "average") for name, w in state[kind].items()}


def test_training_leaves_a_network_curves_and_a_checkpoint(trained: Path) -> None:
    curves = cv2.imread(str(trained / "curves.png"))
    assert curves is not None
    assert min(curves.shape[:2]) > 200
    history = json.loads((trained / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert [set(row) & {"ap50_face", "ap50_person", "ap50_car"} != set() for row in history] == [
        False, True, False, True,
    ]  # fmt: skip
    assert history[-1]["heat"] < history[0]["heat"]
    assert not list(trained.glob("*.partial"))


def test_the_network_opens_in_the_runtime_and_says_where_it_came_from(trained: Path) -> None:
    engine = OnnxEngine(trained / "tiny.onnx", "attention")
    assert engine.facts.classes == ("face", "person", "car")
    assert engine.facts.size_wh == (96, 96)
    heat, box = engine.run(np.full((2, 3, 64, 128), 99, np.float32))
    assert (heat.shape, box.shape) == ((2, 3, 8, 16), (2, 4, 8, 16))


def test_the_exported_network_answers_as_the_averaged_one(trained: Path) -> None:
    net = CentreNet(3, NetConfig(16, (16, 16, 16, 16), (0, 0, 0, 0), 16)).eval()
    net.load_state_dict(torch.load(trained / "checkpoint.pt", weights_only=True)["average"])
    bgr = np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 96)).astype(np.float32)
    heat, box = OnnxEngine(trained / "tiny.onnx").run(bgr)
    with torch.no_grad():
        logits, distances = net(torch.from_numpy(bgr))
    np.testing.assert_allclose(heat, torch.sigmoid(logits).numpy(), atol=1e-4)
    np.testing.assert_allclose(box, distances.numpy(), rtol=1e-3)


def interrupt_after(out: Path, epochs: int) -> threading.Event:
    """Press Ctrl-C once `epochs` epochs have ended, and after each further one: a callback may have swallowed it.

    Returns:
        Set it when the training has been left.
    """
    # A shell that starts the tests in the background has it ignored, and Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    left = threading.Event()

    def watch() -> None:
        wanted = epochs
        while not left.wait(0.002):
            try:
                ended = len(json.loads((out / "history.json").read_text()))
            except (OSError, ValueError):
                continue
            if ended >= wanted:
                wanted = ended + 1
                _thread.interrupt_main()

    threading.Thread(target=watch, daemon=True).start()
    return left


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_training_resumes_to_the_same_weights_bit_for_bit(
    folder: Path, trained: Path, epochs: int
) -> None:
    out = folder / f"interrupted{epochs}"  # after 1 epoch: amid a phase; after 2: between two
    command = ["train", str(folder / "tiny.toml"), "--out", str(out)]
    left = interrupt_after(out, epochs)
    assert main(command) == 130
    left.set()
    assert not (out / "tiny.onnx").exists()
    assert main([*command, "--resume"]) == 0
    once, twice = weights(trained), weights(out)
    assert once.keys() == twice.keys()
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []
    assert (out / "tiny.onnx").is_file()


def test_a_training_whose_views_come_again_resumes_to_the_same_weights(folder: Path) -> None:
    recipe = folder / "again.toml"
    recipe.write_text(TINY.replace("epochs = 2\nrate = 0.002", "epochs = 3\nrate = 0.002\nviews = 2"))
    assert main(["train", str(recipe), "--out", str(folder / "again")]) == 0
    out = folder / "again_interrupted"
    left = interrupt_after(out, 2)
    assert main(["train", str(recipe), "--out", str(out)]) == 130
    left.set()
    kept = out / "targets.sqlite"
    assert kept.is_file()
    assert main(["train", str(recipe), "--out", str(out), "--resume"]) == 0
    assert not list(out.glob("targets.sqlite*"))  # of no more use
    once, twice = weights(folder / "again"), weights(out)
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []


def test_a_phase_may_have_sizes_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, seen = folder / "sizes.toml", []
    recipe.write_text(TINY.replace("epochs = 2\nrate = 0.0005", "epochs = 1\nrate = 0.0005\nsizes_wh = [[32, 64]]"))
    whole = CentreNet.forward

    def watched(net: CentreNet, bgr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if net.training:
            seen.append(tuple(bgr.shape[2:]))
        return whole(net, bgr)

    monkeypatch.setattr(CentreNet, "forward", watched)
    assert main(["train", str(recipe), "--out", str(folder / "sizes")]) == 0
    assert set(seen[-4:]) == {(64, 32)}
    assert set(seen[:-4]) == {(96, 96), (64, 64)}


def test_a_phase_may_cut_crops_where_a_network_looks_and_a_pack_may_give_some_sources_only(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = folder / "looks.toml", folder / "looks"
    text = TINY.replace('images = "pack', 'sources = ["set1"]\nimages = "pack')
    text = text.replace("batch = 4", f'batch = 4\nattention = "{trained / "tiny.onnx"}"')
    recipe.write_text(text.replace("rate = 0.0005", 'rate = 0.0005\nview = "crop"\nsizes_wh = [[64, 64]]\nlooks = 0.5'))
    assert main(["train", str(recipe), "--out", str(out)]) == 0
    assert json.loads((out / "history.json").read_text())[-1]["epoch"] == 4
    assert "8 pictures to train on, 2 held out" in capsys.readouterr().out  # of 20, half are of the other source


def test_a_torn_memory_of_views_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = folder / "views.toml", folder / "views"
    recipe.write_text(TINY.replace("epochs = 2\nrate = 0.002", "epochs = 2\nrate = 0.002\nviews = 1"))
    out.mkdir()
    (out / "targets.sqlite").write_bytes(b"no data base" * 100)
    code, line = refusal(capsys, "train", recipe, "--out", out)
    assert (code, "targets.sqlite: what teachers said cannot be kept" in line) == (1, True)
    assert "delete the file and add --resume" in line


def test_a_training_with_muon_resumes_to_the_same_weights(folder: Path) -> None:
    recipe = folder / "muon.toml"
    recipe.write_text(TINY.replace("rate = 0.002", 'rate = 0.002\noptimiser = "muon"', 1))
    assert main(["train", str(recipe), "--out", str(folder / "muon")]) == 0
    out = folder / "muon_interrupted"
    left = interrupt_after(out, 1)
    assert main(["train", str(recipe), "--out", str(out)]) == 130
    left.set()
    assert main(["train", str(recipe), "--out", str(out), "--resume"]) == 0
    once, twice = weights(folder / "muon"), weights(out)
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []


def test_resuming_a_finished_training_only_writes_the_network_again(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, file = weights(trained), (trained / "tiny.onnx").read_bytes()
    assert main(["train", str(folder / "tiny.toml"), "--out", str(trained), "--resume"]) == 0
    assert "resumed after epoch 4" in capsys.readouterr().out
    assert all(torch.equal(w, before[name]) for name, w in weights(trained).items())
    assert (trained / "tiny.onnx").read_bytes() == file


def refusal(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str]:
    """Exit code and the one line of a command that refuses."""
    capsys.readouterr()
    code = main([str(a) for a in argv])
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("edge-build: ")
    assert not any("Traceback" in line for line in lines)
    return code, lines[-1]


def test_training_again_in_the_same_folder_is_refused(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refusal(capsys, "train", folder / "tiny.toml", "--out", trained)
    assert code == 1
    assert "checkpoint.pt: a training is here already; add --resume, or give another --out" in line


def test_resuming_with_another_recipe_is_refused(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder / "other.toml"
    other.write_text(TINY.replace("rate = 0.002", "rate = 0.001"))
    code, line = refusal(capsys, "train", other, "--out", trained, "--resume")
    assert (code, "made by another version of the recipe" in line) == (1, True)


def test_a_torn_checkpoint_is_refused(folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "torn"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes()[:5000])
    code, line = refusal(capsys, "train", folder / "tiny.toml", "--out", out, "--resume")
    assert (code, "checkpoint.pt: torn" in line) == (1, True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch = 4", "bach = 4", "unknown key train.bach; did you mean train.batch?"),
        ('images = "pack', 'absent = ["plate"]\nimages = "pack', "data.absent: plate is not one of face, person, car"),
        ("epochs = 2", "epoch = 2", "unknown key phases[0].epoch; did you mean phases[0].epochs?"),
        ('task = "attention"', 'task = "attentive"', "must be one of attention, detector"),
        ('task = "attention"', 'task = "embedder"', "an embedder is taken from elsewhere and not trained"),
        ("batch = 4", "batch = 0", "train.batch = 0: must be at least 1"),
        ('"car"]', '"zebra"]', "classes: zebra is not one of face, person"),
        ("[96, 96], [64, 64]", "[96, 90]", "96x90: must be multiples of 32"),
        ("epochs = 2", "epochs = 2\nsizes_wh = [[96, 80]]", "phases.sizes_wh has 96x80: must be multiples of 32"),
        ("epochs = 2", "epochs = 2\nlooks = 0.5", 'phases.looks needs view = "crop" and the network of'),
        ("epochs = 2", 'epochs = 2\nview = "crop"\nsizes_wh = [[64, 96]]', "phases.sizes_wh has 64x96: must be"),
        ("[net]", "[net", "not valid TOML"),
        ("[[96, 96], [64, 64]]", "[]", "must not be empty"),
    ],
)
def test_a_mistaken_recipe_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert old in TINY
    recipe = write_recipe(tmp_path, TINY.replace(old, new))
    code, line = refusal(capsys, "train", recipe, "--out", tmp_path / "out")
    assert code == 2
    assert said in line
    assert "tiny" in line


def test_a_missing_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refusal(capsys, "train", tmp_path / "none.toml")
    assert (code, "none.toml: cannot be read" in line) == (2, True)


def test_a_missing_folder_of_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refusal(capsys, "train", write_recipe(tmp_path), "--out", tmp_path / "out")
    assert (code, "pack/images: no such folder of pictures" in line) == (1, True)


def test_a_pack_without_a_picture_of_the_sources_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = folder / "strange.toml"
    recipe.write_text(TINY.replace('images = "pack', 'sources = ["set7"]\nimages = "pack'))
    code, line = refusal(capsys, "train", recipe, "--out", tmp_path / "out")
    assert (code, "labels.json: no picture there; check `data.sources`" in line) == (1, True)


def test_fewer_pictures_than_a_batch_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pack(tmp_path / "pack", 3)
    code, line = refusal(capsys, "train", write_recipe(tmp_path), "--out", tmp_path / "out")
    assert (code, "fewer than train.batch = 4; lower train.batch or add data" in line) == (1, True)


KEYS = {
    "ap50", "ap50_95", "ap8", "ap16", "ap32", "r8", "r16", "r32", "crop_recall8", "crop_recall16",
    "per_class", "by_source", "images", "truths", "model_bytes", "input_wh",
}  # fmt: skip


def test_evaluate_prints_the_figures_for_machines(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    model, pack = trained / "tiny.onnx", folder / "pack"
    command = ["evaluate", str(model), "--data", str(pack / "labels.json"), "--images", str(pack / "images")]
    assert main([*command, "--size", "96x96", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(told) >= KEYS
    assert set(told["per_class"]) == {"face", "person", "car"}
    assert set(told["by_source"]) == {"set0", "set1"}
    assert told["images"] == 20
    assert told["model_bytes"] == model.stat().st_size
    assert told["input_wh"] == [96, 96]
    assert told["truths"] == sum(row["truths"] for row in told["per_class"].values())
    assert told["crop_recall8"] <= 1


def test_evaluate_prints_a_table_for_people(folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    pack = folder / "pack"
    command = ["evaluate", str(trained / "tiny.onnx"), "--data", str(pack / "labels.json")]
    assert main([*command, "--images", str(pack / "images"), "--size", "96x96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ap50" in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == ["all", "car", "face", "person"]
    assert lines[-1].startswith("20 pictures at 96x96")


def test_evaluate_refuses_a_missing_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = folder / "pack"
    code, line = refusal(
        capsys, "evaluate", folder / "none.onnx", "--data", pack / "labels.json", "--images", pack / "images"
    )
    assert (code, "none.onnx: no such model file" in line) == (4, True)


def test_bench_prints_ratios_to_the_first_model(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    model = str(trained / "tiny.onnx")
    assert main(["bench", model, f"{model}@192x192", "--size", "64x64", "--rounds", "5", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["models"]
    assert set(first) == {"name", "median_ms", "ratio", "ratio_ci"}
    assert (first["name"], first["ratio"], second["name"]) == (model, 1.0, f"{model}@192x192")
    assert second["ratio"] > 1  # nine times the pixels
    assert second["ratio_ci"][0] <= second["ratio"] <= second["ratio_ci"][1]


def test_bench_takes_a_path_with_an_at_sign(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a@b" / "tiny.onnx"
    path.parent.mkdir()
    path.write_bytes((trained / "tiny.onnx").read_bytes())
    assert main(["bench", str(path), "--size", "64x64", "--rounds", "1"]) == 0
    assert capsys.readouterr().out.startswith("tiny ")


def test_bench_refuses_a_missing_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refusal(capsys, "bench", tmp_path / "none.onnx")
    assert (code, "none.onnx: cannot be timed" in line) == (4, True)


@pytest.mark.parametrize("argv", [["bench", "a.onnx", "--rounds", "0"], ["bench", "a.onnx", "--size", "big"], []])
def test_wrong_usage_ends_with_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage: edge-build" in capsys.readouterr().err
