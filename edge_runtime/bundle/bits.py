"""Headers and tables, read bit by bit, highest bit of a byte first; reading beyond the end is refused."""

from __future__ import annotations

from edge_runtime.errors import FormatError

MAX_PREFIX = 20
"""Longest run of zeros before an Exp-Golomb number; no header holds a number that needs more."""


class Bits:
    """A place in a payload, in bits.

    Args:
        payload: bytes.
        at: bit to begin at.
    """

    def __init__(self, payload: memoryview, at: int = 0) -> None:
        self._payload, self.at = payload, at

    def take(self, count: int) -> int:
        """The next `count` bits, at most 32, as a number.

        Raises:
            FormatError: there are not so many.
        """
        end = self.at + count
        if end > 8 * len(self._payload):
            raise FormatError("ends within its header")
        last = (end + 7) // 8
        window = int.from_bytes(self._payload[self.at // 8 : last], "big")
        self.at = end
        return window >> (8 * last - end) & ((1 << count) - 1)

    def number(self, order: int = 0) -> int:
        """A number of 0 or more in Exp-Golomb code of this order: small numbers in few bits.

        Raises:
            FormatError: a number beyond every header's, or beyond the end.
        """
        prefix = 0
        while not self.take(1):
            prefix += 1
            if prefix > MAX_PREFIX:
                raise FormatError("has a header with a number out of range")
        return (((1 << prefix) + self.take(prefix) - 1) << order) + self.take(order)

    def signed(self, order: int = 0) -> int:
        """A number of either sign: 0, -1, 1, -2, ... stand for 0, 1, 2, 3, ..."""
        folded = self.number(order)
        return -((folded + 1) >> 1) if folded & 1 else folded >> 1

    def next_byte(self) -> int:
        """Go to the next whole byte; its index.

        Raises:
            FormatError: ones where there must be padding.
        """
        if self.take(-self.at % 8):
            raise FormatError("has ones in its padding")
        return self.at // 8
