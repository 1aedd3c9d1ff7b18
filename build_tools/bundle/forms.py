"""Finds in a weight's values the cheapest form that gives them back bit for bit: levels, a codebook, 16 bits, 32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from build_tools.coding.histogram import entropy_bits
from build_tools.model import Grid
from edge_runtime.bundle.format import Storage
from edge_runtime.bundle.streams import F32, Array, expand

MAX_ENTRIES = 256
_SAMPLE, _CHUNK = 65_536, 1 << 20
_ROW_BYTES = 8
"""What a stream of its own costs at least: its row in the table and the coder's header."""
_WORTHWHILE = 0.9
"""Plain values cost less than their bits say: their exponents are coded."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A weight as it can be stored.

    Attributes:
        storage: how.
        symbols: of the weight's shape, in `storage.stored`: levels, indices, or the values themselves.
        table: float32 scales or codebook; empty for plain values.
    """

    storage: Storage
    symbols: Array
    table: F32

    @property
    def on_few_values(self) -> bool:
        """Whether it is stored as levels or indices."""
        return self.storage.kind != "plain"

    @property
    def level_bits(self) -> int:
        """Bits of a level, an index or a value."""
        if self.storage.kind == "codebook":
            return max(1, (self.storage.entries - 1).bit_length())
        return self.storage.bits or 8 * self.symbols.dtype.itemsize

    @property
    def zeros(self) -> NDArray[np.bool_]:
        """Which values are (positive) zero; negative zeros have a bit set and are kept as they are."""
        if self.storage.kind == "codebook":
            found: NDArray[np.bool_] = (_bits(self.table) == 0)[self.symbols]
            return found
        whole = np.dtype(f"uint{8 * self.symbols.dtype.itemsize}")
        return np.asarray(self.symbols.view(whole) == 0)


def find_form(values: Array, grid: Grid | None = None, half: bool = False) -> Form:
    """The form of a weight.

    Args:
        values: any type of `format.NATIVE`, or float32.
        grid: a claim about float32 values. A uniform one is followed where it holds bit for bit; codebooks and values
            that are exact in 16 bits are found without.
        half: what is on few values is weighed against 16 bits a value, not against what its values take as they are.
    """
    values = np.ascontiguousarray(values)
    if values.dtype != np.float32:
        name = values.dtype.name
        return Form(Storage("plain", name, name), values, np.zeros(0, np.float32))
    found = None
    if grid is not None and grid.kind == "uniform":
        found = _uniform(values, grid)
    if found is None and values.size > 1:
        found = _few_values(values, half)
    return found or _plain(values)


def same_bits(a: F32, b: F32) -> bool:
    """Whether two arrays are equal bit for bit: signs of zeros and the insides of NaN count."""
    return a.shape == b.shape and bool(np.array_equal(_bits(a), _bits(b)))


def exact_in_half(values: F32) -> bool:
    """Whether the values survive 16 bits bit for bit."""
    with np.errstate(over="ignore"):
        return same_bits(values.astype(np.float16).astype(np.float32), values)


def _bits(values: F32) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values).view(np.uint32)


def _plain(values: F32) -> Form:
    if exact_in_half(values):
        return Form(Storage("plain", "float32", "float16"), values.astype(np.float16), np.zeros(0, np.float32))
    return Form(Storage("plain", "float32", "float32"), values, np.zeros(0, np.float32))


def _uniform(values: F32, grid: Grid) -> Form | None:
    table = np.ascontiguousarray(grid.table, np.float32).reshape(-1)
    axis = grid.axis if table.size > 1 else None
    if axis is not None and (axis >= values.ndim or axis < 0):
        return None
    if table.size != (1 if axis is None else values.shape[axis]) or not np.isfinite(table).all():
        return None
    along = [1] * values.ndim
    if axis is not None:
        along[axis] = -1
    scale = np.where(table == 0, np.float32(1), table).reshape(along) if along else np.float32(table[0] or 1)
    with np.errstate(over="ignore", invalid="ignore"):
        levels = np.rint(values / scale)
    if not np.isfinite(levels).all() or (levels.size and np.abs(levels).max() > 32_767):
        return None
    low, high = (int(levels.min()), int(levels.max())) if levels.size else (0, 0)
    if grid.bits == 1 and low >= -1 and high <= 1 and not (levels == 0).any():
        bits = 1
    else:
        bits = max(2, max(high, -low - 1).bit_length() + 1)
    stored = "int8" if bits <= 8 else "int16"
    storage = Storage("int", "float32", stored, bits, 0, axis, not exact_in_half(table))
    symbols = levels.astype(stored)
    return Form(storage, symbols, table) if same_bits(expand(storage, symbols, table), values) else None


def _few_values(values: F32, half: bool) -> Form | None:
    """A codebook where it pays: few distinct values, and fewer bytes than plain 16 or 32 bits by its entropy."""
    bits = _bits(values).reshape(-1)
    sample = bits[:: max(1, bits.size // _SAMPLE)]
    table = np.unique(sample)
    if table.size > MAX_ENTRIES:
        return None
    form = _codebook(values, table)
    if form is None:
        return None
    counts = np.bincount(form.symbols.reshape(-1), minlength=form.table.size)
    item_bytes = 2 if half or exact_in_half(values) else 4
    nonzero = int(counts[_bits(form.table) != 0].sum())
    sparse_bytes = entropy_bits(np.array([nonzero, values.size - nonzero])) / 8 + nonzero * item_bytes
    plain_bytes = min(values.size * item_bytes, sparse_bytes)
    table_bytes = form.table.size * (4 if form.storage.wide else 2)
    return form if entropy_bits(counts) / 8 + table_bytes + _ROW_BYTES < _WORTHWHILE * plain_bytes else None


def _codebook(values: F32, table: NDArray[np.uint32]) -> Form | None:
    """Indices into `table` (sorted bit patterns), extended by what it lacks; None beyond MAX_ENTRIES."""
    bits = _bits(values).reshape(-1)
    for start in range(0, bits.size, _CHUNK):
        chunk = bits[start : start + _CHUNK]
        near = np.minimum(np.searchsorted(table, chunk), table.size - 1)
        missed = chunk[table[near] != chunk]
        if missed.size:
            table = np.union1d(table, np.unique(missed))
            if table.size > MAX_ENTRIES:
                return None
    indices = np.empty(bits.size, np.uint8)
    for start in range(0, bits.size, _CHUNK):
        indices[start : start + _CHUNK] = np.searchsorted(table, bits[start : start + _CHUNK])
    used = np.bincount(indices, minlength=table.size) > 0
    entries = table[used].view(np.float32)
    order = np.argsort(entries, kind="stable")  # NaN last; -0.0 and 0.0 stay apart, they are two entries
    rank = np.empty(order.size, np.uint8)
    rank[order] = np.arange(order.size, dtype=np.uint8)
    remap = np.zeros(table.size, np.uint8)
    remap[used] = rank
    entries = np.ascontiguousarray(entries[order])
    storage = Storage("codebook", "float32", "uint8", 0, entries.size, None, not exact_in_half(entries))
    return Form(storage, remap[indices].reshape(values.shape), entries)
