"""A search on two worker processes: its front, a worker killed half-way, a storage that is gone on from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_tools.cli import main
from build_tools.errors import ModelError, SearchError
from build_tools.recipe import read
from build_tools.search.job import Job, make_job
from build_tools.search.search import scanned, search
from build_tools.search.sensitivity import LayerScan, scan, scan_layer
from build_tools.search.storage import Storage
from build_tools.search.workers import DaskWorkers, Lost, cluster_workers, each

RECIPE = """\
[calibration]
kind = "random"
count = 4
[budget]
loss = 0.5
[input]
std = [255.0]
[coding]
coder = "raw"  # the others compile for longer than all of this takes
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network and a recipe to judge it by."""
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(16, 3, 3, 3)) * 0.3, "middle": rng.normal(size=(16, 16, 3, 3)) * 0.1,
        "last": rng.normal(size=(16, 5)) * 0.3,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "middle"], ["b"], pads=[1] * 4),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("GlobalAveragePool", ["br"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "last"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )  # fmt: skip
    made = tmp_path_factory.mktemp("search")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), made / "net.onnx")
    (made / "r.toml").write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def job(folder: Path) -> Job:
    return make_job(folder / "net.onnx", read(folder / "r.toml"), folder, None)


class Here:
    """Workers' seam without workers: tasks are computed when they are asked after."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tasks: list[tuple[int, Callable[..., Any], tuple[Any, ...]]] = []
        self.lose: set[int] = set()
        self.computed: list[Any] = []

    def slots(self) -> int:
        return 2

    def submit(self, key: int, task: Callable[..., Any], *arguments: Any) -> None:
        self._tasks.append((key, task, arguments))

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        key, task, arguments = self._tasks.pop(0)
        if key in self.lose:
            return [(key, Lost("its worker is gone"))]
        self.computed.append(arguments[-1])
        return [(key, task(self._job, *arguments))]


@pytest.fixture(scope="module")
def scans(job: Job) -> list[LayerScan]:
    here = Here(job)
    return scan(job, lambda names: each(here, scan_layer, names, lambda done: None))


def told(text: str) -> None:
    """Nobody listens."""


def test_every_layer_is_scanned_under_every_technique_and_harsher_costs_more(scans: list[LayerScan]) -> None:
    assert [one.weight for one in scans] == ["first", "middle", "last"]
    for one in scans:
        for technique in ("prune", "bits"):
            losses = list(one.losses[technique].values())
            assert all(loss is not None for loss in losses)
            assert losses[0] < losses[-1]  # type: ignore[operator]
    middle = scans[1].losses["rank"]
    assert middle[0.75] is not None and middle[0.5] is not None
    assert middle[0.75] < middle[0.5]
    assert middle[0.25] is None  # no ranks that are multiples of 8 cost so little


def test_a_lost_trial_is_tried_again_and_a_kept_scan_is_not_made_again(
    job: Job, scans: list[LayerScan], tmp_path: Path
) -> None:
    storage = Storage(tmp_path / "s.db", job.digest(), "tpe", 1)
    storage.keep_scans(scans)
    here = Here(job)
    here.lose = {1}

    kept = scanned(job, storage, here, told)
    search(storage, kept, here, 4, told)

    assert kept == scans
    assert len(storage.done()) == 4
    wishes = [json.dumps(w, default=lambda v: {k: getattr(v, k) for k in v.__slots__}) for w in here.computed]
    assert len(set(wishes)) == len(wishes)  # the lost one was computed once, when it was tried again
    assert storage.study.trials[1].params in [t.params for t in storage.done()]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_resumed_search_goes_on_counting_and_redoes_what_was_running(
    job: Job, scans: list[LayerScan], tmp_path: Path, sampler: Any
) -> None:
    first = Storage(tmp_path / "s.db", job.digest(), sampler, 1)
    search(first, scans, Here(job), 2, told)
    stopped, wish = first.ask()  # a trial that runs when the search is stopped

    again = Storage(tmp_path / "s.db", job.digest(), sampler, 1)
    here = Here(job)
    search(again, scans, here, 4, told)

    assert len(again.done()) == 4
    assert len(here.computed) == 2
    assert wish in here.computed
    assert again.study.trials[stopped].state.name == "FAIL"


def test_the_storage_of_another_search_is_refused(job: Job, tmp_path: Path) -> None:
    Storage(tmp_path / "s.db", job.digest(), "tpe", 1)
    with pytest.raises(SearchError, match=r"s\.db: belongs to another model, recipe or device table"):
        Storage(tmp_path / "s.db", "another", "tpe", 1)
    (tmp_path / "torn.db").write_bytes(b"no database at all, but long enough to be read as one" * 40)
    with pytest.raises(SearchError, match=r"torn\.db: not a search's storage"):
        Storage(tmp_path / "torn.db", job.digest(), "tpe", 1)


@pytest.mark.timeout(400)  # four processes start, which takes its time on a busy machine
def test_a_killed_worker_costs_no_trial_and_the_recipes_that_are_found_hold(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    command = [sys.executable, "-m", "build_tools.cli", "search", str(folder / "net.onnx"), "--workers", "2"]
    command += ["--recipe", str(folder / "r.toml"), "--trials", "4", "--out", str(out)]
    killed = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        lines = []
        for line in running.stderr:
            lines.append(line)
            if line.startswith("trial 1/4"):
                killed = worker_processes(running.pid)[0]
                os.kill(killed, signal.SIGKILL)
    assert running.returncode == 0, "".join(lines)
    assert killed

    found = json.loads((out / "front.json").read_text())
    assert len([line for line in lines if line.startswith("trial ") and "/4: " in line]) == 4
    for point in found["front"]:
        recipe = read(out / point["recipe"])
        assert recipe.passes[0].kind == "doctor"
        assert [step.with_next for step in recipe.passes] == [True] * (len(recipe.passes) - 1) + [False]
    assert "<svg" in (out / "front.html").read_text()
    assert "middle" in (out / "sensitivity.html").read_text()

    smallest, bundle = found["front"][0], tmp_path / "net.edge"
    with_recipe = ["--recipe", str(out / smallest["recipe"]), "--out", str(bundle)]
    assert main(["compress", str(folder / "net.onnx"), *with_recipe]) == 0
    assert abs(bundle.stat().st_size - smallest["bytes"]) < 400  # the bundle also says where it comes from


def worker_processes(below: int) -> list[int]:
    """Process ids of the workers that a search with this id has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == below and b"spawn_main" in command:
                found.append(int(entry.name))
    return found


def test_an_address_without_a_scheduler_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("build_tools.search.workers.CONNECT_S", 1)
    with pytest.raises(SearchError, match="no Dask scheduler answers"), cluster_workers(job, "tcp://127.0.0.1:9"):
        pass


def test_what_a_task_raises_comes_here_as_it_was(job: Job) -> None:
    connect: Any = distributed.Client
    with connect(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        workers = DaskWorkers(client, job)
        workers.submit(7, scan_layer, "no such weight")
        with pytest.raises(ModelError, match="no layer has the weight no such weight"):
            for _ in range(100):
                workers.finished(1.0)
