"""Packs weights into the streams of weights.bin: zeros left out and small tensors joined where that saves bytes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from build_tools.bundle.forms import Form, exact_in_half
from build_tools.coding.code import Coded, encode
from build_tools.coding.histogram import floor_bytes, histogram
from edge_runtime.bundle.format import Storage, Stream
from edge_runtime.bundle.protobuf import varint
from edge_runtime.bundle.streams import F32, Array

_JOINABLE = (64, 256, 1024, 4096, 16_384)
"""Tensors of at most so many values are tried in one stream; which of these is best depends on the model."""
_ROW_BYTES, _SPARSE_BYTES, _SHAPE_BYTES = 14, 6, 4
"""What a stream, the word `sparse` with a second coder, and a shape take in the deflated manifest, about."""
_CODER_BYTES, _SYMBOL_BYTES = 2, 0.75
"""What a coder's header takes, and a symbol in its table, about."""
_CLOSE = 1.05
_EXACT_BELOW = 1 << 18
"""Up to so many values the three most promising layouts are coded to the last byte before one is chosen."""


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
        row = _ROW_BYTES + _SPARSE_BYTES * self.stream.storage.sparse
        return len(self.content) + tables + row + _SHAPE_BYTES * len(self.names)


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
    """Small tensors that are stored alike, those up to the best threshold in one stream."""
    layouts = [[[one] for one in group]]
    for threshold in _JOINABLE:
        joined = [one for one in group if one[1].symbols.size <= threshold]
        apart = [[one] for one in group if one[1].symbols.size > threshold]
        if len(joined) > 1 and len(apart) + 1 != len(layouts[-1]):
            layouts.append([*apart, joined])
    guesses: dict[tuple[str, ...], float] = {}
    for stream in (stream for layout in layouts for stream in layout):
        names = tuple(name for name, _ in stream)
        guesses[names] = guesses.get(names) or min(_guess(stream, sparse) for sparse in (False, True))
    layouts.sort(key=lambda layout: sum(guesses[tuple(name for name, _ in stream)] for stream in layout))
    exact = sum(form.symbols.size for _, form in group) <= _EXACT_BELOW
    encoded: dict[tuple[str, ...], Packed] = {}
    found = []
    for layout in layouts[: 3 if exact else 1]:
        packed = []
        for stream in layout:
            names = tuple(name for name, _ in stream)
            if names not in encoded:
                encoded[names] = _best(stream, coder)
            packed.append(encoded[names])
        found.append(packed)
    return min(found, key=lambda packed: sum(stream.cost for stream in packed))


def _best(stream: list[tuple[str, Form]], coder: str) -> Packed:
    """One stream of these tensors, its zeros left out if that is smaller; both are tried where it is close."""
    dense, sparse = _guess(stream, False), _guess(stream, True)
    tried = [_encode(stream, coder, False)] if dense < sparse * _CLOSE else []
    if sparse < dense * _CLOSE:
        tried.append(_encode(stream, coder, True))
    return min(tried, key=lambda packed: packed.cost)


def _guess(stream: list[tuple[str, Form]], sparse: bool) -> float:
    """About the bytes of a stream, from the entropy of its symbols; infinite where zeros cannot be left out."""
    forms = [form for _, form in stream]
    storage = forms[0].storage
    zeros = [form.zeros for form in forms] if sparse else []
    if sparse and (storage.bits == 1 or sum(int(np.count_nonzero(z)) for z in zeros) == 0):
        return math.inf
    symbols = [form.symbols for form in forms]
    if sparse:
        symbols = [form.symbols[~zero] for form, zero in zip(forms, zeros, strict=True)]
    parts = _planes(np.concatenate([one.reshape(-1) for one in symbols]), storage)
    if sparse:
        parts.append(np.concatenate([zero.reshape(-1) for zero in zeros]).view(np.uint8))
    total = float(_ROW_BYTES + _SPARSE_BYTES * sparse + _SHAPE_BYTES * len(stream))
    for part in parts:
        if part.size:
            counted = histogram(part)
            width = int(counted.symbols[-1] - counted.symbols[0]).bit_length()
            coded = counted.entropy_bits / 8 + _SYMBOL_BYTES * len(counted.symbols)
            total += _CODER_BYTES + min(coded, part.size * width / 8)
    return total


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
    plain = forms[0].storage.kind in ("plain", "tables")
    coded = [_smaller(p, coder, plain and i >= sparse) for i, p in enumerate(parts) if p.size]  # a mask has neighbours
    payloads = [one.payload for one in coded] + [b""] * (len(parts) - len(coded))
    coders = tuple(one.coder for one in coded) + ("raw",) * (len(parts) - len(coded))
    content = b"".join(varint(len(p)) for p in payloads[:-1]) + b"".join(payloads)
    table = np.concatenate([form.table for form in forms])
    return Packed(Stream(storage, coders, len(content), shapes), content, names, table)


def _smaller(part: Array, coder: str, plain: bool) -> Coded:
    """By the coder, or raw where that is smaller, as for the lowest bits of a mantissa, which no coder shrinks.

    Of `plain` values the bytes have no neighbours that context models learn from: the adaptive coder took 3,533 bytes
    for the exponents of YuNet_s's largest layer, Huffman 2,887.
    """
    if coder == "smallest":
        coders = ["raw", "huffman", "rans"] if plain else ["smallest"]
    else:
        coders = ["raw"] if coder == "raw" else ["raw", coder]
    return min((encode(part, one) for one in coders), key=lambda coded: len(coded.payload))


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
