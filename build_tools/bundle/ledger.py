"""Where the bytes of weights.bin went, weight by weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from build_tools.bundle.packing import Nature
from edge_runtime.bundle.format import Stream

_SPARSE_FROM = 0.5


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """What a weight takes in the bundle.

    Attributes:
        name: the initialiser.
        shape: of the tensor.
        storage: `sparse` where at least half is zero, else `fp32`, `fp16`, `int8` (levels of at most 8 bits times a
            scale), `int16`, `codebook`, `binary`, or the type of what is kept as it is.
        bits: of a level, index or value.
        sparsity: share of zeros.
        bytes: of its stream and its scales or codebook; in a stream with others its share by their Shannon bounds.
        floor_bytes: Shannon bound of its symbols, each by itself; context models may go below.
        coder: of its stream.
        kind: its storage as the manifest has it, such as `int4 axis0`.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    bits: int
    sparsity: float
    bytes: int
    floor_bytes: float
    coder: str
    kind: str


def layer_bytes(streams: Sequence[Stream], names: Iterable[str], natures: dict[str, Nature]) -> list[LayerBytes]:
    """One entry a weight, in the order of `natures`; their bytes add up to those of all streams.

    Args:
        streams: of the manifest.
        names: of the weights in the order of the streams.
        natures: what each is like.
    """
    pools = {s.storage.stored == "float32": s for s in streams if s.storage.kind == "tables"}
    paid: dict[str, tuple[float, Stream]] = {}
    remaining = iter(names)
    for stream in (s for s in streams if s.storage.kind != "tables"):
        members = [(next(remaining), shape) for shape in stream.shapes]
        weights = [max(natures[name].floor_bytes, 1.0) for name, _ in members]
        for (name, shape), weight in zip(members, weights, strict=True):
            own = stream.bytes * weight / sum(weights)
            values = stream.storage.table_values(shape)
            if values:
                pool = pools[stream.storage.wide]
                own += pool.bytes * values / pool.values
            paid[name] = own, stream
    layers, spent, given = [], 0.0, 0
    for name, nature in natures.items():
        own, stream = paid[name]
        spent += own
        share = round(spent) - given  # rounded so that the whole adds up
        given += share
        storage = "sparse" if nature.sparsity >= _SPARSE_FROM else nature.storage
        layers.append(
            LayerBytes(
                name, nature.shape, storage, nature.bits, nature.sparsity, share, nature.floor_bytes, stream.coder,
                stream.storage.text,
            )
        )  # fmt: skip
    return layers
