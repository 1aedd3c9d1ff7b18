"""The compiled model of the adaptive coder: one walk through a tensor that encodes or decodes; see `adaptive`.

Imported when first needed, since it loads the compiler. Encoder and decoder are the same code, so they cannot differ.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

from edge_runtime.bundle.adaptive_weights import KINDS, VIEWS

KINDS_APART = 8
"""Decisions for which views keep chances apart; later ones share the last."""
MAX_SEEN = 500
"""A chance moves by 1 / (seen + 1.6), so the most recent decisions count a little more than old ones."""
LEARNING = 3
"""Of the mixing weights, in 1/1024."""
BUSY, NEAR = 64, 27
"""Contexts of busy rows and columns, and of neighbours."""
MAX_PREFIX = 17
_MASK = (1 << 48) - 1
_inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_inner
def code_bit(state, stream, decoding, chance, bit):  # pragma: no cover - compiled
    """Take in or give out one decision of this chance (of 65536, of a 1); the decision, or -1 if there is no room."""
    low, high = state[0], state[1]
    span = high - low
    middle = low + (span >> 16) * chance + (((span & 0xFFFF) * chance) >> 16)
    if decoding:
        bit = 1 if state[2] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 48 == 0:
        at = state[3]
        if decoding:
            state[2] = (state[2] & _MASK) << 8
            if at < stream.size:
                state[2] |= stream[at]
        elif at < stream.size:
            stream[at] = high >> 48
        else:
            return -1
        state[3] = at + 1
        low, high = (low & _MASK) << 8, (high & _MASK) << 8 | 255
    state[0], state[1] = low, high
    return bit


@_inner
def learn(chances, seen, slot, bit):  # pragma: no cover - compiled
    """Move a chance towards what was decided, the less the more it has seen."""
    target = 65535 if bit else 0
    chances[slot] += ((target - chances[slot]) * (655360 // (10 * seen[slot] + 16))) >> 16
    if seen[slot] < MAX_SEEN:
        seen[slot] += 1


@_inner
def trust(seen):  # pragma: no cover - compiled
    """How much a view has seen, in six steps."""
    if seen < 3:
        return seen
    return 3 if seen < 7 else (4 if seen < 20 else 5)


@_inner
def decide(state, stream, decoding, bit, slots, kind, chances, seen, weights, squashed, stretched, views):
    """One mixed decision; -1 if there is no room. `views` is room for what they say."""  # pragma: no cover - compiled
    mixed = 0
    for view in range(VIEWS):
        slot = slots[view]
        if seen[slot] == 0 and view:
            chances[slot] = chances[slots[0]]
        views[view] = stretched[chances[slot] >> 4]
        mixed += weights[kind, view, trust(seen[slot])] * views[view]
    chance = squashed[min(max(mixed >> 16, -2047), 2047) + 2048]
    bit = code_bit(state, stream, decoding, chance, bit)
    error = (65536 if bit else 0) - chance
    for view in range(VIEWS):
        slot = slots[view]
        weights[kind, view, trust(seen[slot])] += (views[view] * error * LEARNING + (1 << 17)) >> 18
        learn(chances, seen, slot, bit)
    return bit


@_inner
def beyond(state, stream, decoding, excess, chances, seen, first):  # pragma: no cover - compiled
    """A number of 0 and more in Exp-Golomb code whose length is learned; -1 if there is no room or it is too large."""
    length = 0
    while True:
        chance = min(max(chances[first + length], 32), 65504)
        more = code_bit(state, stream, decoding, chance, int((excess + 1) >> (length + 1) > 0))
        if more < 0:
            return -1
        learn(chances, seen, first + length, more)
        if not more:
            break
        length += 1
        if length == MAX_PREFIX:
            return -1
    number = 1
    for place in range(length - 1, -1, -1):
        bit = code_bit(state, stream, decoding, 32768, ((excess + 1) >> place) & 1)
        if bit < 0:
            return -1
        number = number << 1 | bit
    return number - 1


@_inner
def busyness(total, count, all_total, all_count):  # pragma: no cover - compiled
    """How large levels are here compared to everywhere, in eight steps: below 5/16 of it to above 38/16."""
    ratio = 16 * (total * all_count + 2 * all_total) // ((count + 2) * all_total)
    step = 0
    for bound in (5, 8, 11, 15, 19, 26, 38):
        if ratio >= bound:
            step += 1
    return step


@_inner
def side(level):  # pragma: no cover - compiled
    """0, 1 or 2 for below, at or above the common level."""
    return 1 + (level > 0) - (level < 0)


@njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def walk(
    levels, rows, columns, places, width, common, first_chances, weights, squashed, stretched, stream, state, decoding
):  # pragma: no cover - compiled
    """Encode `levels` into `stream`, or decode them from it; whether it went well.

    Args:
        levels: int64 [rows * columns * places]; taken or filled.
        rows: with columns, places and width as `adaptive.Order.walked_shape` gives them.
        columns: of the tensor.
        places: of a kernel.
        width: of a kernel.
        common: with the next four as `adaptive.Header.model` gives them.
        first_chances: int64 [decisions].
        weights: int64 [kinds, views, trusts]; changed.
        squashed: int64 [4096].
        stretched: int64 [4096].
        stream: uint8, the bytes.
        state: int64 [4]: low, high, window (decoding), next byte.
        decoding: which of the two.
    """
    decisions = first_chances.size
    sizes = (1, rows, columns if rows > 1 else 1, BUSY, places if rows * columns > 1 else 1, NEAR)
    bases = np.empty(VIEWS + 1, np.int64)
    bases[0] = 0
    for view in range(VIEWS):
        bases[view + 1] = bases[view] + sizes[view] * (decisions if view == 0 or view == VIEWS - 1 else KINDS_APART)
    chances = np.full(bases[VIEWS] + MAX_PREFIX, 32768, np.int32)
    seen = np.zeros(chances.size, np.int32)
    chances[:decisions] = first_chances
    contexts, slots, views = np.zeros(VIEWS, np.int64), np.zeros(VIEWS, np.int64), np.zeros(VIEWS, np.int64)
    column_totals = np.zeros(columns, np.int64)
    all_total, row_length, index = 1, columns * places, 0
    for row in range(rows):
        row_total = 0
        for column in range(columns):
            for place in range(places):
                at = column * places + place
                left = levels[index - 1] - common if at else 0
                above = levels[index - row_length] - common if row else 0
                if places > 1:
                    upper = levels[index - width] - common if place >= width else 0
                elif rows > 1:
                    upper = levels[index - 2 * row_length] - common if row > 1 else 0
                else:
                    upper = levels[index - 2] - common if at > 1 else 0
                busy_row = busyness(row_total, at, all_total, index + 1)
                busy_column = busyness(column_totals[column], row * places + place, all_total, index + 1)
                near_sizes = min(abs(left), 2) * 9 + min(abs(upper), 2) * 3 + min(abs(above), 2)
                contexts[1], contexts[2] = row, column if rows > 1 else 0
                contexts[3], contexts[4] = busy_row * 8 + busy_column, place if rows * columns > 1 else 0
                level = 0 if decoding else levels[index] - common
                size, positive = abs(level), level > 0
                reached = 0
                for decision in range(decisions):
                    contexts[5] = side(left) * 9 + side(upper) * 3 + side(above) if decision == 1 else near_sizes
                    for view in range(VIEWS):
                        shared = decision if view == 0 or view == VIEWS - 1 else min(decision, KINDS_APART - 1)
                        slots[view] = bases[view] + shared * sizes[view] + contexts[view]
                    bit = int(size == 0 if decision == 0 else (positive if decision == 1 else size > decision - 1))
                    bit = decide(
                        state, stream, decoding, bit, slots, min(decision, KINDS - 1), chances, seen, weights, squashed,
                        stretched, views,
                    )  # fmt: skip
                    if bit < 0:
                        return False
                    if decision == 0:
                        if bit:
                            break
                        reached = 1
                    elif decision == 1:
                        positive = bit == 1
                    elif bit:
                        reached = decision
                    else:
                        break
                if reached == decisions - 1:
                    more = beyond(state, stream, decoding, size - reached, chances, seen, bases[VIEWS])
                    if more < 0:
                        return False
                    reached += more
                level = reached if positive else -reached
                if decoding:
                    if not -32768 <= level + common <= 32767:
                        return False
                    levels[index] = level + common
                row_total += reached
                column_totals[column] += reached
                all_total += reached
                index += 1
    return True
