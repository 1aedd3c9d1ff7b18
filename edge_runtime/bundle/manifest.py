"""The manifest of a bundle: read with every field checked, written as the fewest bytes of plain JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edge_runtime.bundle.format import (
    CODERS,
    FORMAT,
    MAX_DIMENSIONS,
    MAX_FILE_BYTES,
    MAX_GRAPH_BYTES,
    MAX_PARAMETERS,
    Stream,
    read_storage,
)  # fmt: skip
from edge_runtime.errors import FormatError, VersionError

_SHA256 = re.compile(r"[A-Za-z0-9_-]{43}")
_FIELDS = {"facts", "format", "graph", "made", "prefix", "tensors", "weights"}
_LABEL_MAX = 200
REBUILD = "copy the file again or rebuild it with edge-build"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself; see `format`.

    Attributes:
        facts: name, task and what else the runtime needs to know of the model.
        made: provenance: hashes of source, recipe and data, seed, tool.
        graph_bytes: of the graph once inflated.
        graph_sha256: of the member, base64url.
        weights_bytes: of the member.
        weights_sha256: of the member, base64url.
        streams: what weights.bin holds, in order.
        prefix: of the weights' names.
    """

    facts: dict[str, Any]
    made: dict[str, Any]
    graph_bytes: int
    graph_sha256: str
    weights_bytes: int
    weights_sha256: str
    streams: tuple[Stream, ...]
    prefix: str = ""

    def weight_names(self) -> list[str]:
        """Names of the initialisers in the order of their values."""
        count = sum(len(s.shapes) for s in self.streams if s.storage.kind != "tables")
        return [weight_name(self.prefix, index) for index in range(count)]

    def to_json(self) -> bytes:
        """The manifest's bytes: the same for the same manifest."""
        table: dict[str, Any] = {
            "facts": self.facts,
            "format": FORMAT,
            "graph": [self.graph_bytes, self.graph_sha256],
            "made": self.made,
            "tensors": [s.row for s in self.streams],
            "weights": [self.weights_bytes, self.weights_sha256],
        }
        if self.prefix:
            table["prefix"] = self.prefix
        return json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def weight_name(prefix: str, index: int) -> str:
    """The name of the weight with this index: the prefix and the index in base 36."""
    digits = ""
    while True:
        index, digit = divmod(index, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not index:
            return prefix + digits


def read_manifest(raw: bytes, origin: str) -> Manifest:
    """The manifest in `raw`.

    Args:
        raw: JSON, at most MAX_MANIFEST_BYTES.
        origin: the file it came from, for messages.

    Raises:
        VersionError: made for another version of the format.
        FormatError: not JSON, or a field that is missing, unknown, of the wrong type or out of range; with its name.
    """

    def refuse(field: str, problem: str) -> FormatError:
        return FormatError(f"{origin}: manifest.json: {field} {problem}; {REBUILD}")

    try:
        table = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{origin}: manifest.json is not sound JSON ({str(error)[:100]}); {REBUILD}") from None
    if not isinstance(table, dict):
        raise refuse("as a whole", "is not a JSON object")
    if not _is_count(table.get("format"), 2**31):
        raise refuse("format", "is missing or not a whole number")
    if table["format"] != FORMAT:
        raise VersionError(
            f"{origin}: made for format {table['format']}, this runtime reads {FORMAT}; update one of them"
        )
    for field in sorted(_FIELDS - {"prefix"} - table.keys()):
        raise refuse(field, "is missing")
    for field in sorted(table.keys() - _FIELDS):
        raise refuse(field[:40], "is not a field of format 1")
    facts, made, prefix = table["facts"], table["made"], table.get("prefix", "")
    if not isinstance(facts, dict) or not all(_is_label(facts.get(key)) for key in ("name", "task")):
        raise refuse("facts", "needs the texts name and task, printable and short")
    if not isinstance(made, dict) or not all(isinstance(v, str) or _is_count(v, 2**64) for v in made.values()):
        raise refuse("made", "must hold texts and whole numbers")
    if not isinstance(prefix, str) or not re.fullmatch("_{0,32}", prefix):
        raise refuse("prefix", "must be made of at most 32 underlines")
    graph = _member(table["graph"], MAX_GRAPH_BYTES)
    weights = _member(table["weights"], MAX_FILE_BYTES)
    if graph is None or weights is None:
        raise refuse("weights" if graph else "graph", "must be [bytes, sha256 in base64url] within the format's limits")
    if not isinstance(table["tensors"], list):
        raise refuse("tensors", "must be a list")
    streams = []
    for index, row in enumerate(table["tensors"]):
        stream = _stream(row)
        if isinstance(stream, str):
            raise refuse(f"tensors[{index}]", stream)
        streams.append(stream)
    problem = _balance(streams, weights[0])
    if problem:
        raise refuse("tensors", problem)
    return Manifest(facts, made, *graph, *weights, tuple(streams), prefix)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_count(value: Any, limit: int) -> bool:
    return type(value) is int and 0 <= value <= limit


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LABEL_MAX and value.isprintable()


def _member(value: Any, limit: int) -> tuple[int, str] | None:
    if not (isinstance(value, list) and len(value) == 2 and _is_count(value[0], limit)):
        return None
    return (value[0], value[1]) if isinstance(value[1], str) and _SHA256.fullmatch(value[1]) else None


def _stream(row: Any) -> Stream | str:
    """The stream that a row of `tensors` describes, or what is wrong with it."""
    if not isinstance(row, list) or len(row) < 4 or not isinstance(row[0], str) or not isinstance(row[1], str):
        return "must be [storage, coder, bytes, shape, ...]"
    storage = read_storage(row[0])
    if storage is None:
        return f"has the unknown storage {row[0][:40]!r}"
    coders = tuple(row[1].split("+"))
    coders = coders * storage.parts if len(coders) == 1 else coders
    if len(coders) != storage.parts or not set(coders) <= set(CODERS):
        return f"has the coder {row[1][:40]!r}, not {storage.parts} of {', '.join(CODERS)}"
    if not _is_count(row[2], MAX_FILE_BYTES):
        return "has bytes that are not a whole number within limits"
    for shape in row[3:]:
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            return f"has a shape that is not a list of at most {MAX_DIMENSIONS} sides"
        if not all(_is_count(side, MAX_PARAMETERS) and side for side in shape) or math.prod(shape) > MAX_PARAMETERS:
            return f"has a shape with sides out of range, or more than {MAX_PARAMETERS:,} values"
        if storage.axis is not None and storage.axis >= len(shape):
            return f"has scales along axis {storage.axis} of a shape with {len(shape)} sides"
    shapes = tuple(tuple(shape) for shape in row[3:])
    if storage.kind == "tables" and (len(shapes) != 1 or len(shapes[0]) != 1):
        return "has tables that are not one list"
    stream = Stream(storage, coders, row[2], shapes)
    return stream if stream.row == row else "is not written in its one canonical form"


def _balance(streams: list[Stream], weights_bytes: int) -> str:
    """What does not add up over all streams; empty when all does."""
    if sum(s.bytes for s in streams) != weights_bytes:
        return f"describes {sum(s.bytes for s in streams):,} bytes, weights.bin has {weights_bytes:,}"
    if sum(s.values for s in streams) > MAX_PARAMETERS:
        return f"describes more than {MAX_PARAMETERS:,} values"
    for wide, stored in ((False, "float16"), (True, "float32")):
        users = [s for s in streams if s.storage.kind in ("int", "codebook") and s.storage.wide == wide]
        needed = sum(s.storage.table_values(shape) for s in users for shape in s.shapes)
        tables = [s for s in streams if s.storage.kind == "tables" and s.storage.stored == stored]
        if len(tables) > 1 or _total(tables) != needed:
            return f"needs {needed} scales and codebook entries in {stored}, but has {_total(tables)}"
    return ""


def _total(streams: Iterable[Stream]) -> int:
    return sum(s.values for s in streams)
