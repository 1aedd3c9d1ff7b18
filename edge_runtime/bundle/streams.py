"""From the bytes of weights.bin to tensors, exactly: the levels times the scales, or the indices into the codebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.entropy import decode
from edge_runtime.bundle.format import Storage, Stream
from edge_runtime.bundle.protobuf import read_varint
from edge_runtime.errors import IntegrityError

F32 = NDArray[np.float32]
Array = NDArray[Any]


def decode_streams(streams: Sequence[Stream], weights: memoryview, origin: str) -> list[Array]:
    """All tensors, in the order of the manifest.

    Args:
        streams: whose lengths add up to that of `weights` and whose tables to what they need.
        weights: the member weights.bin.
        origin: the file, for messages.

    Raises:
        IntegrityError: a stream that does not decode to what the manifest says of it.
    """
    tensors: list[Array] = []
    tables = iter(stream_tables(streams, weights, origin))
    for stream, place in _places(streams, weights):
        storage = stream.storage
        if storage.kind == "tables":
            continue
        symbols = iter(_symbols(stream, place, origin))
        masks = [next(symbols) if storage.sparse else None for _ in stream.shapes]
        for shape, mask in zip(stream.shapes, masks, strict=True):
            tensors.append(_values(storage, shape, next(symbols), mask, next(tables)[1], origin))
    return tensors


def stream_tables(streams: Sequence[Stream], weights: memoryview, origin: str) -> list[tuple[Storage, F32]]:
    """For each tensor how it is stored and its scales or codebook; arguments and errors as of `decode_streams`."""
    pools = {True: np.zeros(0, np.float32), False: np.zeros(0, np.float32)}
    for stream, place in _places(streams, weights):
        if stream.storage.kind == "tables":
            pools[stream.storage.stored == "float32"] = _symbols(stream, place, origin)[0].astype(np.float32)
    used = {True: 0, False: 0}
    found = []
    for storage, shape in ((s.storage, shape) for s in streams for shape in s.shapes if s.storage.kind != "tables"):
        first = used[storage.wide]
        used[storage.wide] += storage.table_values(shape)
        found.append((storage, pools[storage.wide][first : used[storage.wide]]))
    return found


def expand(storage: Storage, symbols: Array, table: F32) -> Array:
    """The values that levels, indices or stored values stand for.

    Args:
        storage: how they are stored.
        symbols: of the tensor's shape, in `storage.stored`; a codebook's may be of any shape.
        table: scales or codebook.
    """
    if storage.kind == "codebook":
        return table[symbols]
    if storage.kind != "int":
        return symbols.astype(storage.dtype, copy=False)
    values = symbols.astype(np.float32)
    along = [1] * values.ndim
    if storage.axis is not None:
        along[storage.axis] = -1
    values *= table.reshape(along) if along else table[0]
    return values


def _places(streams: Sequence[Stream], weights: memoryview) -> Iterator[tuple[Stream, memoryview]]:
    """Each stream with its bytes."""
    at = 0
    for stream in streams:
        yield stream, weights[at : at + stream.bytes]
        at += stream.bytes


def _values(
    storage: Storage, shape: tuple[int, ...], symbols: Array, mask: Array | None, table: F32, origin: str
) -> Array:
    if storage.kind == "codebook" and symbols.size and int(symbols.max()) >= storage.entries:
        raise IntegrityError(f"{origin}: weights.bin: an index beyond its codebook; copy the file again")
    if mask is None:
        return expand(storage, symbols.reshape(shape), table)
    if storage.kind == "int":
        levels = np.zeros(shape, storage.stored)
        levels[mask] = symbols
        return expand(storage, levels, table)
    values = np.zeros(shape, storage.dtype)
    values[mask] = expand(storage, symbols, table)
    return values


def _symbols(stream: Stream, place: memoryview, origin: str) -> list[Array]:
    """For a sparse stream the masks of its tensors; then for each tensor its symbols, flat if sparse."""
    storage = stream.storage
    try:
        parts = _parts(place, storage.parts)
    except IndexError:
        raise IntegrityError(f"{origin}: weights.bin: lengths beyond the stream; copy the file again") from None
    # A stream of one tensor is coded in its shape (context models look at neighbours), joined ones as one long list.
    shape = (stream.shapes[0] or (1,)) if len(stream.shapes) == 1 else (stream.values,)
    sizes = [math.prod(s) for s in stream.shapes]
    found: list[Array] = []
    coders = iter(zip(stream.coders, parts, strict=True))
    if storage.sparse:
        flat = _decode(*next(coders), shape, np.uint8, origin).reshape(-1)
        if flat.size and int(flat.max()) > 1:
            raise IntegrityError(f"{origin}: weights.bin: a mask of more than 0 and 1; copy the file again")
        masks = np.split(flat.astype(np.bool_), np.cumsum(sizes)[:-1])
        found = [mask.reshape(s) for mask, s in zip(masks, stream.shapes, strict=True)]
        sizes = [int(np.count_nonzero(mask)) for mask in masks]
        shape = (sum(sizes),)
    planes = [(coder, part) for coder, part in coders]
    if len(planes) == 1:
        narrow = np.dtype(storage.stored if storage.stored != "bool" else "uint8")
        symbols = _decode(*planes[0], shape, narrow, origin)
        if storage.stored == "bool":
            if symbols.size and int(symbols.max()) > 1:
                raise IntegrityError(f"{origin}: weights.bin: a bool of more than 0 and 1; copy the file again")
            symbols = symbols.astype(np.bool_)
    else:
        joined = np.empty((*shape, len(planes)), np.uint8)
        for index, (coder, part) in enumerate(planes):
            joined[..., index] = _decode(coder, part, shape, np.uint8, origin)
        symbols = joined.view(np.dtype(storage.stored).newbyteorder("<"))[..., 0]
    if len(sizes) == 1:
        return [*found, symbols]
    return found + np.split(symbols.reshape(-1), np.cumsum(sizes)[:-1])


def _parts(place: memoryview, count: int) -> list[memoryview]:
    lengths, at = [], 0
    for _ in range(count - 1):
        length, at = read_varint(place, at)
        lengths.append(length)
    parts = []
    for length in lengths:
        parts.append(place[at : at + length])
        at += length
    if at > len(place):
        raise IndexError("lengths beyond the stream")
    return [*parts, place[at:]]


def _decode(coder: str, payload: memoryview, shape: tuple[int, ...], dtype: Any, origin: str) -> Array:
    return decode(coder, payload, shape, dtype, f"{origin}: weights.bin")
