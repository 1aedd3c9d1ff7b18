"""Packs weights into the streams of weights.bin: zeros left out and small tensors joined where that saves bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from build_tools.bundle.forms import Form, exact_in_half
from build_tools.coding.code import encode
from build_tools.coding.histogram import floor_bytes
from edge_runtime.bundle.format import Storage, Stream
from edge_runtime.bundle.protobuf import varint
from edge_runtime.bundle.streams import F32, Array

_JOINABLE = (64, 256, 1024, 4096, 16_384)
"""Tensors of at most so many values are tried in one stream; which of these is best depends on the model."""
_ROW_BYTES, _SHAPE_BYTES = 14, 4
"""What a stream and a shape take in the deflated manifest, about."""
_TRY_BOTH_BELOW = 1 << 20
_SPARSE_FROM = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A stream with its bytes.

    Attributes:
        stream: its row in the manifest.
        content: its bytes in weights.bin.
        names: of its tensors.
        table: its scales and codebooks, one after the other.
    """

    stream: Stream
    content: bytes
    names: tuple[str, ...]
    table: F32

    @property
    def cost(self) -> int:
        """Bytes in the file, about."""
        tables = self.table.size * (4 if self.stream.storage.wide else 2)
        return len(self.content) + tables + _ROW_BYTES + _SHAPE_BYTES * len(self.names)


@dataclass(frozen=True, slots=True)
class Nature:
    """What is told of a weight in reports.

    Attributes:
        shape: of the tensor.
        storage: `fp32`, `fp16`, `int8` (levels of at most 8 bits times scale), `int16`, `codebook`, `binary`, or the
            type of what is kept as it is.
        bits: of a level, index or value.
        sparsity: share of zeros.
        floor_bytes: Shannon bound of its symbols, each by itself.
    """

    shape: tuple[int, ...]
    storage: str
    bits: int
    sparsity: float
    floor_bytes: float


def pack(forms: Iterable[tuple[str, Callable[[], Form]]], coder: str) -> tuple[list[Packed], dict[str, Nature]]:
    """The streams of weights.bin in order, those of the tables last; and by name what the weights are like.

    Args:
        forms: name and form of each weight; a form is made when its turn comes and, if large, let go again.
        coder: of `CodingEntry`.
    """
    large: list[Packed] = []
    small: dict[str, list[tuple[str, Form]]] = defaultdict(list)
    natures = {}
    for name, make in forms:
        form = make()
        natures[name] = nature(form)
        if form.symbols.size > _JOINABLE[-1]:
            large.append(_best([(name, form)], coder))
        else:
            small[form.storage.text].append((name, form))
    packed = large + [stream for group in small.values() for stream in _join(group, coder)]
    return packed + _tables(packed, coder), natures


def nature(form: Form) -> Nature:
    """What is told of a weight in this form."""
    storage, size = form.storage, form.symbols.size
    kind = {"float32": "fp32", "float16": "fp16"}.get(storage.stored, storage.stored)
    if storage.kind != "plain":
        kind = "binary" if storage.bits == 1 else storage.kind if storage.kind == "codebook" else storage.stored
    floor = float(sum(floor_bytes(plane) for plane in _planes(form.symbols, storage)))
    return Nature(form.symbols.shape, kind, form.level_bits, float(np.count_nonzero(form.zeros) / size), floor)


def _join(group: list[tuple[str, Form]], coder: str) -> list[Packed]:
    """Small tensors that are stored alike, those below the best threshold in one stream."""
    alone = [_best([one], coder) for one in group]
    best, best_cost = alone, sum(stream.cost for stream in alone)
    tried = 0
    for threshold in _JOINABLE:
        chosen = [one for one in group if one[1].symbols.size <= threshold]
        if len(chosen) < 2 or len(chosen) == tried:
            continue
        tried = len(chosen)
        rest = [stream for stream, one in zip(alone, group, strict=True) if one[1].symbols.size > threshold]
        streams = [*rest, _best(chosen, coder)]
        cost = sum(stream.cost for stream in streams)
        if cost < best_cost:
            best, best_cost = streams, cost
    return best


def _best(group: list[tuple[str, Form]], coder: str) -> Packed:
    """One stream of these tensors, its zeros left out if that is smaller."""
    dense = _encode(group, coder, False)
    forms = [form for _, form in group]
    total = sum(form.symbols.size for form in forms)
    zeros = sum(int(np.count_nonzero(form.zeros)) for form in forms)
    plain = forms[0].storage.kind == "plain"
    if zeros < _SPARSE_FROM * total or (total > _TRY_BOTH_BELOW and not plain):
        return dense
    sparse = _encode(group, coder, True)
    return sparse if sparse.cost < dense.cost else dense


def _encode(group: list[tuple[str, Form]], coder: str, sparse: bool) -> Packed:
    names = tuple(name for name, _ in group)
    forms = [form for _, form in group]
    shapes = tuple(form.symbols.shape for form in forms)
    parts: list[Array] = []
    if sparse:
        masks = [~form.zeros for form in forms]
        if forms[0].storage.kind == "codebook":
            forms = [_without_zero(form) for form in forms]
            if len({form.storage for form in forms}) > 1:  # a zero in one codebook and none in another
                return _encode(group, coder, False)
        kept = np.concatenate([form.symbols[mask] for form, mask in zip(forms, masks, strict=True)])
        parts = [_together(masks).astype(np.uint8), *_planes(kept, forms[0].storage)]
    else:
        parts = _planes(_together([form.symbols for form in forms]), forms[0].storage)
    storage = replace(forms[0].storage, sparse=sparse)
    coded = [encode(part, coder) for part in parts if part.size]
    payloads = [one.payload for one in coded] + [b""] * (len(parts) - len(coded))
    coders = tuple(one.coder for one in coded) + ("raw",) * (len(parts) - len(coded))
    content = b"".join(varint(len(p)) for p in payloads[:-1]) + b"".join(payloads)
    table = np.concatenate([form.table for form in forms])
    return Packed(Stream(storage, coders, len(content), shapes), content, names, table)


def _together(arrays: list[Array]) -> Array:
    """One tensor in its shape, several as one long list."""
    if len(arrays) == 1:
        return arrays[0].reshape(arrays[0].shape or (1,))
    return np.concatenate([array.reshape(-1) for array in arrays])


def _planes(symbols: Array, storage: Storage) -> list[Array]:
    """What is coded: levels and indices as they are, values byte by byte, lowest first."""
    if symbols.dtype == np.bool_:
        return [symbols.view(np.uint8)]
    if storage.kind == "int" or symbols.dtype.itemsize == 1:
        return [symbols]
    little = np.ascontiguousarray(symbols).astype(symbols.dtype.newbyteorder("<"), copy=False)
    split: NDArray[np.uint8] = little.view(np.uint8).reshape(*symbols.shape, symbols.dtype.itemsize)
    return [np.ascontiguousarray(split[..., index]) for index in range(symbols.dtype.itemsize)]


def _without_zero(form: Form) -> Form:
    """A codebook whose zero is in the mask and not in the table."""
    nonzero = form.table.view(np.uint32) != 0
    if nonzero.all() or not nonzero.any():
        return form
    rank = np.cumsum(nonzero) - nonzero
    table = np.ascontiguousarray(form.table[nonzero])
    storage = replace(form.storage, entries=table.size, wide=not exact_in_half(table))
    return Form(storage, rank.astype(np.uint8)[form.symbols], table)


def _tables(packed: list[Packed], coder: str) -> list[Packed]:
    out = []
    for wide, stored in ((False, "float16"), (True, "float32")):
        tables = [p.table for p in packed if p.stream.storage.wide == wide and p.table.size]
        if not tables:
            continue
        values = np.concatenate(tables).astype(stored)
        form = Form(Storage("tables", "float32", stored), values, np.zeros(0, np.float32))
        out.append(replace(_encode([("", form)], coder, False), names=()))
    return out
