"""Which channels must stay or go together: a union-find over labels, one label a channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Labels:
    """Disjoint sets of labels; a set may be fixed, with a reason, and is then never cut."""

    def __init__(self) -> None:
        self._parent = np.zeros(0, np.int64)
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int, fixed: str = "") -> Ids:
        """New labels [count], each a set of its own; fixed at once where a reason is given."""
        ids = np.arange(len(self._parent), len(self._parent) + count)
        self._parent = np.concatenate([self._parent, ids])
        if fixed:
            self._reasons |= dict.fromkeys(ids.tolist(), fixed)
        return ids

    def roots(self, ids: Ids) -> Ids:
        """The representative of each label's set, same shape."""
        above = self._parent[ids]
        while True:
            higher = self._parent[above]
            if np.array_equal(higher, above):
                return above
            above = higher

    def join(self, left: Ids, right: Ids) -> None:
        """Put labels that meet into one set; the arrays are broadcast against each other."""
        one, other = np.broadcast_arrays(self.roots(left), self.roots(right))
        differ = one != other
        pairs = np.unique(np.stack([one[differ], other[differ]], 1), axis=0)
        for a, b in pairs.tolist():
            self._link(a, b)

    def fix(self, ids: Ids, reason: str, final: bool = False) -> None:
        """Forbid to cut these sets; the first reason is kept, unless the new one is `final`."""
        for root in np.unique(self.roots(ids)).tolist():
            if final or root not in self._reasons:
                self._reasons[root] = reason

    def reason(self, root: int) -> str:
        """Why a set is fixed; empty where it is not."""
        return self._reasons.get(root, "")

    def _link(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        if a == b:
            return
        low, high = min(a, b), max(a, b)
        self._parent[high] = low
        reason = self._reasons.get(low) or self._reasons.get(high)
        if reason:
            self._reasons[low] = reason

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = int(self._parent[label])
        return label


def varying(ids: Ids) -> list[int]:
    """Axes along which labels differ."""
    return [a for a, size in enumerate(ids.shape) if size > 1 and bool((ids != ids.take([0], a)).any())]


def squeeze_constant(ids: Ids) -> Ids:
    """The same labels with a side of 1 along every axis on which they do not differ."""
    moving = varying(ids)
    return ids[tuple(slice(None) if a in moving else slice(0, 1) for a in range(ids.ndim))]


def reshape_labels(ids: Ids, old: tuple[int, ...], new: tuple[int, ...]) -> Ids:
    """Labels of a tensor after a Reshape.

    Args:
        ids: squeezed labels of the tensor of shape `old` (sides of 1 where constant).
        old: the tensor's shape.
        new: its shape afterwards.
    """
    moving = varying(ids)
    if not moving:
        return ids.reshape(-1)[:1].reshape((1,) * len(new))
    # Only what stands before the last axis that matters is expanded: pixels behind the channels cost nothing.
    for head in range(moving[-1] + 1, len(old) + 1):
        size = int(np.prod(old[:head]))
        for cut in range(1, len(new) + 1):
            if int(np.prod(new[:cut])) == size:
                before = ids.reshape(ids.shape[:head])
                full = np.broadcast_to(before, old[:head]).reshape(new[:cut])
                return squeeze_constant(full.reshape(new[:cut] + (1,) * (len(new) - cut)))
    raise ValueError(f"a tensor of shape {old} has not as many elements as one of shape {new}")
