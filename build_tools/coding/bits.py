"""Headers and tables, written bit by bit as `edge_runtime.bundle.bits` reads them."""

from __future__ import annotations


class BitWriter:
    """Bits one after the other, highest bit of a byte first."""

    def __init__(self) -> None:
        self._value, self.length = 0, 0

    def put(self, value: int, count: int) -> None:
        """`count` bits of `value`."""
        self._value = self._value << count | value
        self.length += count

    def number(self, value: int, order: int = 0) -> None:
        """A number of 0 or more in Exp-Golomb code of this order (Teuhola 1978)."""
        above = (value >> order) + 1
        self.put(above, 2 * above.bit_length() - 1)
        self.put(value & ((1 << order) - 1), order)

    def signed(self, value: int, order: int = 0) -> None:
        """A number of either sign: 0, 1, 2, 3, ... stand for 0, -1, 1, -2, ..."""
        self.number(2 * value if value >= 0 else -2 * value - 1, order)

    def to_bytes(self) -> bytes:
        """All bits, zeros added up to a whole byte."""
        padding = -self.length % 8
        return (self._value << padding).to_bytes((self.length + padding) // 8, "big")
