"""What is asked of weights while they train: pruned, quantised, sharing values, of low rank, cheap to code.

A training loop computes with `effective(step)` in place of its weights, adds `penalty()` to its loss, calls
`after_step(step)` behind the optimiser, and at the end takes what `settle()` gives: values that lie on their grids bit
for bit, and are those that the last forward pass computed with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from build_tools.errors import PassError
from build_tools.model import Grid
from build_tools.training.constraints import During
from build_tools.training.entropy_penalty import EntropyPenalty
from build_tools.training.gradual import GradualPruning, Slices
from build_tools.training.low_rank import nuclear_norm, truncate
from build_tools.training.shared_values import SharedValues
from build_tools.training.step_size import ActivationStep, BinaryScale, StepSize, along

EPOCHS = 20
"""Epochs that a training is taken to have when it does not say how long one is."""
SMALLEST_SIDE = 4
"""Sides of a matrix below which a lower rank would save nothing."""


class Constraints:
    """All constraints of one training.

    Args:
        weights: float32 parameters by name, as they start; those with one side (biases) are constrained only where
            the settings say so by name, or by `quantize.bias_bits`.
        settings: see `During`.
        steps: of the whole training.
        channel_groups: see `GradualPruning`.
        axes: the axis of output channels by weight name, where it is not the first.
        epoch_steps: steps of an epoch; low rank is truncated once in one.
        activations: names of the tensors that `activation` will be asked for.

    Raises:
        PassError: settings that contradict each other, or name a weight that is not there.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        settings: During,
        steps: int,
        channel_groups: Sequence[Slices] | None = None,
        axes: Mapping[str, int] | None = None,
        epoch_steps: int = 0,
        activations: Sequence[str] = (),
    ) -> None:
        self._weights, self._settings, self._steps = dict(weights), settings, steps
        self._epoch_steps = epoch_steps or max(1, steps // EPOCHS)
        self._check()
        self._pruning = GradualPruning(weights, settings.prune, steps, channel_groups or ())
        self._entropy = EntropyPenalty(settings.entropy, steps)
        self._steppers: dict[str, StepSize | BinaryScale] = {}
        self._shared: dict[str, SharedValues] = {}
        for name, weight in self._weights.items():
            axis = (axes or {}).get(name, 0) if settings.quantize.per_channel and weight.dim() > 1 else None
            if bits := self._codebook_bits(name, weight):
                self._shared[name] = SharedValues(tuple(weight.shape), bits)
            elif (bits := self._quantize_bits(name, weight)) == 1:
                self._steppers[name] = BinaryScale(axis)
            elif bits:
                self._steppers[name] = StepSize(weight, bits, settings.quantize.step, axis)
        bits = settings.quantize.activation_bits
        self._activations = {name: ActivationStep(bits) for name in activations} if bits else {}
        self._quantizing = False
        self._positions: list[tuple[Tensor, int]] = []
        self._step = 0

    def effective(self, step: int) -> dict[str, Tensor]:
        """The weights to compute with at a step, all of them, by name; differentiable."""
        self._step = step
        self._pruning.update(step)
        if not self._quantizing and step >= self._settings.quantize.begin * self._steps:
            self._start_quantizing()
        if step >= self._settings.codebook.begin * self._steps:
            self._start_sharing()
        self._positions = []
        return {name: self._constrained(name, weight) for name, weight in self._weights.items()}

    def activation(self, name: str, values: Tensor) -> Tensor:
        """An inner tensor as its few levels hold it; as it is where activations are not (yet) quantised."""
        stepper = self._activations.get(name)
        return stepper(values) if stepper is not None and self._quantizing else values

    def activation_ranges(self) -> dict[str, tuple[float, int, int]]:
        """Step size, lowest and highest level of each quantised inner tensor, by name."""
        return {name: (float(a.log_step.detach().exp2().half()), *a.span()) for name, a in self._activations.items()}

    def extra_parameters(self) -> list[nn.Parameter]:
        """What is learned besides the weights: step sizes and shared values. Without weight decay, please."""
        modules: list[nn.Module] = [*self._steppers.values(), *self._shared.values(), *self._activations.values()]
        return [p for module in modules for p in module.parameters() if p.requires_grad]

    def penalty(self) -> Tensor:
        """The constraints' term of the loss, for what `effective` gave last."""
        found = self._entropy.penalty(self._positions, self._step) if self._positions else torch.zeros(())
        if self._settings.lowrank.weight > 0:
            found = found + self._settings.lowrank.weight * nuclear_norm(self._matrices())
        return found

    def after_step(self, step: int) -> None:
        """What is done to the weights themselves behind the optimiser's step."""
        if self._quantizing:
            # Beyond the highest level no gradient reaches a weight, neither the loss's nor the penalty's: it would stay
            # there for good. Of LeNet-300-100 at 4 bits that became half of all weights.
            for name, stepper in self._steppers.items():
                if isinstance(stepper, StepSize):
                    stepper.keep_in_range(self._weights[name])
        if self._settings.lowrank.energy > 0 and (step + 1) % self._epoch_steps == 0:
            for weight in self._matrices():
                truncate(weight, self._settings.lowrank.energy)

    def settle(self) -> dict[str, tuple[NDArray[np.float32], Grid | None]]:
        """The final values of all weights, exactly on their grids, and those grids, by name."""
        with torch.no_grad():
            for weight in self._matrices() if self._settings.lowrank.energy > 0 else ():
                truncate(weight, self._settings.lowrank.energy)
            self.effective(self._steps)
            return {name: self._settled(name, weight) for name, weight in self._weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted training goes on from, besides the weights and `extra_parameters`."""
        return {
            "pruning": self._pruning.state_dict(),
            "entropy": self._entropy.state_dict(),
            "quantizing": self._quantizing,
            "shared": {n: {"index": s.index, "zero": s.zero, "started": s.started} for n, s in self._shared.items()},
            "activations": {n: {"signed": a.signed, "started": a.started} for n, a in self._activations.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._pruning.load_state_dict(state["pruning"])
        self._entropy.load_state_dict(state["entropy"])
        self._quantizing = bool(state["quantizing"])
        for name, shared in self._shared.items():
            found = state["shared"][name]
            shared.index.copy_(found["index"])
            shared.zero, shared.started = found["zero"], found["started"]
        for name, activation in self._activations.items():
            found = state["activations"][name]
            activation.signed, activation.started = found["signed"], found["started"]

    def _constrained(self, name: str, weight: nn.Parameter) -> Tensor:
        shared = self._shared.get(name)
        if shared is not None and shared.started:
            return shared()  # type: ignore[no-any-return]
        masked = self._pruning.masked(name, weight)
        stepper = self._steppers.get(name)
        if stepper is None or not self._quantizing:
            return masked
        if isinstance(stepper, BinaryScale):
            return self._pruning.masked(name, stepper(weight))
        quantized, position = stepper(masked)
        self._positions.append((position, stepper.highest))
        return quantized  # type: ignore[no-any-return]

    def _settled(self, name: str, weight: nn.Parameter) -> tuple[NDArray[np.float32], Grid | None]:
        if (shared := self._shared.get(name)) is not None:
            table = shared.table().numpy().astype(np.float32)
            return table[shared.index.numpy()], Grid("codebook", shared.bits, table)
        masked = self._pruning.masked(name, weight)
        stepper = self._steppers.get(name)
        if isinstance(stepper, BinaryScale):
            signs = self._pruning.masked(name, stepper(weight)).numpy().astype(np.float32)
            grid = Grid("uniform", 1, stepper.scale(weight).numpy().astype(np.float32), stepper.axis)
            return signs, grid if (signs != 0).all() else None
        if stepper is None:
            return masked.numpy().astype(np.float32), None
        step = stepper.step(masked)
        # Through whole numbers, so that no zero has a sign.
        levels = torch.round(stepper.position(masked, step)).to(torch.int32).float()
        values = levels * along(step, stepper.axis, weight.dim())
        return values.numpy(), Grid("uniform", stepper.bits, step.numpy().astype(np.float32), stepper.axis)

    def _start_quantizing(self) -> None:
        self._quantizing = True
        for name, stepper in self._steppers.items():
            if isinstance(stepper, StepSize):
                stepper.start(self._pruning.masked(name, self._weights[name]))

    def _start_sharing(self) -> None:
        for name, shared in self._shared.items():
            if not shared.started:
                shared.start(self._pruning.masked(name, self._weights[name]))

    def _matrices(self) -> list[nn.Parameter]:
        return [w for w in self._weights.values() if w.dim() > 1 and min(w.flatten(1).shape) >= SMALLEST_SIDE]

    def _quantize_bits(self, name: str, weight: Tensor) -> int:
        rule = self._settings.quantize
        return rule.layers.get(name, rule.bits if weight.dim() > 1 else rule.bias_bits)

    def _codebook_bits(self, name: str, weight: Tensor) -> int:
        rule = self._settings.codebook
        return rule.layers.get(name, rule.bits if weight.dim() > 1 else 0)

    def _check(self) -> None:
        prune, codebook = self._settings.prune, self._settings.codebook
        for key, names in (
            ("prune", prune.layers),
            ("quantize", self._settings.quantize.layers),
            ("codebook", codebook.layers),
        ):
            for name in names:
                if name not in self._weights:
                    raise PassError(
                        f"during.{key}.layers: {name} is no weight of the model; it has {', '.join(self._weights)}"
                    )
        shares = codebook.bits > 0 or any(codebook.layers.values())
        if shares and (prune.target > 0 or prune.layers) and codebook.begin < prune.end:
            raise PassError(
                f"during.codebook.begin = {codebook.begin}: weights keep their places in a codebook, "
                f"so it begins when pruning has ended; at least {prune.end}"
            )
        bits = self._settings.quantize
        quantizes = bits.bits > 1 or any(b > 1 for b in bits.layers.values())
        if (self._settings.entropy.weight > 0 or self._settings.entropy.bytes > 0) and not quantizes:
            raise PassError("during.entropy counts the bits of levels: set during.quantize.bits to 2 or more")
        if bits.activation_bits == 1:
            raise PassError("during.quantize.activation_bits = 1: no ONNX node has levels -1 and 1; take 2 or more")
