"""Settings of what is asked of a network's weights while it trains; no torch here, so that a recipe is read at once.

The same tables stand under `[during]` in a recipe that trains one of our networks (`edge-build train`) and under
`[passes.during]` of a `train` pass, which trains any ONNX model further (`edge-build compress`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_runtime.settings import setting


@dataclass(frozen=True, slots=True)
class PruneDuring:
    """Gradual pruning (Zhu and Gupta 2017, cubic schedule); weights that come back may live again until `end`."""

    target: float = setting(0.0, "share of weights (or channels) that are zero at the end; 0: off", low=0, high=1)
    structure: Literal["weights", "channels"] = setting("weights", "what is taken away")
    align: int = setting(8, "channels kept are a multiple of this", low=1)
    begin: float = setting(0.0, "share of the training after which it begins", low=0, high=1)
    end: float = setting(0.6, "share of the training after which the target is reached", low=0, high=1)
    layers: dict[str, float] = field(default_factory=dict)  # target by weight name, in place of `target`


@dataclass(frozen=True, slots=True)
class QuantizeDuring:
    """Quantisation-aware training: straight-through estimator; `lsq` learns the step size (Esser et al. 2020)."""

    bits: int = setting(0, "bits of a weight; 1: sign times scale (Rastegari et al. 2016); 0: off", low=0, high=16)
    step: Literal["lsq", "max"] = setting("lsq", "how the step size is found: learned, or the largest weight")
    per_channel: bool = setting(True, "a step size for each output channel")
    bias_bits: int = setting(0, "bits of a bias (and of whatever else has one side); 0: float", low=0, high=16)
    activation_bits: int = setting(0, "bits of activations; 0: float", low=0, high=8)
    begin: float = setting(0.0, "share of the training after which it begins", low=0, high=1)
    layers: dict[str, int] = field(default_factory=dict)  # bits by weight name, in place of `bits`


@dataclass(frozen=True, slots=True)
class CodebookDuring:
    """Weights share a few values whose places stay and whose values are trained (Han et al. 2016, section 3)."""

    bits: int = setting(0, "bits of an index: 2**bits shared values a layer; 0: off", low=0, high=8)
    begin: float = setting(0.0, "share of the training after which clusters are made", low=0, high=1)
    layers: dict[str, int] = field(default_factory=dict)  # bits by weight name, in place of `bits`


@dataclass(frozen=True, slots=True)
class LowRankDuring:
    """Weights are pulled towards low rank (nuclear norm, or truncation every epoch) while they train."""

    weight: float = setting(0.0, "weight of the nuclear norm in the loss; 0: off", low=0)
    energy: float = setting(0.0, "truncate each epoch to the rank that keeps this energy; 0: off", low=0, high=1)


@dataclass(frozen=True, slots=True)
class EntropyDuring:
    """The bits that coding will cost, estimated differentiably, are a term of the loss (Oktay et al. 2020).

    They are those of quantised weights: it needs `quantize`.
    """

    weight: float = setting(0.0, "loss a coded bit, in 1e-6; 0: off, unless `bytes` is given", low=0)
    bytes: int = setting(0, "coded bytes that are aimed at: `weight` is found on the way there; 0: it stays", low=0)
    begin: float = setting(0.0, "share of the training after which it begins", low=0, high=1)
    end: float = setting(0.65, "share of the training after which `bytes` are reached", low=0, high=1)


@dataclass(frozen=True, slots=True)
class During:
    """What is asked of the weights while they train."""

    prune: PruneDuring = field(default_factory=PruneDuring)
    quantize: QuantizeDuring = field(default_factory=QuantizeDuring)
    codebook: CodebookDuring = field(default_factory=CodebookDuring)
    lowrank: LowRankDuring = field(default_factory=LowRankDuring)
    entropy: EntropyDuring = field(default_factory=EntropyDuring)


@dataclass(frozen=True, slots=True)
class Distillation:
    """What the student learns from a teacher besides, or instead of, labels."""

    teacher: str = setting("", "ONNX file, relative to the recipe; empty: the model as it came, when `weight` > 0")
    weight: float = setting(
        0.0, "share of the loss that the teacher has; 0 where data is unlabelled: all of it", low=0, high=1
    )
    form: Literal["logits", "features", "maps"] = setting(
        "logits", "logits: softened class scores (Hinton et al. 2015) | features: inner tensors | maps: raw output maps"
    )
    temperature: float = setting(4.0, "softens the teacher's scores", low=1)
    features: tuple[str, ...] = setting((), "tensor names that are matched when form = features; empty: every Conv")
