"""One node of an ONNX graph as an operator in torch sees it: attributes, opset, and where to point when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from build_tools.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A node without its tensors.

    Attributes:
        op: operator type, as `Conv`.
        node: name of the node, for messages.
        opset: version of the default operator set the model was written for.
        attributes: by name; texts as str, tensors as numpy arrays.
        outputs: how many outputs the node has.
    """

    op: str
    node: str
    opset: int
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or `default`."""
        return self.attributes.get(name, default)

    def axes(self, given: Tensor | None) -> list[int] | None:
        """Axes, which older opsets have as an attribute and newer ones as an input; None where neither is there."""
        if given is not None:
            return whole(given)
        axes = self.attributes.get("axes")
        return None if axes is None else [int(a) for a in axes]

    def refuse(self, what: str) -> ModelError:
        """The error to raise for a form of the operator that is not supported."""
        return ModelError(f"node {self.node} ({self.op}): {what}; leave this model out of training")


Operator = Callable[..., Tensor | tuple[Tensor, ...]]
"""Called with a `Call` and the node's inputs in order, None for those left out."""


def whole(tensor: Tensor) -> list[int]:
    """The values of a tensor that steers shapes, flat."""
    return [int(v) for v in tensor.reshape(-1).tolist()]
