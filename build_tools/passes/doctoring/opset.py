"""Old models speak an old opset: they are converted, so that every pass knows the operators it meets."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import version_converter

from build_tools.errors import PassError
from build_tools.passes.doctoring.findings import Finding, Options, Patient
from build_tools.passes.doctoring.interface import MIN_IR_VERSION
from build_tools.passes.doctoring.view import with_bulk, without_bulk


def old_opset(patient: Patient, options: Options) -> list[Finding]:
    """A model below the opset that passes and the runtime are tested with."""
    version = _version(patient.proto)
    if not 0 < version < options.opset:
        return []
    what = f"opset {version}: operators of this age take part in fewer optimisations, and passes are not tested on them"
    return [Finding("opset", f"opset {version}", what, "note", f"convert it to opset {options.opset}", True)]


def convert(model: ir.Model, options: Options) -> ir.Model:
    """The model in the wanted opset, by onnx.version_converter; large weights go round it.

    Raises:
        PassError: an operator has no successor there.
    """
    skeleton, bulk = without_bulk(ir.to_proto(model))
    try:
        converted = version_converter.convert_version(skeleton, options.opset)
    except Exception as error:  # the converter is C++; its errors share no base class
        text = " ".join(str(error).split())[:200]
        raise PassError(f"cannot be converted to opset {options.opset}: {text}") from error
    converted = with_bulk(converted, bulk)
    converted.ir_version = max(converted.ir_version, MIN_IR_VERSION)
    return ir.from_proto(converted)


def _version(proto: onnx.ModelProto) -> int:
    return next((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
