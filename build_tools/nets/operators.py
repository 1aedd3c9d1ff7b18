"""Every ONNX operator that can be run and trained through in torch."""

from __future__ import annotations

from build_tools.nets.operator_call import Operator
from build_tools.nets.operators_layers import LAYERS
from build_tools.nets.operators_math import MATH
from build_tools.nets.operators_shapes import SHAPES
from build_tools.nets.operators_windows import WINDOWS

OPERATORS: dict[str, Operator] = {**LAYERS, **WINDOWS, **SHAPES, **MATH}
"""By operator type; `Constant` is no operator but a value."""
