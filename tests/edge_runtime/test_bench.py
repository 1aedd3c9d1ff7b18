"""`edge-runtime bench`: ratios, the table of a device's layers, and what is read from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from edge_runtime.bench.interleaved import BEST_OF, WARM_UP_ROUNDS, interleaved
from edge_runtime.bench.onnx_bytes import graph, model, node, tensor, value
from edge_runtime.bench.probes import MOST_MACS, Probe, measure, probes
from edge_runtime.bench.table import KINDS, DeviceTable, Kind, Row, read_table, write_table
from edge_runtime.cli import main
from edge_runtime.errors import FormatError


class CountedClock:
    """A clock that only goes on when something is run."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def test_ratios_are_to_the_first_and_everything_runs_once_in_every_turn() -> None:
    clock = CountedClock()
    order: list[str] = []

    def run(name: str, ms: float) -> None:
        order.append(name)
        clock.ns += int(ms * 1e6)

    runs = [("a", lambda: run("a", 2.0)), ("b", lambda: run("b", 3.0))]
    timings = interleaved(runs, rounds=5, clock_ns=clock)

    assert [(t.name, t.median_ms, t.ratio, t.ratio_ci) for t in timings] == [
        ("a", 2.0, 1.0, (1.0, 1.0)),
        ("b", 3.0, 1.5, (1.5, 1.5)),
    ]
    assert order == (["a"] * BEST_OF + ["b"] * BEST_OF) * (5 + WARM_UP_ROUNDS)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 1000))
def test_graphs_written_as_bytes_are_sound_for_the_onnx_package(rows: int, columns: int, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(columns, rows)).astype(np.float32)
    content = model(
        graph(
            [node("MatMul", ["x", "w"], ["m"]), node("Transpose", ["m"], ["y"], perm=[1, 0])],
            [tensor("w", weight)],
            [value("x", "float32", [3, columns])],
            [value("y", "float32", [rows, 3])],
        )
    )

    proto = onnx.load_from_string(content)

    onnx.checker.check_model(proto, full_check=True)
    assert np.array_equal(numpy_helper.to_array(proto.graph.initializer[0]), weight)
    x = np.ones((3, columns), np.float32)
    y = ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    assert np.allclose(y, (x @ weight).T, rtol=1e-4, atol=1e-4)


def test_every_probe_is_a_model_that_runs_and_neither_dies_out_nor_overflows() -> None:
    small = {}
    for probe in probes():
        if probe.macs() < 3_000_000:
            small[probe.kind, probe.bits] = probe
    assert len(small) == 9
    for probe in small.values():
        proto = onnx.load_from_string(probe.chain(4))
        onnx.checker.check_model(proto, full_check=True)
        session = ort.InferenceSession(probe.chain(4), providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        kind = np.uint8 if "uint8" in entry.type else np.float32
        x = np.random.default_rng(0).uniform(0, 255, entry.shape).astype(kind)
        y = session.run(None, {entry.name: x})[0]
        assert y.shape == x.shape
        assert y.std() > 1


def test_no_probe_is_too_long_for_a_small_board_and_macs_are_those_of_its_graph() -> None:
    asked = [p for p in probes() if p.macs() <= MOST_MACS]
    assert len(asked) > 250
    assert Probe("pointwise", 32, (8, 32), (10, 8)).macs() == 80 * 8 * 32
    assert Probe("full", 8, (3, 16), (10, 8)).macs() == 80 * 3 * 16 * 9
    assert Probe("depthwise", 32, (16, 16), (10, 8)).macs() == 80 * 16 * 9


def planted(law: float = 0.1) -> DeviceTable:
    """A device on which each layer takes 1 ms a million MACs, and a little the less the more channels there are."""
    rows = []
    for probe in probes():
        positions = probe.side_wh[0] * probe.side_wh[1]
        ms = probe.macs() / 1e6 * float(np.prod(probe.channels)) ** -law
        rows.append(Row(probe.kind, probe.bits, probe.channels, positions, probe.macs(), ms))
    return DeviceTable({"name": "planted"}, tuple(rows), 0.5)


@pytest.mark.parametrize("row", planted().rows[::37])
def test_a_layer_that_was_timed_has_its_own_time(row: Row) -> None:
    assert planted().layer_ms(row.kind, row.bits, row.channels, row.positions, row.macs) == pytest.approx(
        row.ms, rel=0.01
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["pointwise", "full"]), st.integers(8, 256), st.integers(8, 256), st.integers(40, 20000))
def test_times_between_those_measured_follow_the_devices_law(kind: Kind, into: int, out: int, positions: int) -> None:
    macs = positions * into * out * (9 if kind == "full" else 1)

    found = planted().layer_ms(kind, 32, (into, out), positions, macs)

    assert found == pytest.approx(macs / 1e6 * (into * out) ** -0.1, rel=0.25)


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    table = planted()
    write_table(table, tmp_path / "t.json")
    again = read_table(tmp_path / "t.json")
    assert again.rows == table.rows
    assert (again.device, again.run_ms) == (table.device, table.run_ms)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a device table"),
        ("[]", "is missing or wrong"),
        ('{"format": 2}', "a table of format 2, this program reads 1"),
        ('{"format": 1, "device": {}, "rows": [], "run_ms": 0.1}', "no rows of kind pointwise"),
        ('{"format": 1, "device": {}, "run_ms": 1, "rows": [{"kind": "pointwise", "bits": 8, "channels": [8, 8], '
         '"positions": 1, "macs": 1, "ms": -1}]}', "is missing or wrong"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_by_name(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=said) as refused:
        read_table(path)
    assert str(path) in str(refused.value)
    with pytest.raises(FormatError, match="cannot be read"):
        read_table(tmp_path / "none.json")


def test_probes_are_measured_into_rows(tmp_path: Path) -> None:
    asked = [Probe(kind, 32, (8, 8), (10, 8)) for kind in KINDS]
    told: list[int] = []

    table = measure(asked, rounds=2, threads=1, progress=told.append)
    write_table(table, tmp_path / "t.json")

    assert [row.kind for row in read_table(tmp_path / "t.json").rows] == list(KINDS)
    assert all(row.ms > 0 for row in table.rows)
    assert sum(told) == len(KINDS)
    assert table.device["threads"] == "1"


def small_model(path: Path, op: str = "Relu") -> Path:
    ends = [value(name, "float32", [1, 4, 32, 32]) for name in ("x", "y")]
    path.write_bytes(model(graph([node(op, ["x"], ["y"])], [], ends[:1], ends[1:])))
    return path


def test_the_command_times_models_by_path_or_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = small_model(tmp_path / "first.onnx")

    code = main(["bench", str(first), "scene_attention", "--rounds", "2", "--size", "64x64", "--json"])

    models = json.loads(capsys.readouterr().out)["models"]
    assert code == 0
    assert [m["name"] for m in models] == ["first.onnx", "scene_attention"]
    assert models[0]["ratio"] == 1.0
    assert all(m["median_ms"] > 0 for m in models)


def test_what_cannot_be_timed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(b"nothing")

    assert main(["bench", str(torn)]) == 4
    assert "torn.onnx: cannot be timed" in capsys.readouterr().err
    assert main(["bench", "nosuchmodel"]) == 4
    assert "nosuchmodel: no such model file, and no shipped model of this name" in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        main(["bench", "a.onnx", "--table", "t.json"])
    assert usage.value.code == 2
