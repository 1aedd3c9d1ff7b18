"""The layers that are timed for a device table: chains of one layer, long and short, so that the rest drops out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_runtime.bench.interleaved import interleaved, noise_feed, quiet_clock, session_options
from edge_runtime.bench.onnx_bytes import graph, model, node, tensor, value
from edge_runtime.bench.table import DeviceTable, Kind, Row

SIDES_WH = ((160, 120), (80, 60), (40, 30), (20, 15), (10, 8), (5, 4))
CHANNELS = ((8, 8), (8, 32), (16, 16), (16, 64), (32, 32), (32, 128), (64, 64), (64, 256), (128, 128), (256, 256))
FIRST = (3, 16)
"""Channels of a network's first layer."""
DENSE = ((16, 16), (64, 10), (64, 64), (256, 64), (256, 256), (1024, 256), (1024, 1024))
MOST_MACS = 80_000_000
"""Larger layers are left out: on a Pi 4 one of this size takes 20 ms."""
SHORT, LONG = 2, 6
"""Layers of the two chains; what a chain costs beside its layers (a run's start, the change of memory layout) is the
same in both, and drops out of the difference."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A layer to be timed; see `table.Row`."""

    kind: Kind
    bits: int
    channels: tuple[int, int]
    side_wh: tuple[int, int]

    def macs(self) -> int:
        """Multiplications (additions, of an elementwise one) of one layer."""
        positions = self.side_wh[0] * self.side_wh[1]
        into, out = self.channels
        if self.kind in ("depthwise", "elementwise"):
            return positions * into * (9 if self.kind == "depthwise" else 1)
        return positions * into * out * (9 if self.kind == "full" else 1)

    def chain(self, length: int) -> bytes:
        """A serialised model of `length` such layers, there and back between the channels."""
        if self.kind == "elementwise":
            return _adds(self, length)
        return _floats(self, length) if self.bits == 32 else _integers(self, length)


NOTHING = Probe("elementwise", 32, (1, 1), (1, 1))
"""What a run costs when there is nothing to compute."""


def probes() -> Iterator[Probe]:
    """All layers of a table."""
    for bits in (32, 8):
        for side in SIDES_WH:
            for channels in CHANNELS:
                yield Probe("pointwise", bits, channels, side)
            for channels in (FIRST, *CHANNELS):
                yield Probe("full", bits, channels, side)
            for channels in (c for c in CHANNELS if c[0] == c[1]):
                yield Probe("depthwise", bits, channels, side)
        for channels in DENSE:
            yield Probe("dense", bits, channels, (1, 1))
    for side in SIDES_WH:
        for channels in ((8, 8), (32, 32), (128, 128)):
            yield Probe("elementwise", 32, channels, side)


def measure(
    asked: list[Probe],
    rounds: int,
    threads: int,
    progress: Callable[[int], object] = lambda _: None,
) -> DeviceTable:
    """Time each probe: the difference between its long chain and its short one, by layers.

    Args:
        asked: the layers.
        rounds: of each.
        threads: of a session.
        progress: told of each probe done.
    """
    clock_ns = quiet_clock(threads)
    rows = []
    for probe in asked:
        if probe.macs() > MOST_MACS:
            progress(1)
            continue
        runs = [(str(n), _runner(probe.chain(n), threads)) for n in (SHORT, LONG)]
        short, long = (t.median_ms for t in interleaved(runs, rounds, clock_ns=clock_ns))
        # Noise of the clock can make the longer chain the faster one, of layers that cost next to nothing.
        ms = max((long - short) / (LONG - SHORT), long / LONG / 20)
        positions = probe.side_wh[0] * probe.side_wh[1]
        rows.append(Row(probe.kind, probe.bits, probe.channels, positions, probe.macs(), ms))
        progress(1)
    start = interleaved([("start", _runner(NOTHING.chain(1), threads))], rounds, clock_ns=clock_ns)[0].median_ms
    return DeviceTable(device(threads), tuple(rows), start)


def device(threads: int) -> dict[str, str]:
    """What this machine says of itself."""
    board = Path("/proc/device-tree/model")
    name = board.read_text(errors="replace").strip("\0 \n") if board.is_file() else platform.processor()
    return {
        "name": name or platform.machine(), "machine": platform.machine(), "system": platform.system(),
        "onnxruntime": ort.__version__, "threads": str(threads),
    }  # fmt: skip


def _runner(content: bytes, threads: int) -> Callable[[], object]:
    session = ort.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])
    feed = noise_feed(session, (32, 32))
    return lambda: session.run(None, feed)


def _shape(probe: Probe, channels: int) -> list[int]:
    w, h = probe.side_wh
    return [w * h, channels] if probe.kind == "dense" else [1, channels, h, w]


def _weight(probe: Probe, into: int, out: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """As large as keeps the size of what flows: neither denormal numbers nor overflow come at the chain's end."""
    if probe.kind == "dense":
        shape: tuple[int, ...] = (into, out)
    elif probe.kind == "depthwise":
        shape = (out, 1, 3, 3)
    else:
        shape = (out, into, *((3, 3) if probe.kind == "full" else (1, 1)))
    fan_in = into if probe.kind == "dense" else int(np.prod(shape[1:]))
    return np.asarray(rng.normal(size=shape) / np.sqrt(fan_in), np.float32)


def _window(probe: Probe) -> dict[str, int | list[int]]:
    side = 1 if probe.kind == "pointwise" else 3
    groups = probe.channels[0] if probe.kind == "depthwise" else 1
    return {"kernel_shape": [side, side], "pads": [side // 2] * 4, "group": groups}


def _floats(probe: Probe, length: int) -> bytes:
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for index in range(length):
        into, out = probe.channels if index % 2 == 0 else probe.channels[::-1]
        weights.append(tensor(f"w{index}", _weight(probe, into, out, rng)))
        names = [f"x{index}", f"w{index}"]
        if probe.kind == "dense":
            nodes.append(node("MatMul", names, [f"x{index + 1}"]))
        else:
            weights.append(tensor(f"b{index}", np.zeros(out, np.float32)))
            nodes.append(node("Conv", [*names, f"b{index}"], [f"x{index + 1}"], **_window(probe)))
    return _chain(probe, length, nodes, weights, "float32")


def _integers(probe: Probe, length: int) -> bytes:
    """The same in 8 bits: uint8 activations, int8 weights, as ONNX Runtime makes of a QDQ model."""
    rng = np.random.default_rng(0)
    nodes = []
    weights = [
        tensor("s", np.float32(0.05)), tensor("ws", np.float32(0.01)),
        tensor("z", np.uint8(128)), tensor("wz", np.int8(0)),
    ]  # fmt: skip
    for index in range(length):
        into, out = probe.channels if index % 2 == 0 else probe.channels[::-1]
        level = np.clip(np.rint(_weight(probe, into, out, rng) * 100), -127, 127).astype(np.int8)
        weights.append(tensor(f"w{index}", level))
        names = [f"x{index}", "s", "z", f"w{index}", "ws", "wz", "s", "z"]
        if probe.kind == "dense":
            nodes.append(node("QLinearMatMul", names, [f"x{index + 1}"]))
        else:
            weights.append(tensor(f"b{index}", np.zeros(out, np.int32)))
            nodes.append(node("QLinearConv", [*names, f"b{index}"], [f"x{index + 1}"], **_window(probe)))
    return _chain(probe, length, nodes, weights, "uint8")


def _adds(probe: Probe, length: int) -> bytes:
    term = np.zeros(_shape(probe, probe.channels[0]), np.float32)
    nodes = [node("Add", [f"x{index}", "term"], [f"x{index + 1}"]) for index in range(length)]
    return _chain(probe, length, nodes, [tensor("term", term)], "float32")


def _chain(probe: Probe, length: int, nodes: list[bytes], weights: list[bytes], dtype: str) -> bytes:
    ends = [value(name, dtype, _shape(probe, probe.channels[0])) for name in ("x0", f"x{length}")]
    return model(graph(nodes, weights, ends[:1], ends[1:]))
