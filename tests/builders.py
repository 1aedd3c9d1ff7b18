"""Small builders that several tests share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that stands still until someone sleeps."""

    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self.ns = now_ns

    def now_ns(self) -> int:
        return self.ns

    def wall(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC) + timedelta(microseconds=self.ns // 1000)

    def synced(self) -> bool:
        return True

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
