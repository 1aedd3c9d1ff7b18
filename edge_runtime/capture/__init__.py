"""Frames from cameras, streams, clips and made-up scenes."""

from edge_runtime.capture.latest import LatestFrame
from edge_runtime.capture.source import Source, demo_clip, open_source

__all__ = ["LatestFrame", "Source", "demo_clip", "open_source"]
