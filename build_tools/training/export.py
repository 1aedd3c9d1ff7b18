"""Writes a trained network as ONNX with the facts the runtime needs inside the file."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from build_tools.data.coco import digest
from build_tools.nets.centre import parameter_count
from build_tools.passes.doctoring.findings import Options
from build_tools.passes.doctoring.idle import take_out_dead, take_out_idle
from build_tools.recipe import Recipe

OPSET = 17


class Outputs(Protocol):
    """What of a family of networks the export needs; `task.Task` has it."""

    outputs: tuple[str, ...]

    def deployed(self, outputs: Any) -> tuple[Tensor, ...]:
        """The outputs as the exported network gives them."""


class _Deployed(nn.Module):
    """The network as it runs on the node: input scale folded into the stem, outputs as its decoding reads them.

    A factor of one stays where the scale was, for the doctor to take out.
    """

    def __init__(self, net: nn.Module, task: Outputs) -> None:
        super().__init__()
        self.task = task
        self.net: Any = copy.deepcopy(net).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        stem: Any = self.net.stem[0]
        stem.weight.data *= self.net.input_scale
        self.net.input_scale = 1.0

    def forward(self, bgr: Tensor) -> tuple[Tensor, ...]:
        return self.task.deployed(self.net(bgr))


@dataclass(frozen=True, slots=True)
class Lessons:
    """Where a network of one phase came from.

    Attributes:
        recipe: it was trained by.
        recipe_sha256: of the recipe's file, as it was when the training began.
        folder: what the recipe's paths are relative to.
        learned: number of examples to learn from.
        held_out: number of those that were not.
        cpu_s: processor time.
    """

    recipe: Recipe
    recipe_sha256: str
    folder: Path
    learned: int
    held_out: int
    cpu_s: float

    def export(self, net: nn.Module, task: Outputs, decoding: str, stride: int, multiple: int, out: Path) -> Path:
        """Write `net` into the folder `out`, with its facts and origin; its path. Arguments as of `facts_of`."""
        r = self.recipe
        provenance = {
            "recipe_sha256": self.recipe_sha256,
            "data_sha256": digest([self.folder / d.labels for d in r.data if d.labels]),
            "epochs": r.phases[0].epochs,
            "cpu_s": round(self.cpu_s),
            "parameters": parameter_count(net),
            "pictures": self.learned,
            "held_out": self.held_out,
        }
        path = out / f"{r.name}.onnx"
        export_onnx(net, task, r.size_wh, facts_of(r, decoding, [stride], multiple, provenance), path)
        print(f"wrote {path}, {path.stat().st_size:,} bytes", flush=True)
        return path


def facts_of(
    recipe: Recipe, decoding: str, strides: Sequence[int], multiple: int, provenance: dict[str, Any]
) -> dict[str, Any]:
    """What the runtime needs to know of a trained network, and where it came from.

    Args:
        recipe: it was trained by.
        decoding: how its outputs are read.
        strides: of its outputs.
        multiple: the sides of its input are multiples of this.
        provenance: what is known beside the recipe's seed and network.
    """
    return {
        "format": 1,
        "name": recipe.name,
        "task": recipe.task,
        "classes": list(recipe.classes),
        "size_wh": list(recipe.size_wh),
        "size_multiple": multiple,
        "strides": list(strides),
        "input": "float32 NCHW, BGR, 0..255",
        "decoding": decoding,
        "provenance": {"seed": recipe.seed, "net": asdict(recipe.net), **provenance},
    }


def export_onnx(net: nn.Module, task: Outputs, size_wh: tuple[int, int], facts: dict[str, Any], path: Path) -> None:
    """Write `net` to `path`: input `bgr` [n, 3, h, w], outputs those of its task; n, h and w are free.

    The facts stand under the key `edge` in the file's metadata, as JSON. The file is whole or absent.
    """
    w, h = (s + -s % 32 for s in size_wh)
    deployed = _Deployed(net, task)
    axes = {0: "n", 2: "h", 3: "w"}
    partial = path.with_suffix(".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter calls itself deprecated; its graph is the smaller one
        torch.onnx.export(
            deployed, (torch.zeros(1, 3, h, w),), str(partial), dynamo=False, opset_version=OPSET,
            input_names=["bgr"], output_names=list(task.outputs),
            dynamic_axes=dict.fromkeys(("bgr", *task.outputs), axes),
        )  # fmt: skip
    model = _without_idle(onnx.load(partial))
    entry = model.metadata_props.add()
    entry.key, entry.value = "edge", json.dumps(facts, sort_keys=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, partial)
    partial.replace(path)


def _without_idle(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same outputs without nodes that hand on their input: a factor of one costs 7 % of a small one's time."""
    read, options = ir.from_proto(model), Options()
    return ir.to_proto(take_out_dead(take_out_idle(read, options), options))
