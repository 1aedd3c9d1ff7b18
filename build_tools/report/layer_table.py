"""The table of a model's weights: what each is, what was done to it and what it costs, sortable by any column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from build_tools.compress import Compressed
from build_tools.graph import Graph
from build_tools.passes.contract import Fact
from build_tools.report import figures
from build_tools.report.html import Safe, breakable, tag


@dataclass(frozen=True, slots=True)
class Row:
    """A weight.

    Attributes:
        name: of the initialiser.
        operator: of the layer that reads it, with `bias` where it is one.
        shape: of the tensor.
        storage: as the bundle's ledger has it.
        bits: of a level, index or value.
        sparsity: share of zeros.
        bytes: paid.
        floor: Shannon bound of its symbols, bytes.
        facts: what passes said of it.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    storage: str
    bits: int
    sparsity: float
    bytes: int
    floor: float
    facts: dict[str, Fact]

    @property
    def elements(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))


def rows(done: Compressed) -> list[Row]:
    """Every weight of the bundle, the dearest first."""
    facts: dict[str, dict[str, Fact]] = {}
    for step in done.steps:
        for name, said in step.layers.items():
            # what an undone pass has measured stays true, what it did does not
            kept = {key: value for key, value in said.items() if key == "sensitivity" or not step.undone}
            facts[name] = facts.get(name, {}) | kept
    readers = _readers(Graph(done.model.proto))
    made = [
        Row(
            layer.name, readers.get(layer.name, "constant"), tuple(layer.shape), layer.storage, layer.bits,
            layer.sparsity, layer.bytes, layer.floor_bytes, facts.get(layer.name, {}),
        )
        for layer in done.written.layers
    ]  # fmt: skip
    return sorted(made, key=lambda r: -r.bytes)


def layer_table(weights: Iterable[Row]) -> Safe:
    """The table in a box that scrolls; without scripts it is read in the order given."""
    weights = list(weights)
    # A column that no pass has filled says nothing.
    shown = [c for c in COLUMNS if c.fact == "" or any(c.fact in w.facts for w in weights)]
    head = tag(
        "tr",
        *(
            tag("th", tag("button", c.title, type="button"), scope="col", class_=None if c.number else "text",
                data_kind="number" if c.number else "text", title=c.doc)
            for c in shown
        ),
    )  # fmt: skip
    body = [tag("tr", *(_cell(c, w) for c in shown)) for w in weights]
    table = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Weights, layer by layer")


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    doc: str
    number: bool = True
    fact: str = ""


COLUMNS = (
    _Column("weight", "name of the initialiser", number=False),
    _Column("operator", "what reads it", number=False),
    _Column("shape", "sides, sorted by the number of values"),
    _Column("stored as", "kind of storage in the bundle", number=False),
    _Column("bits", "of a level, index or value"),
    _Column("zeros", "share of values that are zero"),
    _Column("bytes", "paid in the bundle, scales and codebooks included"),
    _Column("floor", "Shannon bound of its symbols, in bytes"),
    _Column("bits/value", "bits paid for each value of the tensor"),
    _Column("rank", "rank of the factorisation it belongs to", fact="rank"),
    _Column("channels", "channels that are left", fact="channels"),
    _Column("sensitivity", "what the pass measured of how much the model minds", fact="sensitivity"),
    _Column("error", "relative error that a pass left in the layer", fact="error"),
)


def _cell(column: _Column, row: Row) -> Safe:
    if column.fact:
        value = row.facts.get(column.fact)
        if value is None:
            return tag("td", "", data_value="")
        text = figures.share(value) if column.fact == "error" and isinstance(value, float) else _fact(value)
        return tag("td", text, data_value=str(value))
    shown: dict[str, tuple[str, float | str]] = {
        "weight": (breakable(row.name), row.name),
        "operator": (row.operator, row.operator),
        "shape": (" × ".join(map(str, row.shape)) or "1", row.elements),
        "stored as": (row.storage, row.storage),
        "bits": (str(row.bits), row.bits),
        "zeros": (figures.share(row.sparsity), row.sparsity),
        "bytes": (figures.count(row.bytes), row.bytes),
        "floor": (figures.count(row.floor), row.floor),
        "bits/value": (f"{8 * row.bytes / max(row.elements, 1):.2f}", 8 * row.bytes / max(row.elements, 1)),
    }
    text, value = shown[column.title]
    kind = "name" if column.title == "weight" else "text" if not column.number else None
    return tag("td", text, class_=f"text {kind}" if kind == "name" else kind, data_value=str(value))


def _fact(value: Fact) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _readers(graph: Graph) -> dict[str, str]:
    """What reads each initialiser."""
    names: dict[str, str] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            if name in graph.initialisers:
                names.setdefault(
                    name, f"{node.op_type} bias" if index == 2 and node.op_type in BIASED else node.op_type
                )
    for layer in graph.layers():
        names[layer.weight] = f"{layer.op} depthwise" if layer.depthwise else layer.op
        if layer.bias:
            names[layer.bias] = f"{layer.op} bias"
    return names


BIASED = ("Conv", "ConvTranspose", "Gemm")
