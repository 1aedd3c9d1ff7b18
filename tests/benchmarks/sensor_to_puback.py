"""How long it takes from the capture of a frame to the broker's PUBACK of its events, on this machine.

    python -m tests.benchmarks.sensor_to_puback [CLIP ...]

A real Mosquitto on loopback, and the node as it is run, on clips that come at their own pace as from a camera (a frame
is captured when it is due); without CLIP, the demo. Tracks are told of twice a second, so that there are enough events.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from edge_runtime.shipped import shipped
from tests.mosquitto import Mosquitto

BEYOND_PERIOD_MS = 50.0
"""What the 95th percentile may take beside one frame period, with a local broker."""


def period_ms(clip: Path) -> float:
    """The time between two frames."""
    return 1000 / float(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FPS))


def measured(clip: Path) -> dict[str, Any]:
    """The node's counters after the clip."""
    with tempfile.TemporaryDirectory() as name, Mosquitto(Path(name)) as broker:
        stats = Path(name) / "stats.json"
        subprocess.run(
            [
                sys.executable, "-m", "edge_runtime.cli", "--camera", str(clip), "--once", "--realtime",
                "--broker", broker.url, "--need-broker", "--set", "events.update_s=0.5",
                "--state", f"{name}/state", "--stats", str(stats),
            ],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        counters: dict[str, Any] = json.loads(stats.read_text())
        return counters


def main() -> None:
    """Print a line for each clip."""
    for clip in [Path(argument) for argument in sys.argv[1:]] or [shipped("demo.mp4")]:
        counters, period = measured(clip), period_ms(clip)
        times = counters["puback_ms"]
        if times is None:
            sys.exit(f"{clip.name}: no event was acknowledged while the clip ran; take one with people or cars in it")
        allowed = period + BEYOND_PERIOD_MS
        verdict = "within" if times["p95"] <= allowed else "beyond"
        frame = counters["stages"]["frame"]
        print(
            f"{clip.name}: frame period {period:.1f} ms; sensor to PUBACK p50 {times['p50']:.1f} ms, "
            f"p95 {times['p95']:.1f} ms of {times['count']} events ({verdict} {allowed:.1f} ms); "
            f"of that a frame's processing {frame['p50_ms']:.1f} ms, {frame['p95_ms']:.1f} ms; "
            f"{counters['frames_dropped']} of {counters['frames_seen']} frames dropped"
        )


if __name__ == "__main__":
    main()
