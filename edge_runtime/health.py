"""What the node counts about itself: frames, crops, events, and how long each stage took."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.errors import StorageError
from edge_runtime.publishing.puback_times import PubackTimes

STAGES = (
    "attention", "cropping", "detection", "tracking", "events", "identity", "plates", "tamper", "slots", "outbox",
    "showing", "frame",
)  # fmt: skip
"""In the order of the flow; `frame` is the whole way of a frame, `showing` the picture drawn for people."""

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")

BUCKETS_MS: tuple[float, ...] = tuple(round(0.05 * 2 ** (i / 2), 4) for i in range(32))
"""Upper bounds of the histogram's buckets: 0.05 ms to 2.3 s, two to an octave."""


class Histogram:
    """Durations of one stage in buckets of constant ratio: bounded memory, percentiles to within 41 %."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)
        self.total_ms = self.max_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one duration."""
        self.counts[bisect.bisect_left(BUCKETS_MS, ms)] += 1
        self.total_ms += ms
        self.max_ms = max(self.max_ms, ms)

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def percentile_ms(self, share: float) -> float:
        """The duration below which `share` of all lie, interpolated within its bucket; 0 when empty."""
        wanted, seen = share * self.count, 0
        for i, n in enumerate(self.counts):
            if n and seen + n >= wanted:
                low = BUCKETS_MS[i - 1] if i else 0.0
                high = min(BUCKETS_MS[i] if i < len(BUCKETS_MS) else self.max_ms, self.max_ms)
                return low + max(high - low, 0.0) * (wanted - seen) / n
            seen += n
        return 0.0

    def as_dict(self) -> dict[str, Any]:
        """Count, mean, percentiles, and the buckets that are not empty, keyed by upper bound in ms."""
        bounds = [*map(str, BUCKETS_MS), "inf"]
        return {
            "count": self.count,
            "mean_ms": round(self.total_ms / max(self.count, 1), 3),
            "p50_ms": round(self.percentile_ms(0.5), 3),
            "p95_ms": round(self.percentile_ms(0.95), 3),
            "max_ms": round(self.max_ms, 3),
            "histogram_ms": {b: n for b, n in zip(bounds, self.counts, strict=True) if n},
        }


class Health:
    """All counters of one camera's pipeline. Written by the pipeline's thread alone (but `puback`), read by anyone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.started_ns = clock.now_ns()
        self.first_frame_s: float | None = None
        self.processing_s = 0.0
        self.frames_processed = self.frames_seen = self.frames_dropped = self.frames_gated = 0
        self.reopened = 0
        self.regions = self.crops = self.crops_carried = self.budget_overflow = self.detections = 0
        self.tracks_started = self.events = 0
        self.stages = {name: Histogram() for name in STAGES}
        self.puback = PubackTimes(clock.now_ns)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the enclosed work as one pass of the stage."""
        start = self._clock.now_ns()
        yield
        self.stages[name].add((self._clock.now_ns() - start) / 1e6)

    def frame_done(self, start_ns: int) -> None:
        """Count a processed frame that was begun at `start_ns`."""
        now = self._clock.now_ns()
        if self.first_frame_s is None:
            self.first_frame_s = (now - self.started_ns) / 1e9
        self.frames_processed += 1
        self.processing_s += (now - start_ns) / 1e9
        self.stages["frame"].add((now - start_ns) / 1e6)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for `--stats`, the page and the health topic."""
        elapsed = (self._clock.now_ns() - self.started_ns) / 1e9
        frames = max(self.frames_processed, 1)
        return {
            "uptime_s": round(elapsed, 3),
            "first_frame_s": None if self.first_frame_s is None else round(self.first_frame_s, 3),
            "frames_seen": self.frames_seen,
            "frames_processed": self.frames_processed,
            "frames_dropped": self.frames_dropped,
            "frames_gated": self.frames_gated,
            "camera_reopened": self.reopened,
            "fps": round(self.frames_processed / max(elapsed - (self.first_frame_s or 0.0), 1e-3), 2),
            "fps_possible": round(self.frames_processed / max(self.processing_s, 1e-6), 1),
            "regions_per_frame": round(self.regions / frames, 3),
            "crops_per_frame": round(self.crops / frames, 3),
            "crops_carried": self.crops_carried,
            "budget_overflow": self.budget_overflow,
            "detections_per_frame": round(self.detections / frames, 3),
            "tracks_started": self.tracks_started,
            "events": self.events,
            "stages": {name: h.as_dict() for name, h in self.stages.items() if h.count},
            "puback_ms": self.puback.as_dict(),
        }

    def table(self) -> str:
        """A small table for people."""
        d = self.as_dict()
        lines = [f"{'stage':<10}{'passes':>8}{'mean ms':>10}{'p50':>9}{'p95':>9}{'max':>9}"]
        lines += [
            f"{name:<10}{s['count']:>8}{s['mean_ms']:>10.2f}{s['p50_ms']:>9.2f}{s['p95_ms']:>9.2f}{s['max_ms']:>9.2f}"
            for name, s in d["stages"].items()
        ]
        lines.append(
            f"frames {d['frames_processed']} processed, {d['frames_dropped']} dropped, "
            f"{d['frames_gated']} gated; {d['fps']} fps ({d['fps_possible']} possible); "
            f"{d['regions_per_frame']:.2f} regions and "
            f"{d['crops_per_frame']:.2f} crops a frame, "
            f"{d['crops_carried']} carried, {d['budget_overflow']} over budget"
        )
        lines.append(f"tracks {d['tracks_started']}, events {d['events']}")
        if (t := d["puback_ms"]) is not None:
            lines.append(f"sensor to PUBACK  p50 {t['p50']:.0f} ms  p95 {t['p95']:.0f} ms  of {t['count']} events")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the counters as JSON.

        Raises:
            StorageError: they cannot be written.
        """
        try:
            path.write_text(json.dumps(self.as_dict(), indent=1) + "\n")
        except OSError as error:
            raise StorageError(f"{path}: the counters cannot be written ({error.strerror}); check --stats") from None


def board_temperature_c(path: Path = THERMAL) -> float | None:
    """The board's temperature; None where the kernel does not tell one."""
    try:
        return round(int(path.read_text()) / 1000, 1)
    except (OSError, ValueError):
        return None
