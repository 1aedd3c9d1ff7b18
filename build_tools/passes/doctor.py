"""The doctor: makes any ONNX model plain and sound before other passes work on it, with the same outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from build_tools.errors import PassError
from build_tools.model import Model
from build_tools.passes.contract import Change, Context
from edge_runtime.settings import setting

if TYPE_CHECKING:
    from build_tools.passes.doctoring.findings import Options


@dataclass(frozen=True, slots=True)
class Doctor:
    """Mends what costs time or bytes or hides weights, with equal outputs; a cure that changes them is undone.

    Constants and BatchNormalization are folded, weights taken off the inputs, dead and idle nodes taken out, denormals
    made zero, old opsets converted.
    """

    KIND: ClassVar[str] = "doctor"

    fold_batchnorm: bool = setting(True, "fold BatchNormalization into layers; false: keep its scales for pruning")
    opset: int = setting(17, "convert models below this opset", low=13, high=21)
    align: int = setting(8, "say which channel counts are no multiple of this", low=1)
    merge_duplicates: bool = setting(False, "let equal weights be one; only where no later pass prunes or changes them")
    rewrite_slow: bool = setting(False, "write PRelu as arithmetic: faster, but equalisation sees no activation there")
    slim: bool = setting(False, "try onnxslim too, if it is installed")
    tolerance: float = setting(1e-4, "an output may change by this share of its largest value", low=0, high=1)

    def requires(self, model: Model, context: Context) -> None:
        """Weights that are numbers."""
        from build_tools.passes.doctoring.values import not_finite
        from build_tools.passes.doctoring.view import patient

        for finding in not_finite(patient(model), self._options()):
            raise PassError(f"weight {finding.where}: {finding.what}; {finding.remedy}")

    def run(self, model: Model, context: Context) -> Change:
        """Mend the model; what could not be mended is in `refused`."""
        from build_tools.passes.doctoring.diagnosis import treat
        from build_tools.passes.doctoring.trial import Trial

        samples = context.calibration or ()
        treatment = treat(
            model,
            self._options(),
            lambda proto: Trial(proto, context.seed, self.tolerance, samples),
            progress=context.progress,
        )
        mended = ", ".join(f"{count} {name}" for name, count in treatment.mended.items()) or "nothing to mend"
        before, after = len(model.proto.graph.node), len(treatment.model.proto.graph.node)
        summary = f"{mended}; {before} -> {after} nodes"
        if treatment.checked:
            summary += f", {treatment.checked}"
        undone = [f"{name}: undone, {why}" for name, why in treatment.undone.items()]
        counted = Counter((f.ailment, f.remedy) for f in treatment.remaining if f.severity != "note")
        left = [f"{count} {name}: {remedy}" for (name, remedy), count in counted.items()]
        return Change(treatment.model, summary, refused=(*undone, *left))

    def ensures(self, before: Model, change: Change, context: Context) -> None:
        """Inputs and outputs keep their names; with folding, no layer has a BatchNormalization that it could hold."""
        from build_tools.passes.doctoring.affine import unfolded
        from build_tools.passes.doctoring.view import patient

        old, new = before.proto.graph, change.model.proto.graph
        weights = {t.name for t in old.initializer}
        if [i.name for i in old.input if i.name not in weights] != [i.name for i in new.input]:
            raise PassError("doctor: the model's inputs changed; please report it")
        if [o.name for o in old.output] != [o.name for o in new.output]:
            raise PassError("doctor: the model's outputs changed; please report it")
        left = [f for f in unfolded(patient(change.model), self._options()) if f.fixable and f.ailment == "batchnorm"]
        if left and not any(line.startswith("batchnorm: undone") for line in change.refused):
            raise PassError(f"doctor: {left[0].where} is still there; please report it")

    def _options(self) -> Options:
        from build_tools.passes.doctoring.findings import Options

        return Options(
            align=self.align,
            opset=self.opset,
            fold_batchnorm=self.fold_batchnorm,
            merge_duplicates=self.merge_duplicates,
            rewrite_slow=self.rewrite_slow,
            slim=self.slim,
        )
