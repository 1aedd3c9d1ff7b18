"""Which ranks a layer may be taken apart at, what each costs and loses, and which of them is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.passes.factoring.decompose import F64, Form
from build_tools.passes.factoring.ranks import tails

I64 = NDArray[np.int64]
Counted = Literal["macs", "params"]


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a layer computes.

    Attributes:
        shape: of its weight as [out, in, *kernel].
        input_sides, output_sides: of the maps; () for a fully connected layer's.
        rows: vectors a sample that a fully connected layer sees.
    """

    shape: tuple[int, ...]
    input_sides: tuple[int, ...] = ()
    output_sides: tuple[int, ...] = ()
    rows: int = 1

    def macs(self) -> int:
        """Multiplications for one sample."""
        return self.params() * int(np.prod(self.output_sides)) * self.rows

    def params(self) -> int:
        """Weights, without the bias."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Ways to take a layer apart, one a row.

    Attributes:
        forms: name of the form.
        ranks: int64 [n, 2]; the second is 0 where the form has one rank.
        macs, params: int64 [n], of all parts together.
        loss: float64 [n], share of energy lost; for Tucker-2 an upper bound.
    """

    forms: tuple[Form, ...]
    ranks: I64
    macs: I64
    params: I64
    loss: F64

    def __len__(self) -> int:
        return len(self.forms)

    def select(self, rows: NDArray[np.bool_] | I64) -> Options:
        """The rows of a mask or of indices."""
        forms = tuple(np.array(self.forms, dtype=object)[rows])
        return Options(forms, self.ranks[rows], self.macs[rows], self.params[rows], self.loss[rows])

    def counted(self, what: Counted) -> I64:
        """MACs or parameters."""
        return self.macs if what == "macs" else self.params

    def rank(self, row: int) -> tuple[int, ...]:
        """Ranks of a row, as `decompose` takes them."""
        return tuple(int(r) for r in self.ranks[row] if r)


def options(extent: Extent, spectra: Mapping[Form, tuple[F64, ...]], align: int, worth: float) -> Options:
    """All aligned ranks that leave at most the share `worth` of both the layer's MACs and its parameters.

    Args:
        extent: of the layer.
        spectra: for each form to be considered what `decompose.spectra` gives.
        align: ranks are multiples of this.
        worth: 0 .. 1.
    """
    forms: list[Form] = []
    rows: list[tuple[I64, I64, I64, F64]] = []
    for form, of in spectra.items():
        steps = [_steps(len(s), align) for s in of]
        grid = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, len(of))
        ranks = np.zeros((len(grid), 2), np.int64)
        ranks[:, : len(of)] = grid
        # HOSVD's error is at most the sum of what is cut off on each side (De Lathauwer et al. 2000, property 10)
        loss = sum((tails(s)[grid[:, i]] for i, s in enumerate(of)), np.zeros(len(grid)))
        macs, params = _cost(extent, form, ranks)
        forms += [form] * len(grid)
        rows.append((ranks, macs, params, loss))
    if not rows:
        empty: I64 = np.zeros(0, np.int64)
        return Options((), np.zeros((0, 2), np.int64), empty, empty, np.zeros(0))
    merged = [np.concatenate(column) for column in zip(*rows, strict=True)]
    every = Options(tuple(forms), merged[0], merged[1], merged[2], merged[3])
    return every.select((every.macs <= worth * extent.macs()) & (every.params <= worth * extent.params()))


def by_energy(found: Options, energy: float, what: Counted) -> int | None:
    """The cheapest option that keeps this share of the energy."""
    enough = np.flatnonzero(found.loss <= 1 - energy + 1e-12)
    return int(enough[np.argmin(found.counted(what)[enough])]) if len(enough) else None


def by_share(found: Options, extent: Extent, share: float, what: Counted) -> int | None:
    """The option that loses least at no more than this share of the layer's cost."""
    whole = extent.macs() if what == "macs" else extent.params()
    cheap = np.flatnonzero(found.counted(what) <= share * whole)
    return int(cheap[np.argmin(found.loss[cheap])]) if len(cheap) else None


def by_ranks(found: Options, ranks: Mapping[Form, tuple[int, ...]], what: Counted) -> int | None:
    """The cheapest option that has exactly the ranks of its form."""
    hits = [i for i, form in enumerate(found.forms) if ranks.get(form) == found.rank(i)]
    return min(hits, key=lambda i: int(found.counted(what)[i])) if hits else None


def by_model(layers: Mapping[str, tuple[Extent, Options]], share: float, what: Counted) -> tuple[dict[str, int], float]:
    """Options for all layers together: the product of the energies kept is largest at the given share of the cost.

    Zhang et al. 2015, section 3.4: the layer with the least loss for what it saves goes first. On the lower convex
    hull of each layer's options this is the optimum up to the last step.

    Args:
        layers: by weight name.
        share: of the cost of all layers, wanted.
        what: which cost.

    Returns:
        The row of each layer that is taken apart, and the share that is reached.
    """
    costs = {name: e.macs() if what == "macs" else e.params() for name, (e, _) in layers.items()}
    total = sum(costs.values())
    steps: list[tuple[float, int, str, int]] = []
    for name, (_, found) in layers.items():
        hull = _hull(found.counted(what), -np.log(np.maximum(1 - found.loss, 1e-12)), costs[name])
        before, lost = costs[name], 0.0
        for row, cost, loss in hull:
            steps.append(((loss - lost) / (before - cost), cost, name, row))
            before, lost = cost, loss
    taken: dict[str, int] = {}
    now = total
    for _, cost, name, row in sorted(steps):
        if now <= share * total:
            break
        now += cost - costs[name]
        costs[name] = cost
        taken[name] = row
    return taken, now / max(total, 1)


def _hull(costs: I64, losses: F64, whole: int) -> list[tuple[int, int, float]]:
    """(row, cost, loss) on the lower convex hull, from the dear to the cheap, after the whole layer at no loss."""
    order = np.lexsort((losses, -costs))
    hull: list[tuple[int, int, float]] = [(-1, whole, 0.0)]
    for row in order:
        point = int(row), int(costs[row]), float(losses[row])
        if point[1] >= hull[-1][1]:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
            hull.pop()
        hull.append(point)
    return hull[1:]


def _slope(a: tuple[int, int, float], b: tuple[int, int, float]) -> float:
    return (b[2] - a[2]) / (a[1] - b[1])


def _steps(full: int, align: int) -> I64:
    """Multiples of the alignment below the full rank, and the full rank."""
    return np.append(np.arange(align, full, align), full).astype(np.int64)


def _cost(extent: Extent, form: Form, ranks: I64) -> tuple[I64, I64]:
    out, into, *kernel = extent.shape
    taps = int(np.prod(kernel))
    before, behind = int(np.prod(extent.input_sides)), int(np.prod(extent.output_sides))
    r, a = ranks[:, 0], ranks[:, 1]
    if form == "svd":
        parts = [(behind, r * into * taps), (behind, r * out)]
    elif form == "tucker":
        parts = [(before, into * r), (behind, r * a * taps), (behind, a * out)]
    else:
        # the vertical filters run at every column of the input, but only at the rows of the output
        middle = extent.output_sides[0] * extent.input_sides[1]
        parts = [(middle, r * into * kernel[0]), (behind, r * kernel[1] * out)]
    macs: I64 = sum((pixels * weights for pixels, weights in parts), np.zeros_like(r)) * extent.rows
    params: I64 = sum((weights for _, weights in parts), np.zeros_like(r))
    return macs, params
