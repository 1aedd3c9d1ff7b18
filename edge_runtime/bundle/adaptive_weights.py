"""What the mixing of the adaptive coder begins with: how much each view counts, by kind of decision and experience.

Found by letting the mixing learn over the pruned and quantised layers of LeNets trained on MNIST, again and again, and
taking the mean; tensors of other networks unlearn what does not fit them within some hundred levels.
"""

from __future__ import annotations

KINDS, VIEWS, TRUSTS = 4, 6, 6
"""Kinds of decision that are mixed apart (common, side, beyond 1, beyond more); views (all, row, column, how busy both
are, place in the kernel, neighbours); steps of a view's experience (decided 0, 1, 2, 3, 7, 20 times or more)."""
WEIGHT_UNIT = 64
WEIGHTS = (
    (
        (24, -7, -3, -1, -2, 0),
        (21, 7, 10, 10, 12, 18),
        (11, 8, 4, 7, 8, 18),
        (21, 14, 10, 8, 8, 9),
        (-3, 3, 3, 5, 3, 8),
        (27, 6, 2, 6, 11, 15),
    ),  # common?
    (
        (16, 14, 16, 9, 1, -9),
        (1, 11, 8, 7, 7, 21),
        (-16, -3, -4, -2, -4, 3),
        (-2, -1, 1, 2, 4, 10),
        (-8, 2, 14, 0, 10, 9),
        (4, 12, 18, 21, 29, 43),
    ),  # which side?
    (
        (-18, 19, 20, 39, 54, 16),
        (23, 22, 15, 13, 15, 25),
        (6, 7, 6, 5, 12, 32),
        (16, 5, 8, 4, 3, 12),
        (-15, -2, 3, 2, 0, 14),
        (-13, -3, 7, 1, 7, 19),
    ),  # beyond 1?
    (
        (-19, 31, 21, 41, 40, 43),
        (24, 14, 15, 17, 22, 27),
        (17, 8, 10, 11, 17, 24),
        (3, 1, 3, 5, 3, 7),
        (-22, -19, -11, -12, -19, -36),
        (2, 3, 4, 4, 6, 8),
    ),  # beyond more?
)
"""Of a kind, a view and its experience, in 1/64."""
