"""What a student learns from a teacher: its scores, its inner features, its maps of raw detections; no labels needed.

The teacher is any ONNX model (`OnnxTeacher`) or any function from inputs to tensors by name, a torch module's among
them. Student and teacher are told apart by nothing but their tensors, so that neither has to be made for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from build_tools.errors import ModelError, PassError
from build_tools.nets.free_batch import free_batch
from build_tools.passes.activations import session
from build_tools.training.constraints import Distillation
from build_tools.training.detection_maps import MapsLoss, score_outputs

Tensors = Mapping[str, Tensor]
Teacher = Callable[[Tensors], Tensors]
"""Inputs by name to outputs (and features) by name."""
Loss = Callable[[Tensors, Tensors], Tensor]
"""What the student and the teacher say of the same inputs, to a number."""


class OnnxTeacher:
    """An ONNX model that is only asked, by ONNX Runtime: a third of the time it takes in torch.

    Args:
        proto: the model.
        tensors: names of the tensors that are wanted.
        threads: of the session.
        any_batch: as for `OnnxModule`.
    """

    def __init__(self, proto: onnx.ModelProto, tensors: Sequence[str], threads: int, any_batch: bool) -> None:
        exposed = free_batch(proto) if any_batch else onnx.ModelProto.FromString(proto.SerializeToString())
        del exposed.graph.output[:]
        for name in tensors:
            exposed.graph.output.add().name = name
        self._session, self._tensors = session(exposed, threads), list(tensors)
        self._inputs = [i.name for i in self._session.get_inputs()]

    def __call__(self, feeds: Tensors) -> dict[str, Tensor]:
        """The tensors it was made for, for inputs by name.

        Raises:
            ModelError: it does not take these inputs.
        """
        missing = [name for name in self._inputs if name not in feeds]
        if missing:
            raise ModelError(f"the teacher's input {missing[0]} is not among those of the student: {', '.join(feeds)}")
        given = {name: feeds[name].numpy() for name in self._inputs}
        try:
            found = self._session.run(self._tensors, given)
        except Exception as error:  # ONNX Runtime's errors share no base class
            shapes = {name: value.shape for name, value in given.items()}
            line = str(error).splitlines()[0][:160]
            raise ModelError(f"the teacher does not take inputs of shape {shapes}: {line}") from error
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(self._tensors, found, strict=True)}


def logits_of(proto: onnx.ModelProto) -> str:
    """The tensor of a classifier's scores before they are made to probabilities: its first output, or what a softmax
    at the very end reads."""
    name: str = proto.graph.output[0].name
    makers = {out: node for node in proto.graph.node for out in node.output}
    while name in makers and makers[name].op_type in ("Softmax", "LogSoftmax", "Identity"):
        name = makers[name].input[0]
    return name


def logits_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of softened scores, times the temperature squared (Hinton et al. 2015, section 2.1).

    Args:
        student: [n, classes] (or more sides, scores last).
        teacher: the same shape.
        temperature: divides both.
    """
    mine = F.log_softmax(student.flatten(0, -2) / temperature, -1)
    its = F.log_softmax(teacher.flatten(0, -2) / temperature, -1)
    return F.kl_div(mine, its, reduction="batchmean", log_target=True) * temperature**2


class FeaturesLoss(nn.Module):
    """Inner tensors of the student against the teacher's (Romero et al. 2015, "FitNets", equation 3).

    Where the widths differ, a 1x1 convolution (a matrix, for vectors) that is learned along carries the student's
    features over. Each pair counts alike: squared differences are taken relative to the teacher's variance on the first
    batch (that of each batch by itself jumps about on small maps).

    Args:
        pairs: names in the student and in the teacher.
        student: one batch of the student's tensors, to learn the widths from.
        teacher: the same batch's of the teacher.

    Raises:
        PassError: a pair of which the sides besides the width differ.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], student: Tensors, teacher: Tensors) -> None:
        super().__init__()
        self._pairs = list(pairs)
        self.adapters = nn.ModuleList()
        self._spreads = [teacher[its].var().clamp(min=1e-12) for _, its in pairs]
        for mine, its in pairs:
            a, b = student[mine].shape, teacher[its].shape
            if len(a) != len(b) or len(a) < 2 or a[2:] != b[2:]:
                raise PassError(
                    f"distill.features: {mine} is {list(a)} in the student and {its} is {list(b)} in the teacher; "
                    "only their widths may differ"
                )
            self.adapters.append(nn.Identity() if a[1] == b[1] else _Adapter(a[1], b[1]))

    def forward(self, student: Tensors, teacher: Tensors) -> Tensor:
        """The mean over pairs; 1 for a student that knows no more than the mean."""
        terms = []
        for adapter, (mine, its), spread in zip(self.adapters, self._pairs, self._spreads, strict=True):
            terms.append((adapter(student[mine]) - teacher[its]).square().mean() / spread)
        return torch.stack(terms).mean()


class _Adapter(nn.Module):
    """A learned matrix along the second side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # Drawn from a generator of its own: the same adapter whatever else was drawn before.
        drawn = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(inputs * 7919 + outputs))
        self.weight = nn.Parameter(drawn / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.einsum("oi,ni...->no...", self.weight, x)
        return mixed + self.bias.reshape(-1, *[1] * (x.ndim - 2))


def outputs_loss(pairs: Sequence[tuple[str, str]]) -> Loss:
    """Mean squared difference of outputs relative to the teacher's, over pairs of names."""

    def loss(student: Tensors, teacher: Tensors) -> Tensor:
        terms = [
            (student[mine] - teacher[its]).square().mean() / teacher[its].square().mean().clamp(min=1e-12)
            for mine, its in pairs
        ]
        return torch.stack(terms).mean()

    return loss


def feature_pairs(settings: Distillation, student: onnx.ModelProto, teacher: onnx.ModelProto) -> list[tuple[str, str]]:
    """Which inner tensors are matched: those the settings name (`name`, or `student=teacher`), or every Conv's
    output that both graphs have.

    Raises:
        PassError: a name that one of them has not.
    """
    mine, its = _tensor_names(student), _tensor_names(teacher)
    if not settings.features:
        convs = [n.output[0] for n in student.graph.node if n.op_type == "Conv" and n.output[0] in its]
        if not convs:
            raise PassError(
                "distill.features is empty and no Conv's output has the same name in student and teacher; "
                'name pairs, as features = ["conv3=layer3"]'
            )
        return [(name, name) for name in convs]
    pairs = [tuple(text.split("=", 1)) if "=" in text else (text, text) for text in settings.features]
    for a, b in pairs:
        if a not in mine:
            raise PassError(f"distill.features: the student has no tensor called {a}")
        if b not in its:
            raise PassError(f"distill.features: the teacher has no tensor called {b}")
    return [(a, b) for a, b in pairs]


def output_pairs(student: onnx.ModelProto, teacher: onnx.ModelProto) -> list[tuple[str, str]]:
    """Outputs of the same name, or, where names differ, at the same place.

    Raises:
        PassError: not the same number of outputs.
    """
    mine, its = ([o.name for o in proto.graph.output] for proto in (student, teacher))
    if len(mine) != len(its):
        raise PassError(f"distill: the student has {len(mine)} outputs and the teacher {len(its)}; they must match")
    return list(zip(mine, mine if set(mine) == set(its) else its, strict=True))


def tensors_wanted(settings: Distillation, student: onnx.ModelProto, teacher: onnx.ModelProto) -> list[tuple[str, str]]:
    """Names in the student and in the teacher of all tensors that the settings' form of distillation compares."""
    if settings.form == "logits":
        return [(logits_of(student), logits_of(teacher))]
    pairs = output_pairs(student, teacher)
    return pairs if settings.form == "maps" else [*feature_pairs(settings, student, teacher), *pairs]


def make_loss(
    settings: Distillation,
    student: onnx.ModelProto,
    teacher: onnx.ModelProto,
    first: tuple[Tensors, Tensors],
) -> tuple[Loss, list[nn.Parameter]]:
    """The loss that the settings ask for, and what has to be learned with it.

    Args:
        settings: form, temperature, features.
        student: the student's graph.
        teacher: the teacher's.
        first: what both say of a first batch.

    Raises:
        PassError: tensors that do not match.
    """
    pairs = tensors_wanted(settings, student, teacher)
    for mine, its in pairs if settings.form != "features" else output_pairs(student, teacher):
        if first[0][mine].shape != first[1][its].shape:
            raise PassError(
                f"distill: {mine} is {list(first[0][mine].shape)} in the student and {its} is "
                f"{list(first[1][its].shape)} in the teacher; outputs must have the same shape"
            )
    if settings.form == "logits":
        mine, its = pairs[0]
        return lambda s, t: logits_loss(s[mine], t[its], settings.temperature), []
    if settings.form == "maps":
        return MapsLoss(pairs, first[1], score_outputs(teacher)), []
    features = FeaturesLoss(feature_pairs(settings, student, teacher), *first)
    outputs = outputs_loss(output_pairs(student, teacher))
    return lambda s, t: features(s, t) + outputs(s, t), list(features.parameters())


def _tensor_names(proto: onnx.ModelProto) -> set[str]:
    return {name for node in proto.graph.node for name in node.output} | {i.name for i in proto.graph.input}
