"""The adaptive decoder in plain Python: what the compiled one must equal, and sooner done for a few levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.adaptive_weights import KINDS, VIEWS
from edge_runtime.errors import IntegrityError

I64 = NDArray[np.int64]
_WINDOW = (1 << 56) - 1


class View:
    """A chance that learns from what was decided where it was asked."""

    __slots__ = ("chance", "seen")

    def __init__(self, chance: int) -> None:
        self.chance, self.seen = chance, 0

    @property
    def trust(self) -> int:
        """Its experience in six steps."""
        return sum(self.seen >= bound for bound in (1, 2, 3, 7, 20))

    def learn(self, bit: int) -> None:
        """Move towards what was decided, by one part in as many as it has seen."""
        rate = 65536 * 10 // (10 * self.seen + 16)
        self.chance += ((65535 * bit - self.chance) * rate) >> 16
        self.seen = min(self.seen + 1, 500)


class Decoder:
    """Decisions from bytes, and the model that says how likely they are.

    Args:
        payload: bytes; zeros follow on.
        state: low, high, window, next byte, as `adaptive.begin` gives them; is kept up to date.
        model: common level, first chances, weights, squash and stretch tables, as `adaptive.Header.model` gives them.
    """

    def __init__(self, payload: memoryview, state: I64, model: tuple[int, I64, I64, I64, I64]) -> None:
        self._payload, self._state = payload, state
        self._common, self._first, weights, self._squashed, self._stretched = model
        self._weights: list[list[list[int]]] = weights.tolist()
        self._views: dict[tuple[int, ...], View] = {}

    def levels(self, rows: int, columns: int, places: int, width: int) -> I64:
        """All levels of a tensor, in the order they are walked through."""
        away = np.zeros((rows, columns, places), np.int64)
        total = 1
        for index, (row, column, place) in enumerate(np.ndindex(rows, columns, places)):
            flat, line = away.reshape(-1), away[row].reshape(-1)
            at = column * places + place
            left = int(line[at - 1]) if at else 0
            above = int(away[row - 1, column, place]) if row else 0
            if places > 1:
                upper = int(away[row, column, place - width]) if place >= width else 0
            elif rows > 1:
                upper = int(away[row - 2, column, place]) if row > 1 else 0
            else:
                upper = int(flat[index - 2]) if at > 1 else 0
            so_far = np.abs(line[:at]).sum(), np.abs(away[:row, column]).sum() + np.abs(away[row, column, :place]).sum()
            seen = at, row * places + place
            busy_row, busy_column = (_busyness(int(s), n, total, index + 1) for s, n in zip(so_far, seen, strict=True))
            busy = busy_row * 8 + busy_column
            level = self._level(
                row, column if rows > 1 else 0, busy, place if rows * columns > 1 else 0, (left, upper, above)
            )
            away[row, column, place] = level
            total += abs(level)
        return away.reshape(-1) + self._common

    def _level(self, row: int, column: int, busy: int, place: int, near: tuple[int, int, int]) -> int:
        """How far the next level is from the common one."""
        sizes, sides = (tuple(min(abs(n), 2) for n in near), tuple((n > 0) - (n < 0) for n in near))

        def decide(decision: int) -> int:
            shared = min(decision, 7)
            keys = (
                (0, decision), (1, shared, row), (2, shared, column), (3, shared, busy), (4, shared, place),
                (5, decision, *(sides if decision == 1 else sizes)),
            )  # fmt: skip
            return self._mixed(keys, min(decision, KINDS - 1))

        if decide(0):
            return 0
        sign = 1 if decide(1) else -1
        size, last = 1, len(self._first) - 1
        while size < last and decide(size + 1):
            size += 1
        if size == last:
            size += self._beyond()
        if not -32768 <= sign * size + self._common <= 32767:
            raise IntegrityError("leads to levels out of range")
        return sign * size

    def _mixed(self, keys: tuple[tuple[int, ...], ...], kind: int) -> int:
        first = self._view(keys[0], int(self._first[keys[0][1]]))
        views = [first, *(self._view(key, first.chance) for key in keys[1:])]
        stretched = [int(self._stretched[view.chance >> 4]) for view in views]
        trusts = [view.trust for view in views]
        weights = self._weights[kind]
        mixed = sum(weights[v][trusts[v]] * stretched[v] for v in range(VIEWS)) >> 16
        chance = int(self._squashed[min(max(mixed, -2047), 2047) + 2048])
        bit = self._bit(chance)
        error = 65536 * bit - chance
        for v, view in enumerate(views):
            weights[v][trusts[v]] += (stretched[v] * error * 3 + (1 << 17)) >> 18
            view.learn(bit)
        return bit

    def _view(self, key: tuple[int, ...], chance: int) -> View:
        return self._views.setdefault(key, View(chance))

    def _beyond(self) -> int:
        """A number of 0 and more in Exp-Golomb code whose length is learned."""
        length = 0
        while True:
            view = self._view((VIEWS, length), 32768)
            more = self._bit(min(max(view.chance, 32), 65504))
            view.learn(more)
            if not more:
                break
            length += 1
            if length == 17:
                raise IntegrityError("leads to levels out of range")
        number = 1
        for _ in range(length):
            number = 2 * number + self._bit(32768)
        return number - 1

    def _bit(self, chance: int) -> int:
        low, high, window, at = map(int, self._state)
        middle = low + ((high - low) * chance >> 16)
        bit = int(window <= middle)
        low, high = (low, middle) if bit else (middle + 1, high)
        while low >> 48 == high >> 48:
            taken = self._payload[at] if at < len(self._payload) else 0
            low, high, window = low << 8 & _WINDOW, (high << 8 & _WINDOW) | 255, (window << 8 & _WINDOW) | taken
            at += 1
        self._state[:] = low, high, window, at
        return bit


def _busyness(total: int, count: int, all_total: int, all_count: int) -> int:
    ratio = 16 * (total * all_count + 2 * all_total) // ((count + 2) * all_total)
    return sum(ratio >= bound for bound in (5, 8, 11, 15, 19, 26, 38))
