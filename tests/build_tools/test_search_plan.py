"""From a scan to strengths, to recipes, to their text; and the times that a device's table gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from build_tools.errors import ModelError
from build_tools.evaluation.device import estimate_ms
from build_tools.recipe import read
from build_tools.search.plan import BITS, PRUNE_STEPS, Wish, lowrank_table, prune_table, store_table, tolerance
from build_tools.search.recipe_text import moved, recipe_text
from build_tools.search.sensitivity import LayerScan, from_json
from edge_runtime.bench.probes import probes
from edge_runtime.bench.table import DeviceTable, Row


def layer(weight: str, scale: float, rank: bool = True) -> LayerScan:
    """Loses `scale` at the harshest level, a tenth of it in the middle, nothing at the gentlest."""
    curve = {
        "prune": {0.5: 0.0, 0.7: scale / 10, 0.9: scale},
        "bits": {8.0: 0.0, 4.0: scale / 10, 2.0: scale},
        "rank": {0.75: 0.0, 0.5: scale / 10, 0.25: scale} if rank else {0.75: None, 0.5: None, 0.25: None},
    }
    return LayerScan(weight, "Conv", (8, 8, 3, 3), curve)


ROBUST, FRAGILE = layer("robust", 0.01), layer("fragile", 0.5, rank=False)


def test_losses_between_levels_lie_on_straight_lines_from_nothing_done() -> None:
    assert ROBUST.loss("prune", 0.0) == 0.0
    assert ROBUST.loss("prune", 0.8) == pytest.approx(0.0055)
    assert ROBUST.loss("bits", 16) == 0.0
    assert ROBUST.loss("bits", 3) == pytest.approx(0.0055)
    assert ROBUST.loss("rank", 1.0) == 0.0
    assert FRAGILE.loss("rank", 0.5) is None


@given(st.lists(st.floats(-0.1, 1.0), min_size=3, max_size=3), st.floats(0, 0.95), st.floats(0, 0.95))
def test_harsher_pruning_is_never_taken_to_cost_less(losses: list[float], a: float, b: float) -> None:
    one = LayerScan("w", "Conv", (1,), {"prune": dict(zip((0.5, 0.7, 0.9), losses, strict=True))})
    less, more = sorted((a, b))
    gentle, harsh = one.loss("prune", less), one.loss("prune", more)
    assert gentle is not None and harsh is not None
    assert gentle <= harsh + 1e-12


def test_a_scan_survives_storage() -> None:
    assert from_json(json.loads(json.dumps(FRAGILE.as_json()))) == FRAGILE


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_pressure_never_means_less_done(a: float, b: float) -> None:
    scans = [ROBUST, FRAGILE]
    low, high = (Wish(prune="weights", prune_pressure=p, store_pressure=p) for p in sorted((a, b)))
    names = ["robust", "fragile"]
    less, more = (prune_table(w, scans, names, (), True) or {"layers": {}} for w in (low, high))
    assert all(share <= more["layers"].get(name, 0.0) for name, share in less["layers"].items())
    many, few = (store_table(w, scans, names, True)["layers"] for w in (low, high))
    assert all(few.get(name, 8) <= bits for name, bits in many.items())


def test_the_robust_layer_is_pressed_harder_than_the_fragile_one() -> None:
    wish = Wish(prune="weights", prune_pressure=0.7, store="codebook", store_pressure=0.7)

    pruned = prune_table(wish, [ROBUST, FRAGILE], ["robust", "fragile"], (), True)
    stored = store_table(wish, [ROBUST, FRAGILE], ["robust", "fragile"], True)

    assert tolerance([ROBUST, FRAGILE], "prune", 0.7) == pytest.approx(0.03)
    assert pruned is not None
    assert pruned["layers"] == {"robust": max(PRUNE_STEPS), "fragile": 0.6}
    assert stored == {"kind": "codebook", "bits": 8, "layers": {"robust": min(BITS), "fragile": 6}}


def test_parts_of_a_layer_taken_apart_inherit_its_strength() -> None:
    wish = Wish(prune="weights", prune_pressure=1.0, lowrank=True, lowrank_pressure=1.0)
    scans = [ROBUST, FRAGILE]

    lowrank = lowrank_table(wish, scans)
    pruned = prune_table(wish, scans, ["robust.0", "robust.1", "robust.1.0", "fragile", "new"], (), False)

    assert lowrank == {"kind": "lowrank", "rank": "share", "only": ["robust"], "layers": {"robust": 0.25}}
    assert pruned is not None
    assert set(pruned["layers"]) == {"robust.0", "robust.1", "robust.1.0", "fragile"}
    assert pruned["recover"] == "none"


def test_channels_that_go_together_bear_what_the_most_sensitive_bears_and_others_are_left() -> None:
    wish = Wish(prune="channels", prune_pressure=0.7, recover=True)
    scans = [ROBUST, FRAGILE, layer("alone", 0.01)]

    pruned = prune_table(wish, scans, ["robust", "fragile", "alone"], [("robust", "fragile", "bn.scale")], True)

    assert pruned is not None
    assert set(pruned["layers"]) == {"robust", "fragile"}
    assert len(set(pruned["layers"].values())) == 1
    assert pruned["recover"] == "least_squares"


def test_a_recipe_is_written_with_its_paths_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    base = {
        "name": "n", "seed": 4, "classes": ["face"], "groups": {"vehicle": ["car", "bus"]},
        "evaluation": {"kind": "mnist", "data": "../digits", "limit": 5},
        "calibration": {"kind": "mnist", "path": "../digits"}, "budget": {"loss": 0.02},
        "passes": [{"kind": "doctor"}],
    }  # fmt: skip
    tables = [{"kind": "doctor"}, {"kind": "prune", "target": 0.0, "layers": {"a/b.weight:0": 0.5, "plain": 0.25}}]
    out = tmp_path / "found" / "deep"
    out.mkdir(parents=True)

    text = recipe_text(moved(base, tmp_path / "mine", out), tables, ["Found by a test"])
    (out / "r.toml").write_text(text)
    recipe = read(out / "r.toml")

    assert text.startswith("# Found by a test\n")
    assert (out / recipe.evaluation.data).resolve() == (tmp_path / "digits").resolve()
    assert (out / recipe.calibration.path).resolve() == (tmp_path / "digits").resolve()
    assert (recipe.seed, recipe.classes, recipe.budget.loss) == (4, ("face",), 0.02)
    assert recipe.groups == {"vehicle": ("car", "bus")}
    assert [step.kind for step in recipe.passes] == ["doctor", "prune"]
    assert recipe.passes[1].settings.layers == {"a/b.weight:0": 0.5, "plain": 0.25}  # type: ignore[attr-defined]
    assert base["evaluation"]["data"] == "../digits"  # type: ignore[index]


def per_mac_device() -> DeviceTable:
    """Everything costs 1 ms a million MACs (or added elements), 8-bit layers half of it."""
    rows = [
        Row(
            p.kind, p.bits, p.channels, p.side_wh[0] * p.side_wh[1], p.macs(), p.macs() / (1e6 if p.bits == 32 else 2e6)
        )
        for p in probes()
    ]
    return DeviceTable({}, tuple(rows), 0.25)


def chain(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[int | str]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)])


def test_a_models_time_on_a_device_is_the_sum_of_its_layers() -> None:
    weights = {
        "w": np.ones((16, 3, 3, 3), np.float32), "d": np.ones((16, 1, 3, 3), np.float32),
        "p": np.ones((8, 16, 1, 1), np.float32), "m": np.ones((8, 10), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "d"], ["b"], pads=[1] * 4, group=16),
        helper.make_node("Conv", ["b", "p"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    proto = chain(nodes, weights, ["n", 3, "h", "w"])

    found = estimate_ms(proto, per_mac_device(), (64, 32))

    macs = 16 * 32 * (16 * 27 + 16 * 9 + 8 * 16) + 8 * 16 * 32 + 80
    assert found == pytest.approx(0.25 + macs / 1e6, rel=0.02)


def test_layers_between_dequantised_values_take_their_8_bit_time() -> None:
    weights = {
        "s": np.array(0.1, np.float32), "z": np.array(0, np.int8), "w": np.ones((32, 16, 1, 1), np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["y"]),
    ]
    proto = chain(nodes, weights, [1, 16, 20, 20])

    assert estimate_ms(proto, per_mac_device(), (20, 20)) == pytest.approx(0.25 + 400 * 16 * 32 / 2e6, rel=0.02)


def test_sizes_that_only_show_when_the_model_runs_are_looked_up_by_running_it() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Shape", ["i"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["f"], ["count"], keepdims=0),
        helper.make_node("Mul", ["count", "zero"], ["none"]),
        helper.make_node("Add", ["scales", "none"], ["by"]),
        helper.make_node("Resize", ["x", "", "by"], ["u"]),
        helper.make_node("Conv", ["u", "w"], ["y"]),
    ]
    weights = {
        "zero": np.array(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32),
        "w": np.ones((32, 16, 1, 1), np.float32),
    }  # fmt: skip

    found = estimate_ms(chain(nodes, weights, [1, 16, 10, 10]), per_mac_device(), (10, 10))

    assert found == pytest.approx(0.25 + (400 * 16 * 32 + 400 * 16) / 1e6, rel=0.1)


def test_an_operator_nobody_knows_is_refused_by_name() -> None:
    nodes = [
        helper.make_node("Strange", ["x"], ["u"], domain="nobody"),
        helper.make_node("Conv", ["u", "w"], ["y"], "late"),
    ]
    proto = chain(nodes, {"w": np.ones((1, 2, 1, 1), np.float32)}, [1, 2, 4, 4])

    with pytest.raises(ModelError, match=r"ONNX Runtime refuses the model: .*Strange"):
        estimate_ms(proto, per_mac_device(), (8, 8))
