"""The row of VGG-16's shape: 138 million random weights at the paper's sparsity and bits; bytes and time, no accuracy.

What Deep Compression did to a trained VGG-16 (Han et al. 2016, table 4: share of weights kept by layer, 8-bit codebooks
for convolutions and 5-bit ones for fully connected layers, then Huffman codes: 552 MB to 11.3 MB) is done to a network
of the same shape with Gaussian weights, by the passes that compress any model. Trained weights have long tails, for
which k-means spends many of its values, so that most weights share few and Huffman codes are short. Gaussian ones have
none: plain k-means spreads them over all values of its codebooks, and they take 13.4 MB. So here the codebooks, of the
paper's sizes at most, are told what a coded bit is worth.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from build_tools.bundle.forms import same_bits
from build_tools.bundle.settle import settled
from build_tools.bundle.writer import Written, bundle_bytes
from build_tools.errors import ModelError
from build_tools.model import Model, write_whole
from build_tools.papers.table import Row
from build_tools.passes.codebook import Codebook
from build_tools.passes.contract import Context, Progress
from build_tools.passes.prune import Prune
from edge_runtime.bundle.reader import open_bundle

NAME, SEED = "vgg16-shape", 1
GOAL_BYTES, GOAL_SECONDS, GOAL_PEAK_GIB = 11_300_000, 180, 6
CODERS = ("huffman", "rans")
KEPT = {
    "conv1_1": 0.58, "conv1_2": 0.22, "conv2_1": 0.34, "conv2_2": 0.36, "conv3_1": 0.53, "conv3_2": 0.24,
    "conv3_3": 0.42, "conv4_1": 0.32, "conv4_2": 0.27, "conv4_3": 0.34, "conv5_1": 0.35, "conv5_2": 0.29,
    "conv5_3": 0.36, "fc6": 0.04, "fc7": 0.04, "fc8": 0.23,
}  # fmt: skip
"""Share of the weights that stay, by layer (Han et al. 2016, table 4)."""
CONVOLUTION_BITS, FULL_BITS = 8, 5
BIT_WORTH = 1e-3
"""`codebook.entropy`: what a coded bit is worth, as a share of the weights' variance."""
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
FULL: dict[str, tuple[int, ...]] = {"fc6": (4096, 25088), "fc7": (4096, 4096), "fc8": (1000, 4096)}
POOLED = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


def shapes() -> dict[str, tuple[int, ...]]:
    """Of the weights, by layer, in the network's order."""
    convolutions = zip([name for name in KEPT if name not in FULL], (3, *WIDTHS), WIDTHS, strict=False)
    return {name: (width, channels, 3, 3) for name, channels, width in convolutions} | dict(FULL)


def vgg_16(rng: np.random.Generator) -> Model:
    """VGG-16 (Simonyan and Zisserman 2015, table 1, D): 138,357,544 Gaussian weights of variance 2 / inputs."""
    nodes, weights, at = [], [], "image"

    def layer(op: str, name: str, shape: tuple[int, ...], **attributes: Any) -> None:
        nonlocal at
        values = rng.standard_normal(shape, np.float32)
        values *= np.float32((2 / np.prod(shape[1:])) ** 0.5)
        biases = rng.standard_normal(shape[0], np.float32) * np.float32(0.01)
        weights.append(numpy_helper.from_array(values, f"{name}.weight"))
        weights.append(numpy_helper.from_array(biases, f"{name}.bias"))
        nodes.append(helper.make_node(op, [at, f"{name}.weight", f"{name}.bias"], [name], name, **attributes))
        at = name

    def step(op: str, **attributes: Any) -> None:
        nonlocal at
        nodes.append(helper.make_node(op, [at], [f"{at}_{op.lower()}"], **attributes))
        at = f"{at}_{op.lower()}"

    for name, shape in shapes().items():
        if name == "fc6":
            step("Flatten")
        if name in FULL:
            layer("Gemm", name, shape, transB=1)
        else:
            layer("Conv", name, shape, pads=[1, 1, 1, 1])
        if name != "fc8":
            step("Relu")
        if name in POOLED:
            step("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])]
    outputs = [helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n", 1000])]
    graph = helper.make_graph(nodes, NAME, inputs, outputs, weights)
    return Model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))


def compressed(model: Model, progress: Progress) -> Model:
    """Pruned to the paper's shares, the rest shared among the paper's number of values."""
    context = Context(model, seed=SEED, progress=progress)
    gone = {f"{name}.weight": 1 - kept for name, kept in KEPT.items()}
    bits = {f"{name}.weight": FULL_BITS for name in FULL}
    for step in (Prune(layers=gone), Codebook(bits=CONVOLUTION_BITS, layers=bits, entropy=BIT_WORTH)):
        step.requires(model, context)
        change = step.run(model, context)
        step.ensures(model, change, context)
        model = change.model
    return model


def row(work: Path, progress: Progress) -> Row:
    """Run it in a process of its own, whose memory is measured.

    Args:
        work: for the two bundles.
        progress: told of each part.

    Raises:
        ModelError: the process ended without a result.
    """
    command = [sys.executable, "-m", "build_tools.papers.vgg", str(work)]
    figures: dict[str, Any] | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if isinstance(told, dict):
                figures = told
            else:
                progress(*told)
    if process.returncode or figures is None:
        raise ModelError(f"{NAME}: the run ended with code {process.returncode}; it needs 6 GiB of memory")
    return _row(figures)


def _row(figures: Mapping[str, Any]) -> Row:
    huffman, rans = (figures["file_bytes"][coder] for coder in CODERS)
    fast = figures["cpu_seconds"] < GOAL_SECONDS and figures["peak_gib"] < GOAL_PEAK_GIB
    decoding = " and ".join(f"{figures['decode_seconds'][coder]:.1f} s" for coder in CODERS)
    note = (
        f"random weights: bytes and time only, nothing is said of accuracy. Huffman {huffman:,} bytes, rANS {rans:,} "
        f"({figures['fp32_bytes'] / rans:.1f}x), Shannon's bound {figures['floor_bytes']:,.0f}, with codebooks of at "
        f"most {2**CONVOLUTION_BITS} and {2**FULL_BITS} values and entropy = {BIT_WORTH}; plain k-means of Gaussian "
        f"weights would take 13.4 MB. Prune, codebook and both bundles took {figures['cpu_seconds']:.0f} s of one core "
        f"({figures['seconds']:.0f} s on the clock) and at most {figures['peak_gib']:.1f} GiB; the bundles decode to "
        f"the very weights, in {decoding}."
    )
    return Row(
        NAME, "VGG-16 shape, random weights", "11.3 MB, 49x (Han 2016)",
        f"<= {GOAL_BYTES:,} B with Huffman, smaller with rANS, < {GOAL_SECONDS} s, < {GOAL_PEAK_GIB} GiB", "file",
        huffman, huffman, figures["weights_bytes"]["huffman"], round(figures["fp32_bytes"] / huffman, 1), None, None,
        huffman <= GOAL_BYTES and rans < huffman and fast, SEED, round(figures["cpu_seconds"], 1),
        f"edge-build papers --row {NAME}", note,
    )  # fmt: skip


def measure(work: Path, progress: Progress) -> dict[str, Any]:
    """Compress, write a bundle with each coder, read each back and compare all weights, bit for bit.

    Raises:
        ModelError: a bundle that does not give the weights back.
    """
    model = vgg_16(np.random.default_rng(SEED))
    fp32_bytes = 4 * model.parameters()
    started, cpu_started = time.monotonic(), time.process_time()
    model = compressed(model, progress)
    written: dict[str, Written] = {}
    for done, coder in enumerate(CODERS):
        progress(f"writing with {coder}", done, len(CODERS))
        written[coder] = bundle_bytes(model, facts={"name": NAME}, coder=coder, provenance={"seed": SEED})
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    model = settled(model)
    decode_seconds = {}
    for done, coder in enumerate(CODERS):
        progress(f"reading {coder} back", done, len(CODERS))
        path = work / f"{NAME}-{coder}.edge"
        write_whole(path, written[coder].content)
        decode_seconds[coder] = _check(path, model)
    return {
        "fp32_bytes": fp32_bytes,
        "file_bytes": {coder: one.bytes_total for coder, one in written.items()},
        "weights_bytes": {coder: one.weights_bytes for coder, one in written.items()},
        "floor_bytes": sum(layer.floor_bytes for layer in written["rans"].layers),
        "layers": {layer.name: [layer.bytes, layer.floor_bytes] for layer in written["rans"].layers},
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "decode_seconds": decode_seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _check(path: Path, model: Model) -> float:
    """Seconds of one core that decoding took, once all weights proved equal to the model's, bit for bit."""
    bundle = open_bundle(path)
    started = time.process_time()
    decoded = bundle.weights()
    seconds = time.process_time() - started
    weights = set(model.weight_names())
    for ours, theirs in zip(model.proto.graph.node, onnx.ModelProto.FromString(bundle.graph).graph.node, strict=True):
        for name, inner in zip(ours.input, theirs.input, strict=True):
            if name in weights and not same_bits(np.asarray(model.weight(name), np.float32), decoded[inner]):
                raise ModelError(f"{path}: {name} does not come back bit for bit; a fault of the coder")
    return seconds


def main(work: Path) -> None:
    """Print progress as JSON lists, a line each, and the figures as a JSON object at last."""
    work.mkdir(parents=True, exist_ok=True)
    figures = measure(work, lambda *told: print(json.dumps(told), flush=True))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
