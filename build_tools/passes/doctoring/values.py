"""What the weights' values are: not a number, denormal, written twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from build_tools.passes.doctoring.findings import Finding, Options, Patient
from build_tools.passes.doctoring.view import constant, fixed_sides

F = NDArray[np.floating[Any]]
LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu", "LSTM", "GRU"}
PIECE = 1 << 22
MIN_DUPLICATE_BYTES = 256
"""Below, two weights are equal by chance (biases of zero, shapes) and one entry less saves nothing."""


def not_finite(patient: Patient, options: Options) -> list[Finding]:
    """NaN or infinite weights; no cure: what they should have been is not in the file."""
    found = []
    for name, values in _weights(patient.graph):
        readers = {u.node.op_type for u in patient.graph.initializers[name].uses()}
        # an infinity outside of a layer may be meant: a mask, a bound
        wrong = np.isnan if readers.isdisjoint(LAYERS) else lambda v: ~np.isfinite(v)
        bad = sum(int(wrong(piece).sum()) for piece in _pieces(values))
        if bad:
            what = f"{bad} of {values.size} values are NaN or infinite"
            remedy = "train or export it again: a NaN poisons every output that it reaches"
            found.append(Finding("not-finite", name, what, "error", remedy))
    return found


def denormals(patient: Patient, options: Options) -> list[Finding]:
    """float32 and float64 weights too small for full precision: many cores leave the fast path for them."""
    found = []
    for name, values in _weights(patient.graph):
        if values.dtype.itemsize >= 4 and (bad := sum(int(_denormal(piece).sum()) for piece in _pieces(values))):
            what = f"{bad} of {values.size} values are denormal (below {np.finfo(values.dtype).tiny:.1e})"
            found.append(Finding("denormal", name, what, "note", "make them zero: no output can tell", True))
    return found


def flush_denormals(model: ir.Model, options: Options) -> ir.Model:
    """Denormal weights are zero."""
    for name, values in _weights(model.graph):
        if values.dtype.itemsize >= 4 and any(_denormal(piece).any() for piece in _pieces(values)):
            flushed = np.where(_denormal(values), values.dtype.type(0), values)
            model.graph.initializers[name].const_value = ir.tensor(flushed, name=name)
    return model


def duplicates(patient: Patient, options: Options) -> list[Finding]:
    """Weights with the same bits as an earlier one."""
    found = []
    for first, *others in _equal(patient.graph):
        for value in others:
            size = 0 if value.const_value is None else value.const_value.nbytes
            remedy = "let both be one" + ("" if options.merge_duplicates else " (when nothing prunes them later)")
            what = f"the same {size:,} bytes as {first.name}"
            found.append(Finding("duplicate", str(value.name), what, "size", remedy, options.merge_duplicates))
    return found


def merge(model: ir.Model, options: Options) -> ir.Model:
    """Readers of equal weights read the first of them."""
    for first, *others in _equal(model.graph):
        for value in others:
            ir.convenience.replace_all_uses_with(value, first)
            del model.graph.initializers[str(value.name)]
    return model


def _weights(graph: ir.Graph) -> list[tuple[str, F]]:
    pairs = [(str(v.name), constant(v)) for v in graph.initializers.values()]
    return [(name, cast(F, values)) for name, values in pairs if values is not None and values.dtype.kind == "f"]


def _pieces(values: F) -> Iterator[F]:
    """The values in pieces, so that looking at a large weight takes little memory."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, PIECE):
        yield flat[start : start + PIECE]


def _denormal(values: F) -> NDArray[np.bool_]:
    return np.asarray((values != 0) & (np.abs(values) < np.finfo(values.dtype).tiny))


def _equal(graph: ir.Graph) -> list[list[ir.Value]]:
    """Groups of two or more initialisers with the same type, shape and bits."""
    alike: dict[tuple[str, tuple[int, ...]], list[ir.Value]] = defaultdict(list)
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < MIN_DUPLICATE_BYTES or tensor.dtype == ir.DataType.STRING:
            continue
        if not value.is_graph_output() and not value.is_graph_input():
            alike[str(tensor.dtype), tuple(fixed_sides(value) or ())].append(value)
    groups: dict[bytes, list[ir.Value]] = defaultdict(list)
    for (dtype, shape), members in alike.items():
        for value in members if len(members) > 1 else ():  # a weight of its own shape need not be hashed
            bits = np.ascontiguousarray(constant(value)).tobytes()
            groups[sha256(f"{dtype}{shape}".encode() + bits).digest()].append(value)
    return [group for group in groups.values() if len(group) > 1]
