"""Which layers can be taken apart, and all that is known of one before it is decided how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.graph import Graph, Layer, attribute
from build_tools.passes.factoring.decompose import F64, Form, Inputs, forms_of, spectra, squared_error
from build_tools.passes.factoring.factor_nodes import as_convolution
from build_tools.passes.factoring.rank_choice import Extent
from build_tools.passes.factoring.ranks import aligned, bayes_rank
from build_tools.passes.factoring.windows import window

Sizes = tuple[tuple[int, ...], tuple[int, ...]]
"""Shape of a layer's input and of its output."""
FLOATS = (np.float32, np.float16, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A layer on the table.

    Attributes:
        layer: the layer.
        node: its node.
        weight: float64 [out, in, *kernel], alpha of a Gemm within when the bias may move.
        dtype: of the weight in the model.
        bias: float64 [out] when it may be changed (zeros where there is none), else None.
        extent: where it computes.
        input_shape: of its input; empty when not known.
        inputs: statistics of what it sees, or None.
        spread: of these, centred when the bias may move; None: plain.
        spectra: singular values by form, plain or weighted by `spread`.
    """

    layer: Layer
    node: onnx.NodeProto
    weight: F64
    dtype: np.dtype[Any]
    bias: F64 | None
    extent: Extent
    input_shape: tuple[int, ...]
    inputs: Inputs | None
    spread: F64 | None
    spectra: dict[Form, tuple[F64, ...]]

    def sides(self) -> str:
        """The weight's shape for a person."""
        return "x".join(map(str, self.layer.shape))

    def relative_error(self, product: F64) -> float:
        """Root mean square error of the outputs (of the weights, without statistics) against their spread."""
        whole = squared_error(self.weight, self.spread)
        return float(np.sqrt(squared_error(self.weight - product, self.spread) / max(whole, 1e-300)))

    def new_bias(self, product: F64) -> F64 | None:
        """The bias that takes up what `product` changes of the outputs' mean, or None when the old one stays."""
        if self.inputs is None or self.bias is None:
            return None
        return self.bias + (self.weight - product).reshape(len(product), -1) @ self.inputs.mean

    def bayes_ranks(self, align: int) -> dict[Form, tuple[int, ...]]:
        """Ranks by variational Bayes of the plain weight (noise is in weights, not in inputs), rounded up."""
        found: dict[Form, tuple[int, ...]] = {}
        for form in self.spectra:
            of = self.spectra[form] if self.spread is None else spectra(self.weight, form)
            pairs = zip(of, _matrix_sides(self.weight.shape, form), strict=True)
            found[form] = tuple(aligned(bayes_rank(s, *sides), align, len(s)) for s, sides in pairs)
        return found


def study(graph: Graph, layer: Layer, sizes: Sizes | None, inputs: Inputs | None, form: Literal["auto"] | Form) -> Case:
    """Everything about a layer that `factorable` let pass.

    Args:
        graph: it is in.
        layer: the layer.
        sizes: of its maps; None when they are not known: costs are then those of one output position.
        inputs: statistics, or None.
        form: which forms to look at, where the layer has a choice.
    """
    node = graph.nodes[layer.index]
    stored = graph.constants[layer.weight]
    weight = as_convolution(stored, layer)
    bias = _movable_bias(graph, node, layer)
    if bias is not None and layer.op == "Gemm" and inputs is not None:
        weight = weight * attribute(node, "alpha", 1.0)
    spread = inputs.spread(centred=bias is not None) if inputs is not None else None
    forms = forms_of(weight.shape)
    if form in forms:
        forms = (form,)
    by_form = {f: spectra(weight, f, spread) for f in forms}
    extent = _extent(node, layer, weight.shape, sizes)
    input_shape = sizes[0] if sizes else ()
    return Case(layer, node, weight, stored.dtype, bias, extent, input_shape, inputs, spread, by_form)


def factorable(graph: Graph, only: tuple[str, ...]) -> tuple[list[Layer], list[str]]:
    """The layers that can be taken apart, and one line for each that cannot be.

    Args:
        graph: of the model.
        only: names of the weights that are asked for; empty: all.
    """
    fit: list[Layer] = []
    refused: list[str] = []
    depthwise = 0
    for layer in graph.layers():
        if only and layer.weight not in only:
            continue
        node = graph.nodes[layer.index]
        readers = graph.readers[layer.weight]
        reason = ""
        if layer.op == "ConvTranspose":
            reason = "a ConvTranspose is not taken apart"
        elif layer.depthwise:
            depthwise += 1
            continue
        elif layer.groups > 1:
            reason = f"{layer.groups} groups: each mixes few channels already"
        elif layer.op == "Gemm" and attribute(node, "transA", 0):
            reason = "its input is transposed (transA)"
        elif len(readers) > 1 or layer.weight in graph.outputs:
            reason = f"its weight is shared by {', '.join(r.name or r.op_type for r in readers)}"
        elif graph.constants[layer.weight].dtype not in FLOATS:
            reason = f"its weight is {graph.constants[layer.weight].dtype}; run lowrank before what made it so"
        if reason:
            refused.append(f"{layer.weight}: {reason}")
        else:
            fit.append(layer)
    if depthwise:
        refused.append(f"{depthwise} depthwise convolutions: there is nothing between channels to take apart")
    return fit, refused


def _movable_bias(graph: Graph, node: onnx.NodeProto, layer: Layer) -> F64 | None:
    if layer.op == "MatMul":
        return None
    out = layer.shape[layer.out_axis]
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(out)
    values: NDArray[Any] | None = graph.constants.get(node.input[2])
    if values is None or values.size not in (1, out) or (values.ndim and values.shape[-1] != values.size):
        return None  # a Gemm's C of another shape, or one that is computed
    beta = attribute(node, "beta", 1.0) if layer.op == "Gemm" else 1.0
    return np.broadcast_to(np.asarray(values, np.float64).reshape(-1) * beta, (out,)).copy()


def _extent(node: onnx.NodeProto, layer: Layer, shape: tuple[int, ...], sizes: Sizes | None) -> Extent:
    view = window(node, layer)
    if not view.kernel:
        return Extent(shape, rows=int(np.prod(sizes[1][1:-1])) if sizes else 1)
    if sizes is None:
        return Extent(shape, view.strides, (1,) * len(view.kernel))
    return Extent(shape, sizes[0][2:], sizes[1][2:])


def _matrix_sides(shape: tuple[int, ...], form: Form) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the matrices that `spectra` are of."""
    out, into, *kernel = shape
    taps = int(np.prod(kernel))
    if form == "svd":
        return ((out, into * taps),)
    if form == "tucker":
        return (into, out * taps), (out, into * taps)
    return ((into * kernel[0], kernel[1] * out),)
