"""The doctor finds each fault by the name of its node or tensor, mends it, and accuses no sound model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_tools.errors import ModelError, PassError
from build_tools.model import Grid, Model
from build_tools.passes.contract import Context
from build_tools.passes.doctor import Doctor
from build_tools.passes.doctoring.diagnosis import AILMENTS, Treatment, examine, treat
from build_tools.passes.doctoring.findings import Ailment, Finding, Options
from build_tools.passes.doctoring.trial import Trial, relative_difference
from tests.build_tools.doctor_models import conv, model, node, ops, outputs, random, sound

ALL = Options(merge_duplicates=True, rewrite_slow=True)


def treated(made: Model, options: Options = ALL) -> Treatment:
    return treat(made, options, lambda proto: Trial(proto, seed=1, tolerance=1e-4))


def findings(made: Model, ailment: str, options: Options = ALL) -> list[Finding]:
    return [f for f in examine(made, options) if f.ailment == ailment]


def as_inputs(made: Model) -> Model:
    for tensor in made.proto.graph.initializer:
        made.proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return made


def batchnorm() -> Model:
    weights = {"w": random(8, 8, 3, 3), "g": random(8), "b": random(8), "m": random(8), "v": np.abs(random(8)) + 0.1}
    return model([conv("x w", "a"), node("BatchNormalization", "a g b m v", "y", "norm")], weights)


def hidden_weight() -> Model:
    made = conv("x w", "y")
    value = numpy_helper.from_array(random(8, 8, 3, 3))
    return model([node("Constant", "", "w", "hidden", value=value), made], {})


def computed_shape() -> Model:
    weights = {"i": np.array(0), "ax": np.array([0]), "rest": np.array([-1, 4])}
    nodes = [
        node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
        node("Shape", "t", "s"),
        node("Gather", "s i", "n"),
        node("Unsqueeze", "n ax", "u"),
        node("Concat", "u rest", "c", axis=0),
        node("Reshape", "t c", "y", "flatten"),
    ]
    return model(nodes, weights, ("n", 8, 6, 6), out_rank=3)


def function() -> Model:
    made = sound()
    body = helper.make_function(
        "ours", "Twice", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])], [helper.make_opsetid("", 17)]
    )
    made.proto.functions.append(body)
    made.proto.opset_import.append(helper.make_opsetid("ours", 1))
    made.proto.graph.node[1].CopyFrom(helper.make_node("Twice", ["a"], ["r"], domain="ours", name="call"))
    return made


def with_notes() -> Model:
    made = sound()
    made.proto.graph.node[0].doc_string = "at forward (net.py:12)\n" * 40
    return made


def cast_weight() -> Model:
    weights = {"h": random(8, 8, 3, 3).astype(np.float16)}
    return model([node("Cast", "h", "w", "widen", to=TensorProto.FLOAT), conv("x w", "y")], weights)


def denormal() -> Model:
    weight = random(8, 8, 3, 3)
    weight[0, 0, 0, :2] = 1e-39, -3e-42
    return model([conv("x w", "y")], {"w": weight})


def twice_the_same_weight() -> Model:
    weights = {"w": random(8, 8, 3, 3), "again": random(8, 8, 3, 3)}
    return model([conv("x w", "a"), conv("a again", "y")], weights)


def slopes(low: float, high: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.linspace(low, high, 8, dtype=np.float32)[:, None, None]


MENDED: dict[str, tuple[str, str, Callable[[], Model]]] = {
    "a weight among the inputs": ("weights-as-inputs", "w1", lambda: as_inputs(sound())),
    "an old opset": ("opset", "opset 11", lambda: model([node("Relu", "x", "y")], {}, opset=11)),
    "a function": ("function", "Twice", function),
    "shape arithmetic of fixed sides": (
        "constant",
        "size",
        lambda: model([node("Shape", "x", "s", "size"), node("Reshape", "x s", "a"), node("Relu", "a", "y")], {}),
    ),
    "a weight that is cast": ("constant", "widen", cast_weight),
    "a weight in a Constant node": ("constant-node", "w", hidden_weight),
    "shape arithmetic of free sides": ("shape-arithmetic", "flatten", computed_shape),
    "Identity": (
        "identity",
        "same",
        lambda: model([node("Relu", "x", "a"), node("Identity", "a", "y", "same")], {}),
    ),
    "Dropout": (
        "dropout",
        "drop",
        lambda: model([node("Relu", "x", "a"), node("Dropout", "a", "b", "drop"), node("Relu", "b", "y")], {}),
    ),
    "a product with one": (
        "identity",
        "times one",
        lambda: model([node("Relu", "x", "a"), node("Mul", "a one", "y", "times one")], {"one": np.float32(1)}),
    ),
    "the same computed twice": (
        "repeated",
        "second",
        lambda: model([node("Sqrt", "x", "a", "first"), node("Sqrt", "x", "b", "second"), node("Add", "a b", "y")], {}),
    ),
    "BatchNormalization": ("batchnorm", "norm", batchnorm),
    "a scale before a convolution": (
        "scale-shift",
        "by 255",
        lambda: model(
            [node("Div", "x f", "a", "by 255"), conv("a w", "y")], {"f": np.float32(255), "w": random(8, 8, 3, 3)}
        ),
    ),
    "PRelu with slopes below one": (
        "prelu",
        "steep",
        lambda: model(
            [node("PRelu", "x s", "y", "steep")], {"s": np.linspace(-1, 1, 8, dtype=np.float32)[:, None, None]}
        ),
    ),
    "PRelu with slopes above one": (
        "prelu",
        "steeper",
        lambda: model(
            [node("PRelu", "x s", "y", "steeper")], {"s": np.linspace(-2, 3, 8, dtype=np.float32)[:, None, None]}
        ),
    ),
    "a dead node": (
        "dead-node",
        "dead",
        lambda: model([node("Sqrt", "x", "lost", "dead"), node("Relu", "x", "y")], {}),
    ),
    "an unused weight": ("unused-weight", "w", lambda: model([node("Relu", "x", "y")], {"w": random(8)})),
    "denormal weights": ("denormal", "w", denormal),
    "equal weights": ("duplicate", "again", twice_the_same_weight),
    "notes of the exporter": ("notes", "small", with_notes),
}


@pytest.mark.parametrize("case", MENDED)
def test_fault_is_found_by_name_and_mended_with_equal_outputs(case: str) -> None:
    ailment, where, make = MENDED[case]
    made = make()
    untouched = made.proto.SerializeToString(deterministic=True)
    found = findings(made, ailment)
    assert where in [f.where for f in found]
    assert all(f.fixable and f.remedy and f.what for f in found)
    done = treated(made)
    assert done.undone == {}
    assert done.mended[ailment] >= 1
    assert ailment not in {f.ailment for f in done.remaining}
    assert made.proto.SerializeToString(deterministic=True) == untouched
    onnx.checker.check_model(done.model.proto, full_check=True)
    for seed in range(3):
        for before, after in zip(outputs(made, seed=seed), outputs(done.model, seed=seed), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_sound_model_is_accused_of_nothing_and_comes_back_as_it_was() -> None:
    made = sound()
    assert examine(made, ALL) == []
    done = treated(made)
    assert done.mended == {} and done.feeds == 0
    assert done.model.proto == made.proto and done.model is not made


def branch() -> Model:
    then = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"])], "then", [], [helper.make_tensor_value_info("t", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["e"])], "else", [], [helper.make_tensor_value_info("e", 1, None)]
    )
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s zero", "c"),
        node("If", "c", "y", "branch", then_branch=then, else_branch=other),
    ]
    return model(nodes, {"zero": np.float32(0)})


SAID: dict[str, tuple[str, str, str, Callable[[], Model]]] = {
    "NaN": (
        "not-finite",
        "w",
        "error",
        lambda: model([conv("x w", "y")], {"w": np.full((8, 8, 3, 3), np.nan, np.float32)}),
    ),
    "infinity in a layer": (
        "not-finite",
        "b",
        "error",
        lambda: model([conv("x w b", "y")], {"w": random(8, 8, 3, 3), "b": np.full(8, np.inf, np.float32)}),
    ),
    "training mode": (
        "training-mode",
        "norm",
        "error",
        lambda: model(
            [node("BatchNormalization", "x g b m v", "y rm rv", "norm", training_mode=1)],
            {"g": random(8), "b": random(8), "m": random(8), "v": np.abs(random(8))},
        ),
    ),
    "contradicting shapes": (
        "shape-inference",
        "join",
        "error",
        lambda: model(
            [node("Slice", "x f t", "a"), node("Concat", "a x", "y", "join", axis=1)],
            {"f": np.array([0, 0, 0, 0]), "t": np.array([1, 8, 6, 3])},
        ),
    ),
    "random outputs": (
        "random",
        "dice",
        "error",
        lambda: model([node("RandomNormalLike", "x", "a", "dice"), node("Add", "a x", "y")], {}),
    ),
    "free sides": (
        "dynamic-shape",
        "x",
        "note",
        lambda: model([node("Relu", "x", "y")], {}, ("n", 3, "h", "w")),
    ),
    "float64": (
        "precision",
        "double",
        "slow",
        lambda: model([node("Relu", "x", "y", "double")], {}, kind=TensorProto.DOUBLE),
    ),
    "unaligned channels": (
        "unaligned",
        "odd",
        "slow",
        lambda: model(
            [conv("x w", "a", "odd"), conv("a v", "y")], {"w": random(17, 8, 3, 3), "v": random(8, 17, 3, 3)}
        ),
    ),
    "two channels": (
        "unaligned",
        "thin",
        "slow",
        lambda: model([conv("x w", "a", "thin"), conv("a v", "y")], {"w": random(2, 8, 3, 3), "v": random(8, 2, 3, 3)}),
    ),
    "narrow groups": (
        "grouped",
        "groups",
        "slow",
        lambda: model([conv("x w", "y", "groups", group=4)], {"w": random(8, 2, 3, 3)}),
    ),
    "a branch": ("control-flow", "branch", "note", branch),
    "Einsum": (
        "einsum",
        "sums",
        "slow",
        lambda: model([node("Einsum", "x w", "y", "sums", equation="nchw,cd->ndhw")], {"w": random(8, 8)}),
    ),
    "cubic Resize": (
        "resize",
        "grow",
        "slow",
        lambda: model([node("Resize", "x _ s", "y", "grow", mode="cubic")], {"s": np.array([1, 1, 2, 2], np.float32)}),
    ),
    "a large kernel": (
        "large-kernel",
        "wide",
        "slow",
        lambda: model([conv("x w", "y", "wide", kernel_shape=[9, 9], pads=[4] * 4)], {"w": random(8, 8, 9, 9)}),
    ),
    "SiLU": (
        "activation",
        "gate",
        "note",
        lambda: model([node("Sigmoid", "x", "s"), node("Mul", "x s", "y", "gate")], {}),
    ),
    "HardSwish in four nodes": (
        "hardswish",
        "clip",
        "note",
        lambda: model(
            [
                node("Add", "x three", "a"),
                node("Clip", "a zero six", "c", "clip"),
                node("Mul", "x c", "m"),
                node("Div", "m six", "y"),
            ],
            {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
        ),
    ),
    "int8 depthwise": (
        "int8-depthwise",
        "dequantise",
        "slow",
        lambda: model(
            [node("DequantizeLinear", "q s", "w", "dequantise"), conv("x w", "y", group=8)],
            {"q": np.ones((8, 1, 3, 3), np.int8), "s": np.float32(0.1)},
        ),
    ),
    "BatchNormalization with no layer beside it": (
        "batchnorm",
        "alone",
        "slow",
        lambda: model(
            [node("Relu", "x", "a"), node("BatchNormalization", "a g b m v", "n", "alone"), node("Relu", "n", "y")],
            {"g": random(8), "b": random(8), "m": random(8), "v": np.abs(random(8)) + 0.1},
        ),
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_cannot_be_mended_is_said_with_place_and_remedy(case: str) -> None:
    ailment, where, severity, make = SAID[case]
    found = findings(make(), ailment)
    assert [f.where for f in found] == [where]
    assert found[0].severity == severity
    assert found[0].remedy


def test_operator_that_the_runtime_lacks_is_said_with_its_domain() -> None:
    made = sound()
    made.proto.opset_import.append(helper.make_opsetid("ours", 1))
    made.proto.graph.node[1].CopyFrom(helper.make_node("Magic", ["a"], ["r"], domain="ours", name="trick"))
    found = {f.ailment: f for f in examine(made, ALL)}
    assert found["domain"].where == "trick" and "ours" in found["domain"].what
    assert found["refused"].severity == "error"
    with pytest.raises(ModelError, match="no cure can be checked"):
        treated(as_inputs(made))


def test_nan_weights_are_refused_by_name() -> None:
    weight = random(8, 8, 3, 3)
    weight[1, 2, 0, 0] = np.nan
    made = model([conv("x w", "y")], {"w": weight})
    with pytest.raises(ModelError, match=r"weight w: 1 of 576 values are NaN or infinite"):
        treated(made)
    with pytest.raises(PassError, match="weight w"):
        Doctor().requires(made, Context(made))


def test_infinite_bounds_outside_of_layers_are_left_alone() -> None:
    made = model([node("Clip", "x low high", "y")], {"low": np.float32(0), "high": np.float32(np.inf)})
    assert findings(made, "not-finite") == []


def test_cure_that_changes_outputs_is_undone_and_reported() -> None:
    # the tolerance is so tight that folding's own rounding is beyond it
    made = batchnorm()
    done = treat(made, ALL, lambda proto: Trial(proto, seed=1, tolerance=0.0))
    assert "output y changes by" in done.undone["batchnorm"]
    assert "batchnorm" in {f.ailment for f in done.remaining}
    assert ops(done.model) == ["Conv", "BatchNormalization"]


def test_relative_difference_counts_values_shapes_and_infinities() -> None:
    a = np.array([1.0, -2.0, np.nan, np.inf], np.float32)
    assert relative_difference(a, a) == 0
    assert relative_difference(a, np.array([1.0, -1.9, np.nan, np.inf], np.float32)) == pytest.approx(0.05)
    assert relative_difference(a, np.array([1.0, -2.0, 0.0, np.inf], np.float32)) == float("inf")
    assert relative_difference(a, a[:3]) == float("inf")
    assert relative_difference(np.array([1, 2]), np.array([1, 3])) == float("inf")


def test_every_ailment_has_a_name_of_its_own() -> None:
    names = [a.name for a in AILMENTS]
    assert len(set(names)) == len(names)
    assert all(isinstance(a, Ailment) for a in AILMENTS)


def test_sides_are_fixed_when_asked_and_shape_arithmetic_goes() -> None:
    made = computed_shape()
    done = treated(made, Options(shapes={"x": (3, 8, 6, 6)}))
    assert [d.dim_value for d in done.model.proto.graph.input[0].type.tensor_type.shape.dim] == [3, 8, 6, 6]
    assert ops(done.model) == ["Transpose", "Reshape"]
    np.testing.assert_array_equal(outputs(done.model)[0], outputs(made, shape=(3, 8, 6, 6))[0])


def test_sides_of_an_unknown_input_are_refused() -> None:
    with pytest.raises(ModelError, match="no input z; it has x"):
        treated(sound(), Options(shapes={"z": (1, 8)}))
    with pytest.raises(ModelError, match="4 sides, --shape gives 2"):
        treated(sound(), Options(shapes={"x": (1, 8)}))


def test_weights_that_came_as_float16_stay_on_16_bits() -> None:
    done = treated(cast_weight())
    assert done.model.grids["w"].kind == "half"
    assert done.model.weight("w").dtype == np.float32


def test_grids_of_untouched_weights_are_kept_and_of_folded_ones_dropped() -> None:
    made = batchnorm()
    made.proto.graph.node[1].output[0] = "n"
    made.proto.graph.node.append(conv("n w2", "y"))
    made.proto.graph.initializer.append(numpy_helper.from_array(random(8, 8, 3, 3, seed=3), "w2"))
    half = Grid("half", 16, np.empty(0, np.float32))
    made.grids.update({"w": half, "w2": half})
    done = treated(made)
    assert set(done.model.grids) == {"w2"}


def test_contradiction_that_even_lenient_inference_refuses_is_said() -> None:
    made = batchnorm()
    made.proto.graph.initializer[0].dims[:] = [8 * 8 * 3 * 3]
    found = findings(made, "shape-inference")
    assert len(found) == 1 and found[0].severity == "error"


def test_recipe_pass_mends_and_says_what_it_left() -> None:
    made = as_inputs(batchnorm())
    change = Doctor().run(made, Context(made))
    Doctor().ensures(made, change, Context(made))
    assert ops(change.model) == ["Conv"]
    assert change.summary.startswith("5 weights-as-inputs, 1 batchnorm")
    assert change.refused == ()
    assert [i.name for i in change.model.proto.graph.input] == ["x"]


def test_recipe_pass_keeps_batchnorm_for_pruning_when_told() -> None:
    made = batchnorm()
    change = Doctor(fold_batchnorm=False).run(made, Context(made))
    assert ops(change.model) == ["Conv", "BatchNormalization"]


def test_recipe_pass_uses_the_calibration_data() -> None:
    made = batchnorm()
    seen: list[int] = []

    class Samples:
        def __iter__(self):  # type: ignore[no-untyped-def]
            for i in range(5):
                seen.append(i)
                yield {"x": random(1, 8, 6, 6, seed=i)}

        def __len__(self) -> int:
            return 5

    Doctor().run(made, Context(made, calibration=Samples()))
    assert seen == [0, 1]


def test_folding_a_cast_that_doubles_bytes_is_for_passes_only() -> None:
    weights = {"h": random(16, 16, 5, 5).astype(np.float16), "b": random(4).astype(np.float16)}
    nodes = [node("Cast", "h", "w", "wide", to=TensorProto.FLOAT), conv("x w", "y", pads=[2] * 4, kernel_shape=[5, 5])]
    made = model(nodes, weights, (1, 16, 6, 6))
    assert [f.where for f in findings(made, "constant", Options())] == ["wide"]
    assert findings(made, "constant", Options(widen=False)) == []


def test_float64_convolution_that_the_runtime_lacks_comes_to_compute_in_float32() -> None:
    made = model(
        [conv("x w", "a"), node("Relu", "a", "y")], {"w": random(8, 8, 3, 3).astype(float)}, kind=TensorProto.DOUBLE
    )
    assert {f.ailment for f in examine(made, ALL)} >= {"refused", "precision"}
    done = treated(made)
    assert ops(done.model) == ["Cast", "Conv", "Relu", "Cast"]
    assert done.model.weight("w").dtype == np.float32
    assert outputs(done.model)[0].dtype == np.float64
    assert "refused" not in {f.ailment for f in done.remaining}


def test_onnxslim_is_tried_when_asked_and_checked_like_every_cure() -> None:
    pytest.importorskip("onnxslim")
    made = batchnorm()
    done = treated(made, Options(slim=True, fold_batchnorm=False))
    assert done.mended.get("slim") == 1
    np.testing.assert_allclose(outputs(done.model)[0], outputs(made)[0], rtol=1e-4, atol=1e-5)
