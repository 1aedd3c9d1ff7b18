"""Looks a model over for every ailment, and mends one after the other as far as its outputs stay the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnx_ir as ir

from build_tools.errors import ModelError, PassError
from build_tools.model import Grid, Model
from build_tools.passes.doctoring import (
    affine,
    ballast,
    channels,
    constants,
    idle,
    interface,
    operators,
    opset,
    precision,
    reshaping,
    rewriting,
    slimming,
    values,
)
from build_tools.passes.doctoring.findings import Ailment, Finding, Options, Patient
from build_tools.passes.doctoring.trial import Trial, runtime_refusal
from build_tools.passes.doctoring.view import patient, view

ROUNDS = 4
"""Mending one thing lays open another (folding a shape makes a Reshape idle); more rounds have never been needed."""


def shape_inference_failed(patient: Patient, options: Options) -> list[Finding]:
    """Shapes that contradict each other or an operator's rules."""
    if not patient.shape_error:
        return []
    text = patient.shape_error
    node = next((n.name for n in patient.proto.graph.node if n.name and n.name in text), "graph")
    remedy = "passes that need shapes leave this part alone; export the model again, or mend the node"
    return [Finding("shape-inference", node, f"shape inference fails: {text[:240]}", "error", remedy)]


LACKING = ("NOT_IMPLEMENTED", "is not a registered", "No opset import")
"""Refusals for want of a kernel or an operator; the graph itself may be sound."""
AILMENTS = (
    Ailment("shape-inference", shape_inference_failed, always=True),
    Ailment("not-finite", values.not_finite, always=True),
    Ailment("training-mode", affine.training_mode),
    Ailment("unsupported", operators.unsupported, always=True),
    Ailment("external-data", interface.external_data, lambda model, options: model, always=True),
    Ailment("weights-as-inputs", interface.weights_as_inputs, interface.take_weights_off_inputs, always=True),
    Ailment("function", ballast.functions, ballast.inline),
    Ailment("opset", opset.old_opset, opset.convert, always=True),
    Ailment("dynamic-shape", interface.free_sides, interface.fix_sides),
    Ailment("constant", constants.foldable, constants.fold),
    Ailment("precision", precision.odd_precision, precision.to_float32),
    Ailment("shape-arithmetic", reshaping.computed_shapes, reshaping.write_shapes),
    Ailment("identity", idle.idle_nodes, idle.take_out_idle),
    Ailment("repeated", ballast.repeated, ballast.compute_once),
    Ailment("batchnorm", affine.unfolded, affine.fold),
    Ailment("prelu", rewriting.slow_prelu, rewriting.write_as_arithmetic),
    Ailment("slim", slimming.slimmable, slimming.slim),
    Ailment("dead-node", idle.dead, idle.take_out_dead),
    Ailment("denormal", values.denormals, values.flush_denormals),
    Ailment("duplicate", values.duplicates, values.merge),
    Ailment("notes", ballast.notes, ballast.take_out_notes),
    Ailment("slow-operator", operators.slow),
    Ailment("unaligned", channels.unaligned),
)
"""In the order in which they are mended: each leaves to the next what that one can mend."""


@dataclass(frozen=True, slots=True, eq=False)
class Treatment:
    """What mending came to.

    Attributes:
        model: the mended model.
        found: what was wrong with the one that came.
        remaining: what is still to be said of the mended one.
        mended: what was mended, with the number of findings, those included that other cures laid open.
        undone: ailments (by the name in `AILMENTS`) whose cure changed the outputs or did not work, and why.
        difference: the largest relative difference of an output, after the last cure.
        feeds: how many inputs it was tried on.
    """

    model: Model
    found: list[Finding]
    remaining: list[Finding]
    mended: dict[str, int] = field(default_factory=dict)
    undone: dict[str, str] = field(default_factory=dict)
    difference: float = 0.0
    feeds: int = 0

    @property
    def checked(self) -> str:
        """How the mended model's outputs stand to those of the model that came; empty where nothing was tried."""
        if not self.feeds:
            return ""
        how = f"within {self.difference:.1e}" if self.difference else "bit for bit"
        return f"outputs equal {how} on {self.feeds} inputs"


def examine(model: Model, options: Options, external: tuple[str, ...] = ()) -> list[Finding]:
    """Everything there is to say of the model, in the order of `AILMENTS`.

    Raises:
        ModelError: the graph cannot be read as one.
    """
    fixed(model.proto, options)
    seen = patient(model, external, runtime_refusal(model.proto))
    sound = not seen.refusal or any(sign in seen.refusal for sign in LACKING)
    return [f for ailment in AILMENTS if sound or ailment.always for f in ailment.find(seen, options)]


def treat(
    model: Model,
    options: Options,
    trial: Callable[[onnx.ModelProto], Trial],
    external: tuple[str, ...] = (),
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Treatment:
    """Mend what can be mended; each cure is held against the outputs of the model that came, and undone if they change.

    Args:
        model: left as it is.
        options: what may be done.
        trial: makes the trial of a model; made only if there is something to mend.
        external: tensors that the file keeps in other files.
        progress: told of each ailment looked for.

    Raises:
        ModelError: weights that are not numbers, or a model that does not run, so that no cure can be checked.
    """
    found = examine(model, options, external)
    refuse(found)
    done = Treatment(model.copy(), found, found)
    tried: Trial | None = None
    for _ in range(ROUNDS):
        before = done
        seen = patient(done.model, external)
        for index, ailment in enumerate(AILMENTS):
            progress(ailment.name, index, len(AILMENTS))
            if ailment.mend is None or ailment.name in done.undone:
                continue
            if seen.model is not done.model:
                seen = patient(done.model, external)
            findings = [f for f in ailment.find(seen, options) if f.fixable]
            if not findings:
                continue
            tried = tried or _trial(trial, model.proto, options)
            done = _mended(done, ailment, findings, options, tried)
        external = ()
        if done is before or done.mended == before.mended:
            break
    if done.mended:
        _tidy(done.model)
        _claim_halves(done.model, model)
    remaining = examine(done.model, options) if done.mended else found
    feeds = len(tried.feeds) if tried is not None else 0
    return replace(done, remaining=remaining, feeds=feeds)


def _trial(make: Callable[[onnx.ModelProto], Trial], proto: onnx.ModelProto, options: Options) -> Trial:
    try:
        return make(fixed(proto, options))
    except ModelError as error:
        sides = ", ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in options.shapes.items())
        where = f" with --shape {sides}" if sides else ""
        raise ModelError(f"nothing can be mended, since no cure can be checked{where}: {error}") from error


def refuse(findings: list[Finding]) -> None:
    """Raise where nothing sound can be made of the model.

    Raises:
        ModelError: weights that are not numbers.
    """
    for finding in findings:
        if finding.ailment == "not-finite":
            raise ModelError(f"weight {finding.where}: {finding.what}; {finding.remedy}")


def fixed(proto: onnx.ModelProto, options: Options) -> onnx.ModelProto:
    """The model with the sides that were asked for, against which cures are tried.

    Raises:
        ModelError: an input that the model does not have, or another number of sides.
    """
    inputs = {i.name: i for i in proto.graph.input}
    for name, shape in options.shapes.items():
        if name not in inputs:
            raise ModelError(f"the model has no input {name}; it has {', '.join(inputs)}")
        rank = len(inputs[name].type.tensor_type.shape.dim)
        if rank != len(shape):
            raise ModelError(f"input {name} has {rank} sides, --shape gives {len(shape)}")
    if not options.shapes:
        return proto
    return ir.to_proto(interface.fix_sides(ir.from_proto(proto), options))


def _mended(done: Treatment, ailment: Ailment, findings: list[Finding], options: Options, trial: Trial) -> Treatment:
    assert ailment.mend is not None
    try:
        mended, _ = view(done.model.proto)
        proto = ir.to_proto(ailment.mend(mended, options))
        onnx.checker.check_model(proto)
        difference = trial.judge(proto)
    except (PassError, onnx.checker.ValidationError) as error:
        return replace(done, undone={**done.undone, ailment.name: " ".join(str(error).split())[:240]})
    total = dict(Counter(done.mended) + Counter(f.ailment for f in findings))
    return replace(done, model=_with_grids(proto, done.model), mended=total, difference=difference)


def _with_grids(proto: onnx.ModelProto, before: Model) -> Model:
    """The mended model; a weight that is still what it was keeps its grid."""
    model = Model(proto)
    names = set(model.weight_names())
    for name, grid in before.grids.items():
        if name in names and model.weight(name).tobytes() == before.weight(name).tobytes():
            model.grids[name] = grid
    return model


def _claim_halves(model: Model, before: Model) -> None:
    """Weights that came as float16 and are float32 now say so, that they be stored in 16 bits again."""
    if not any(t.data_type == onnx.TensorProto.FLOAT16 for t in before.proto.graph.initializer):
        return
    for tensor in model.proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in model.grids:
            continue
        values = model.weight(tensor.name)
        if np.abs(values).max(initial=0) < np.finfo(np.float16).max and (values == values.astype(np.float16)).all():
            model.grids[tensor.name] = Grid("half", 16, np.empty(0, np.float32))


def _tidy(model: Model) -> None:
    """Inner shapes are for whoever works on the graph: they are inferred when needed and cost bytes in a file."""
    del model.proto.graph.value_info[:]
