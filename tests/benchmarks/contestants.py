"""What stands on the leaderboard: our networks, our attention with our detector, and peers; each measured one way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from build_tools.bundle.export import open_any
from build_tools.data.coco import Sample
from build_tools.data.pictures import Preparation
from build_tools.evaluation.evaluate import Subject, evaluate, measure
from build_tools.model import Model
from edge_runtime.bench.interleaved import session_options
from edge_runtime.config import AttentionConfig, CroppingConfig
from edge_runtime.engine import OnnxEngine, open_session, padded_wh
from tests.benchmarks.peers import PEERS, Peer, looker, sized

Size = tuple[int, int]
Run = Callable[[], object]
VEHICLES = ("car", "truck", "bus", "motorcycle")
"""Scored together as `vehicle`: bicycles are not labelled in every half of the scenes."""
GROUPS = {"vehicle": VEHICLES}
CROPS = (1, 4)
"""Objects in view, a crop each, for which attention and detector together are timed."""


@dataclass(frozen=True, slots=True)
class PeerContestant:
    """A detector by others."""

    peer: Peer
    folder: Path
    ours = False

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def files(self) -> list[Path]:
        return [self.folder / self.peer.file]

    @property
    def fixed(self) -> bool:
        """Its input size cannot be chosen."""
        return self.peer.fixed

    @property
    def sets(self) -> set[str]:
        """The labelled sets that it can be held against."""
        return {"faces"} if self.peer.knows == "faces" else {"scenes"}

    def parameters(self) -> int:
        return self.peer.model(self.folder).parameters()

    def macs(self, size_wh: Size) -> int:
        model = self.peer.model(self.folder)
        return multiplications(model, self._canvas_wh(model, size_wh))

    def runs(self, size_wh: Size) -> dict[str, Run]:
        model = self.peer.model(self.folder)
        session = ort.InferenceSession(
            model.proto.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
        )
        return {"": on_noise(session, self._canvas_wh(model, size_wh))}

    def figures(self, samples: Sequence[Sample], size_wh: Size, progress: Callable[[int], None]) -> dict[str, Any]:
        return measure(looker(self.peer, self.folder, size_wh), self.peer.labels, samples, GROUPS, size_wh, progress)

    def _canvas_wh(self, model: Model, size_wh: Size) -> Size:
        entry = self.peer.entry if self.peer.fixed else sized(self.peer.entry, size_wh)
        return Preparation(entry, model.proto).canvas_wh


@dataclass(frozen=True, slots=True)
class OurContestant:
    """A network of ours that looks at the small picture, alone or with the crop detector after it."""

    attention: Path
    detector: Path | None = None
    ours = True
    fixed = False

    @property
    def name(self) -> str:
        return self.attention.stem + (f" + {self.detector.stem}" if self.detector else "")

    @property
    def files(self) -> list[Path]:
        return [self.attention, *([self.detector] if self.detector else [])]

    @property
    def sets(self) -> set[str]:
        last = OnnxEngine(self.detector or self.attention).facts
        seen = set(last.classes) & set(OnnxEngine(self.attention).facts.classes)
        return ({"faces"} if "face" in seen else set()) | ({"scenes"} if "person" in seen else set())

    def parameters(self) -> int:
        return sum(open_any(path).parameters() for path in self.files)

    def macs(self, size_wh: Size) -> int:
        return sum(multiplications(open_any(path), wh) for path, wh in self._inputs(size_wh))

    def runs(self, size_wh: Size) -> dict[str, Run]:
        (path, wh), *rest = self._inputs(size_wh)
        look = on_noise(open_session(path)[0], wh)
        if not rest:
            return {"": look}
        (path, wh), *_ = rest
        detect = on_noise(open_session(path)[0], wh)
        return {f" {n} crops": lambda n=n: (look(), *(detect() for _ in range(n))) for n in CROPS}  # type: ignore[misc]

    def figures(self, samples: Sequence[Sample], size_wh: Size, progress: Callable[[int], None]) -> dict[str, Any]:
        subject = Subject(self.attention, self.detector, size_wh, CroppingConfig(), AttentionConfig())
        return evaluate(subject, samples, GROUPS, progress)

    def _inputs(self, size_wh: Size) -> list[tuple[Path, Size]]:
        """Each file and the size of its input: the small picture, one crop."""
        inputs = [(self.attention, padded_wh(size_wh, OnnxEngine(self.attention).facts.size_multiple))]
        if self.detector:
            inputs.append((self.detector, OnnxEngine(self.detector).facts.size_wh))
        return inputs


Contestant = PeerContestant | OurContestant


def contestants(models: Path, peers: Path) -> list[Contestant]:
    """Peers, each attention network of ours, and the default one with each detector."""
    found: dict[str, Path] = {}
    for path in sorted(models.glob("*.onnx")) + sorted(models.glob("*.edge")):  # a bundle takes its ONNX's place
        found[path.stem] = path
    task = {name: OnnxEngine(path).facts.task for name, path in found.items() if _is_network(path)}
    ours = [OurContestant(found[name]) for name in sorted(task) if task[name] == "attention"]
    default = found.get(AttentionConfig().model)
    pairs = [OurContestant(default, found[n]) for n in sorted(task) if task[n] == "detector" and default]
    return [*(PeerContestant(p, peers) for p in PEERS), *ours, *pairs]


def _is_network(path: Path) -> bool:
    return open_session(path)[1].get("task") in ("attention", "detector")


def digest(files: Sequence[Path]) -> str:
    """What tells whether figures are still those of these files."""
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)).hexdigest()[:16]


def on_noise(session: ort.InferenceSession, size_wh: Size) -> Run:
    """Runs the network once on noise."""
    entry = session.get_inputs()[0]
    noise = np.random.default_rng(0).uniform(0, 255, (1, 3, size_wh[1], size_wh[0])).astype(np.float32)
    return lambda: session.run(None, {entry.name: noise})


def multiplications(model: Model, size_wh: Size) -> int:
    """Multiplications of one run on a picture [1, 3, h, w]: of convolutions and of products of matrices."""
    proto = model.copy().proto
    weights = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    (picture,) = (i for i in proto.graph.input if i.name not in weights)
    for side, value in zip(picture.type.tensor_type.shape.dim, (1, 3, size_wh[1], size_wh[0]), strict=True):
        side.dim_value = value
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = weights | {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            place = node.output[0] if node.op_type == "Conv" else node.input[0]
            total += int(np.prod(shapes[node.input[1]]) * np.prod(shapes[place][2:]))
        elif node.op_type in ("Gemm", "MatMul"):
            total += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]]) / shapes[node.output[0]][-1])
    return total
