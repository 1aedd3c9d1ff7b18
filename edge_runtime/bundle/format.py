"""The `.edge` bundle, format 1: its members, its manifest, and what must hold before a single buffer is made.

A bundle is a ZIP file of three or four members, in this order: `manifest.json` (deflated); `graph.onnx.z`, the ONNX
graph without its weights (raw deflate with the preset dictionary of
`dictionary.py`); `weights.bin`; and, when signed, `signature` (Ed25519
over the bytes of manifest.json). The manifest, as compact JSON with sorted keys:

    {"facts": {"name": "lenet5", "task": "other"},        what the model is; `edge` in the metadata of plain ONNX
     "format": 1,
     "graph": [386, "SHA256"],                            bytes once inflated, sha256 of the member in base64url
     "made": {"recipe_sha256": "...", "seed": 1},         where it comes from
     "prefix": "_",                                       absent when empty, see below
     "tensors": [["int4 axis0", "rans", 310, [20,1,5,5]], ...],
     "weights": [4100, "SHA256"]}                         bytes, sha256 of the member

`tensors` describes weights.bin from its first to its last byte, one stream after the other: `[storage, coder, bytes,
shape, shape, ...]`. A stream of several shapes holds small tensors one after the other. The n-th shape of the whole
list is the initialiser called prefix + n in base 36; `tables` are not counted. `storage` is one of

    fp32 | fp16           float32 values, kept as they are or in 16 bits
    native DTYPE          values of another type, as they are
    intB [axisA] [f32]    B-bit whole numbers (B = 1: -1 and +1) times a scale: one, or one an index along axis A
    codebookN [f32]       indices into N values, a codebook a tensor
    tables fp16|fp32      the scales and codebooks of all streams without or with f32, in their order

with `sparse ` before it when zeros are left out. A stream is coded in parts: for `sparse` the 0/1 mask of what is not
zero first, then the levels or indices, or of plain values a part for each of their bytes, lowest first. `coder` names
the coder of each part, joined by `+`, or one for all. The lengths of all parts but the last stand before the first as
LEB128 numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

FORMAT = 1
MANIFEST, GRAPH, WEIGHTS, SIGNATURE = "manifest.json", "graph.onnx.z", "weights.bin", "signature"
MEMBERS = (MANIFEST, GRAPH, WEIGHTS, SIGNATURE)
MAX_FILE_BYTES = 2**31 - 1
MAX_MANIFEST_BYTES = 2**22
MAX_GRAPH_BYTES = 2**26
MAX_PARAMETERS = 2**28
"""Twice the largest network anyone puts on a node; a bundle that claims more is refused before memory is asked for."""
MAX_DIMENSIONS = 8
CODERS = ("raw", "huffman", "rans", "adaptive")

_STORAGE = re.compile(
    r"(?P<sparse>sparse )?(?:(?P<plain>fp32|fp16)|native (?P<native>[a-z]+[0-9]*)|tables (?P<tables>fp32|fp16)"
    r"|int(?P<bits>[1-9][0-9]?)(?: axis(?P<axis>[0-7]))?(?P<int_wide> f32)?"
    r"|codebook(?P<entries>[1-9][0-9]{0,2})(?P<codebook_wide> f32)?)"
)
_FLOATS = {"fp32": "float32", "fp16": "float16"}
NATIVE = (
    "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool",
)  # fmt: skip
"""NumPy's names of the types, beside float32, that a weight may have."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How the values of a stream are kept; `text` is how the manifest writes it.

    Attributes:
        kind: `plain`: as they are | `int`: levels times scale | `codebook`: indices into a table | `tables`: scales
            and codebooks of others.
        dtype: of the values, NumPy's name.
        stored: of what is coded: for `plain` and `tables` the type they are kept in, else of a level or index.
        bits: of a level (`int`) or 0.
        entries: of the codebook or 0.
        axis: `int`: axis the scales run along, None: one scale a tensor.
        wide: its tables are float32, not float16.
        sparse: zeros are left out.
    """

    kind: str
    dtype: str
    stored: str
    bits: int = 0
    entries: int = 0
    axis: int | None = None
    wide: bool = False
    sparse: bool = False

    @property
    def text(self) -> str:
        """As in the manifest."""
        short = {long: name for name, long in _FLOATS.items()}
        words = ["sparse"] if self.sparse else []
        if self.kind == "plain":
            words += [short[self.stored]] if self.dtype == "float32" else ["native", self.dtype]
        elif self.kind == "tables":
            words += ["tables", short[self.stored]]
        elif self.kind == "int":
            words += [f"int{self.bits}"] + ([f"axis{self.axis}"] if self.axis is not None else [])
        else:
            words += [f"codebook{self.entries}"]
        return " ".join(words + ["f32"] * self.wide)

    @property
    def parts(self) -> int:
        """Number of coded parts."""
        return (1 if self.kind == "int" else ITEM_BYTES[self.stored]) + self.sparse

    def table_values(self, shape: tuple[int, ...]) -> int:
        """How many scales or codebook entries a tensor of this shape has among the tables."""
        if self.kind == "int":
            return 1 if self.axis is None else shape[self.axis]
        return self.entries


ITEM_BYTES = {"float32": 4, "float16": 2, "float64": 8, "bool": 1} | {
    f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def read_storage(text: str) -> Storage | None:
    """The storage that `text` names, or None."""
    found = _STORAGE.fullmatch(text)
    if found is None:
        return None
    sparse = found["sparse"] is not None
    if found["plain"]:
        return Storage("plain", "float32", _FLOATS[found["plain"]], sparse=sparse)
    if found["native"]:
        return Storage("plain", found["native"], found["native"], sparse=sparse) if found["native"] in NATIVE else None
    if found["tables"]:
        return None if sparse else Storage("tables", "float32", _FLOATS[found["tables"]])
    if found["bits"]:
        bits, axis = int(found["bits"]), None if found["axis"] is None else int(found["axis"])
        stored = "int8" if bits <= 8 else "int16"
        return Storage("int", "float32", stored, bits, 0, axis, bool(found["int_wide"]), sparse) if bits <= 16 else None
    entries = int(found["entries"])
    return (
        Storage("codebook", "float32", "uint8", 0, entries, None, bool(found["codebook_wide"]), sparse)
        if entries <= 256
        else None
    )


@dataclass(frozen=True, slots=True)
class Stream:
    """A run of weights.bin: tensors stored alike, one after the other.

    Attributes:
        storage: how.
        coders: of each part.
        bytes: its length.
        shapes: of its tensors; of `tables`: one shape, `(values,)`.
    """

    storage: Storage
    coders: tuple[str, ...]
    bytes: int
    shapes: tuple[tuple[int, ...], ...]

    @property
    def row(self) -> list[Any]:
        """As in the manifest."""
        return [self.storage.text, self.coder, self.bytes, *map(list, self.shapes)]

    @property
    def coder(self) -> str:
        """The coders of all parts, or the one they share."""
        return "+".join(self.coders[:1] if len(set(self.coders)) == 1 else self.coders)

    @property
    def values(self) -> int:
        """How many values its tensors have together."""
        return sum(map(math.prod, self.shapes))
