"""Where pictures, events and counters are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from edge_runtime.datatypes import BgrImage


class Viewer(Protocol):
    """Where pictures and counters are shown; the live page is one."""

    def wants_picture(self) -> bool:
        """Whether somebody looks and the next picture is due."""

    def show(self, bgr: BgrImage) -> None:
        """Show it; never blocks."""

    def hide(self, size_wh: tuple[int, int] | None = None) -> None:
        """Show black until the next `show`, also to whoever comes later; never blocks, and may be called again.

        Args:
            size_wh: of the black picture; None: as large as the last picture was, and nothing where there was none.
        """

    def tell(self, payloads: Sequence[bytes]) -> None:
        """List the events."""

    def count(self, stats: dict[str, Any]) -> None:
        """Show the counters."""
