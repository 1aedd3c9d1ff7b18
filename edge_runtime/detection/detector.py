"""The crop detector: runs on each crop and tells what is where in the frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import DetectionConfig
from edge_runtime.datatypes import CropPlan, Detections, Picture, group_of
from edge_runtime.decoding import Found, decode
from edge_runtime.engine import Engine, padded_wh
from edge_runtime.geometry import Boxes, area, clip, iou, share_inside
from edge_runtime.imaging.colour import to_bgr
from edge_runtime.imaging.crop_resize import crop_batch

EDGE_PX = 3.0
"""A box that ends this close to its crop's border was probably cut off there, in crop pixels."""
CUT_TRUST = 0.5
"""Which of two boxes of one object stays is decided by score, and by this share of it for one that was cut off."""
PART_SHARE = 0.7
"""A cut-off box of which this share lies inside another of its group is a part of the same object."""
HEAD_TRUST = 0.5
"""A face, and a person who holds it, count against a person's box from this share of its score on."""
HEAD_IOU = 0.5
"""A person's box that overlaps a face's by more than this is a head, and nobody where a person's box holds it."""


class CropDetector:
    """One verb: call it with a picture and a plan, and get detections in full-frame pixels.

    Args:
        engine: the network.
        config: thresholds.
        budget: crops a frame at the most; room for that many is allocated once.
    """

    def __init__(self, engine: Engine, config: DetectionConfig, budget: int) -> None:
        self._engine, self._config = engine, config
        self.crop_px = engine.facts.size_wh[0]
        self.classes = engine.facts.classes
        self._batch = np.zeros((budget, 3, self.crop_px, self.crop_px), np.float32)
        # Compiled (or read from disk) now: the first object would otherwise be told of seconds late.
        black = np.zeros((self.crop_px, self.crop_px, 3), np.uint8)
        crop_batch(black, np.array([[0, 0, self.crop_px, self.crop_px]], np.int32), self._batch)
        groups = [group_of(name) for name in engine.facts.classes]
        self._kinds = [groups.index(g) for g in groups]
        self._groups = np.array(self._kinds, np.int32)

    def __call__(self, picture: Picture, plan: CropPlan, size_wh: tuple[int, int]) -> Detections:
        """What is in the windows of the plan, best first; doubles from overlapping windows are one.

        Args:
            picture: the frame's main picture.
            plan: windows in its pixels.
            size_wh: its size.

        Raises:
            InferenceError: the network failed.
        """
        facts = self._engine.facts
        if not len(plan):
            return Detections.none(facts.classes)
        windows = plan.windows.astype(np.int32)
        crops = crop_batch(picture, windows, self._batch)
        # One after the other: what one crop's layers give fits the processor's cache, what a batch's give does not.
        found = [
            self._in_frame([m[0] for m in self._engine.run(crops[i : i + 1])], window, size_wh)
            for i, window in enumerate(windows)
        ]
        return self._joined(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def whole(self, picture: Picture, size_wh: tuple[int, int]) -> Detections:
        """The same network over the whole frame at native pixels: what cropping saves, for comparison."""
        bgr = to_bgr(picture)
        w, h = padded_wh(size_wh, self._engine.facts.size_multiple)
        blob = np.zeros((1, 3, h, w), np.float32)
        np.copyto(blob[0, :, : bgr.shape[0], : bgr.shape[1]], bgr.transpose(2, 0, 1))
        boxes, scores, labels = self._decoded([m[0] for m in self._engine.run(blob)])
        return self._joined(clip(boxes, size_wh), scores, labels, np.zeros(len(boxes), np.bool_))

    def _decoded(self, maps: Sequence[NDArray[np.float32]]) -> Found:
        """Boxes of one picture or crop, in its pixels."""
        facts, c = self._engine.facts, self._config
        return decode(facts.decoding, maps, facts.strides, c.score_min, c.iou_max, self._kinds)

    def _in_frame(
        self,
        maps: Sequence[NDArray[np.float32]],
        window: NDArray[np.int32],
        size_wh: tuple[int, int],
    ) -> tuple[Boxes, NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
        """Boxes of one crop in frame pixels, and which of them the crop's border cut off."""
        boxes, scores, labels = self._decoded(maps)
        # A window's border at the frame's border cuts nothing off: there is nothing beyond.
        low, high = window[:2] > 0, window[2:] < np.array(size_wh)
        cut_off = [(boxes[:, :2] < EDGE_PX) & low, (boxes[:, 2:] > self.crop_px - EDGE_PX) & high]
        cut: NDArray[np.bool_] = np.asarray(np.concatenate(cut_off, 1).any(1))
        scale = float(window[2] - window[0]) / self.crop_px
        in_window = np.clip(boxes, 0, self.crop_px) * scale
        in_frame = clip((in_window + np.tile(window[:2], 2)).astype(np.float32), size_wh)
        return in_frame, scores, labels, cut

    def _joined(
        self, boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int32], cut: NDArray[np.bool_]
    ) -> Detections:
        """One detection per object: the surest, but a box that was cut off only where no other is half as sure."""
        order = np.argsort(-scores * np.where(cut, CUT_TRUST, 1.0), kind="stable")
        boxes, scores, labels, cut = boxes[order], scores[order], labels[order], cut[order]
        same = self._groups[labels][:, None] == self._groups[labels][None, :]
        double = same & (iou(boxes, boxes) > self._config.iou_max)
        part = same & cut[None, :] & (share_inside(boxes, boxes).T > PART_SHARE)
        gone = np.zeros(len(boxes), np.bool_)
        for i in range(len(boxes)):
            if not gone[i]:
                after = np.arange(len(boxes)) > i
                gone |= after & (double[i] | part[i])
        kept = np.flatnonzero(~gone)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        found = Detections(boxes[kept], scores[kept], labels[kept], self._engine.facts.classes)
        return found.select(~bare_heads(found))


def bare_heads(detections: Detections) -> NDArray[np.bool_]:
    """Which detections [n] are the head of a person who was found as well, taken for a second person."""
    names = np.array(detections.names)[detections.labels]
    persons, faces = np.flatnonzero(names == "person"), np.flatnonzero(names == "face")
    found: NDArray[np.bool_] = np.zeros(len(detections), np.bool_)
    if len(persons) > 1 and len(faces):
        boxes, sizes = detections.boxes[persons], area(detections.boxes[persons])
        # Only what is about as sure counts: every box has faint doubles of other classes and sizes.
        needed = detections.scores[persons, None] * HEAD_TRUST
        head = (iou(boxes, detections.boxes[faces]) > HEAD_IOU) & (detections.scores[None, faces] >= needed)
        held = (share_inside(boxes, boxes) > PART_SHARE) & (sizes[:, None] < sizes[None, :])
        held &= detections.scores[None, persons] >= needed
        found[persons[head.any(1) & held.any(1)]] = True
    return found
