"""What the doctor says of a model: findings, and the ailments that they are findings of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import onnx
import onnx_ir as ir

from build_tools.model import Model

Severity = Literal["error", "slow", "size", "note"]
"""error: wrong results or none | slow: costs time | size: costs bytes | note: worth knowing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the doctor may do.

    Attributes:
        align: channel counts should be multiples of this.
        opset: models below are converted to it.
        fold_batchnorm: fold BatchNormalization into the layer beside it.
        merge_duplicates: let equal weights be one.
        rewrite_slow: write slow operators as faster ones.
        widen: fold the Cast of a float16 weight, which doubles its bytes and makes a weight of it that passes see.
        slim: try onnxslim.
        shapes: sides to fix, by input name.
    """

    align: int = 8
    opset: int = 17
    fold_batchnorm: bool = True
    merge_duplicates: bool = False
    rewrite_slow: bool = False
    widen: bool = True
    slim: bool = False
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or could be better.

    Attributes:
        ailment: its family, as `batchnorm`.
        where: name of the node or tensor.
        what: what is wrong with it, in words.
        severity: see `Severity`.
        remedy: what mends it, or what a person can do.
        fixable: whether `--fix` tries to mend it.
    """

    ailment: str
    where: str
    what: str
    severity: Severity
    remedy: str
    fixable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """A model as checks look at it.

    Attributes:
        model: as it is, with its grids.
        graph: the same, with producers, uses and inferred shapes; free sides are symbols. Never changed by a check.
        shape_error: what shape inference said when it failed, else empty.
        external: tensors that the file keeps in other files.
        refusal: why ONNX Runtime does not take it; empty when it does, or was not asked.
    """

    model: Model
    graph: ir.Graph
    shape_error: str = ""
    external: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def proto(self) -> onnx.ModelProto:
        """The ONNX model."""
        return self.model.proto


Find = Callable[[Patient, Options], list[Finding]]
Mend = Callable[[ir.Model, Options], ir.Model]


@dataclass(frozen=True, slots=True, eq=False)
class Ailment:
    """A check, and the cure if there is one.

    Attributes:
        name: as in `Finding.ailment`; a check may report several names, its first is this.
        find: looks; changes nothing.
        always: it looks at graphs too that contradict themselves; other checks trust shapes and attributes.
        mend: changes the `ir.Model` it is given (a view of its own, shapes inferred) and returns it, or another one.
    """

    name: str
    find: Find
    mend: Mend | None = None
    always: bool = False


def name_of(node: ir.Node) -> str:
    """The node's name, or one made of its operator and what it makes."""
    return node.name or f"{node.op_type}({node.outputs[0].name if node.outputs else ''})"


def nodes_of(graph: ir.Graph) -> list[ir.Node]:
    """Every node, those of branches and loop bodies too."""
    return list(ir.traversal.RecursiveGraphIterator(graph))
