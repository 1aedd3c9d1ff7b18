"""What single layers cost on a device: the file that a search on another machine reads, and what it tells."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import FormatError, StorageError
from edge_runtime.whole_file import write_whole

FORMAT = 1
Kind = Literal["pointwise", "full", "depthwise", "dense", "elementwise"]
KINDS: tuple[Kind, ...] = ("pointwise", "full", "depthwise", "dense", "elementwise")
REMEDY = "make it on the device with `edge-runtime bench --table FILE.json`"
NEAREST = 8
"""Rows that an estimate is made of."""


@dataclass(frozen=True, slots=True)
class Row:
    """A layer that was timed.

    Attributes:
        kind: pointwise: 1 x 1 convolution | full: 3 x 3 | depthwise: 3 x 3 | dense: fully connected | elementwise: Add.
        bits: 32: float | 8: weights and activations in 8 bits.
        channels: of input and output; as there is no way back from many to few but another layer, a probe goes there
            and back, and the time is the mean of both.
        positions: output pixels, or vectors of a dense layer.
        macs: multiplications; of an elementwise layer: elements.
        ms: the time.
    """

    kind: Kind
    bits: int
    channels: tuple[int, int]
    positions: int
    macs: int
    ms: float


@dataclass(frozen=True, slots=True, eq=False)
class DeviceTable:
    """A device's times.

    Attributes:
        device: what the machine says of itself.
        rows: the layers that were timed.
        run_ms: what a run costs before any layer is computed.
    """

    device: dict[str, str]
    rows: tuple[Row, ...]
    run_ms: float

    def layer_ms(self, kind: Kind, bits: int, channels: tuple[int, int], positions: int, macs: int) -> float:
        """The time of a layer, from those timed that are most like it.

        A weighted linear fit of log(ms / macs) over the logarithms of fewest channels, most channels and positions:
        a layer that was timed has its own time, between layers time goes as a power of each.

        Args:
            kind: as in `Row`; where the table has no row of this kind at these bits, its float rows are taken.
            bits: 8 or 32.
            channels: of input and output.
            positions: output pixels.
            macs: multiplications.
        """
        rows = [r for r in self.rows if r.kind == kind and r.bits == bits]
        rows = rows or [r for r in self.rows if r.kind == kind]
        at = _features(channels, positions)
        features = np.array([_features(r.channels, r.positions) for r in rows])
        rates = np.log([r.ms / r.macs for r in rows])
        squares = np.square(features - at).sum(1)
        near = np.argsort(squares, kind="stable")[:NEAREST]
        weights = 1.0 / (squares[near] + 1e-6)
        centred = features[near] - at
        # The ridge holds the slopes that the few rows do not tell: the rate is then the same.
        design = np.concatenate([np.ones((len(near), 1)), centred], 1)
        normal = design.T @ (design * weights[:, None]) + np.diag([0.0, 1e-3, 1e-3, 1e-3])
        fit = np.linalg.solve(normal, design.T @ (weights * rates[near]))
        span = rates[near]
        rate = float(np.clip(fit[0], span.min() - math.log(2), span.max() + math.log(2)))
        return math.exp(rate) * macs


def write_table(table: DeviceTable, path: Path) -> None:
    """Write it as JSON, whole or not at all.

    Raises:
        StorageError: a full disk or a folder that cannot be written.
    """
    content = {
        "format": FORMAT,
        "device": table.device,
        "run_ms": table.run_ms,
        "rows": [asdict(r) for r in table.rows],
    }
    try:
        write_whole(path, json.dumps(content, indent=1))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def read_table(path: Path) -> DeviceTable:
    """The table at `path`.

    Raises:
        FormatError: missing, not a table, of another version, or without the rows that estimates need.
    """
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror}); make it with `edge-runtime bench --table`"
        ) from None
    except ValueError as error:
        raise FormatError(f"{path}: not a device table ({error}); make it with `edge-runtime bench --table`") from None
    try:
        if raw["format"] != FORMAT:
            raise FormatError(f"{path}: a table of format {raw['format']}, this program reads {FORMAT}; make it again")
        rows = tuple(_row(entry) for entry in raw["rows"])
        table = DeviceTable({str(k): str(v) for k, v in raw["device"].items()}, rows, float(raw["run_ms"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise FormatError(
            f"{path}: field {error} is missing or wrong; make it with `edge-runtime bench --table`"
        ) from None
    missing = [kind for kind in KINDS if not any(r.kind == kind for r in rows)]
    if missing or not table.run_ms >= 0:
        raise FormatError(f"{path}: no rows of kind {', '.join(missing) or '?'}, or no run_ms; make it again")
    return table


def _row(entry: Any) -> Row:
    into, out = (int(c) for c in entry["channels"])
    row = Row(
        entry["kind"], int(entry["bits"]), (into, out), int(entry["positions"]), int(entry["macs"]), float(entry["ms"])
    )
    if row.kind not in KINDS or min(into, out, row.positions, row.macs) < 1 or not 0 < row.ms < math.inf:
        raise ValueError(f"rows: {entry}")
    return row


def _features(channels: tuple[int, int], positions: int) -> NDArray[np.float64]:
    return np.log2([min(channels), max(channels), positions])
