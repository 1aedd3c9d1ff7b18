"""Average precision and recall of boxes, by size, by class and by source.

Definitions (the same as those the peers were measured by): a detection hits the truth it overlaps most if their IoU
is at least the threshold and the truth is still free; it is left out, neither hit nor false alarm, when it overlaps
an ignored truth by IoU 0.5 or lies half inside a crowd region. AP is the area under the precision envelope over all
points. `ap8` counts truths whose shorter side is at least 8 px at the network's input scale and ignores the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.geometry import iou, share_inside

F32 = NDArray[np.float32]
SIZES_PX = (8, 16, 32)
COCO_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One picture and one class: what was found and what is there.

    Attributes:
        found: float32 [n, 4] xyxy in picture pixels, best first; scores float32 [n].
        truth: float32 [m, 4]; crowd bool [m]: places to ignore; side_px float32 [m]: shorter side at input scale.
        source: the data set the picture came from.
        inside_crop: bool [m], whether a crop holds at least 95 % of the truth; None where nothing was cropped.
    """

    found: F32
    scores: F32
    truth: F32
    crowd: NDArray[np.bool_]
    side_px: F32
    source: str
    inside_crop: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """How the boxes found lie on the truths: both float32 [n, m]; computed once for all sizes and thresholds."""

    iou: F32
    inside: F32

    @classmethod
    def of(cls, item: Scored) -> Overlaps:
        """Of one picture and class."""
        return cls(iou(item.found, item.truth), share_inside(item.found, item.truth))


def match(
    item: Scored, ignore: NDArray[np.bool_], iou_min: float, overlaps: Overlaps | None = None
) -> NDArray[np.int8]:
    """1 hit, 0 false alarm, -1 left out, for each box found, in order of score; each truth is hit once."""
    outcome = np.zeros(len(item.found), np.int8)
    if not len(item.found) or not len(item.truth):
        return outcome
    on = overlaps or Overlaps.of(item)
    near_ignored = np.concatenate([on.iou[:, ignore] >= 0.5, on.inside[:, item.crowd] >= 0.5], 1)
    outcome[near_ignored.any(1)] = -1
    free = ~ignore
    # Most boxes overlap no truth enough: only the others compete for truths.
    for i in np.flatnonzero((on.iou >= iou_min).any(1)):
        candidates = np.where(free, on.iou[i], 0.0)
        j = int(candidates.argmax())
        if candidates[j] >= iou_min:
            outcome[i], free[j] = 1, False
    return outcome


def average_precision(scores: F32, outcome: NDArray[np.int8], truths: int) -> tuple[float, float, float]:
    """(AP over all points, recall over all boxes, recall where precision is still 0.9); zeros without truths."""
    keep = outcome >= 0
    hit = outcome[keep][np.argsort(-scores[keep], kind="stable")] == 1
    if not truths or not hit.size:
        return 0.0, 0.0, 0.0
    found = np.cumsum(hit)
    recall, precision = found / truths, found / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ap = float((np.diff(recall, prepend=0.0) * envelope).sum())
    return ap, float(recall[-1]), float(recall[precision >= 0.9].max(initial=0.0))


def figures(items: Sequence[Scored]) -> dict[str, float]:
    """All figures of one class over many pictures; those without any truth are left out."""
    scores = np.concatenate([i.scores for i in items]) if items else np.zeros(0, np.float32)

    overlaps = [Overlaps.of(i) for i in items]

    def at(px: float, iou_min: float) -> tuple[tuple[float, float, float], int]:
        ignores = [i.crowd | (i.side_px < px) for i in items]
        outcome = [match(i, g, iou_min, on) for i, g, on in zip(items, ignores, overlaps, strict=True)]
        truths = sum(int((~ignore).sum()) for ignore in ignores)
        joined = np.concatenate(outcome) if outcome else np.zeros(0, np.int8)
        return average_precision(scores, joined, truths), truths

    (ap50, recall, recall_p90), truths = at(0, 0.5)
    row: dict[str, float] = {"truths": truths}
    if not truths:
        return row
    row |= {"ap50": ap50, "recall": recall, "recall_p90": recall_p90}
    row["ap50_95"] = float(np.mean([ap50, *(at(0, t)[0][0] for t in COCO_IOUS[1:])]))
    for px in SIZES_PX:
        (ap, recall, recall_p90), n = at(px, 0.5)
        row[f"truths{px}"] = n
        if n:
            row |= {f"ap{px}": ap, f"r{px}": recall, f"r{px}_p90": recall_p90}
            if px < 32 and all(i.inside_crop is not None for i in items):
                held = [i.inside_crop & ~i.crowd & (i.side_px >= px) for i in items if i.inside_crop is not None]
                inside = sum(int(np.count_nonzero(h)) for h in held)
                row[f"crop_recall{px}"] = inside / n
    return row


def mean_figures(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means over classes of every figure that a class has; counts of truths are summed."""
    rows = [r for r in rows if r["truths"]]
    keys = sorted({k for r in rows for k in r})
    return {
        k: sum(r.get(k, 0) for r in rows) if k.startswith("truths") else float(np.mean([r[k] for r in rows if k in r]))
        for k in keys
    }


def report(per_class: dict[str, list[Scored]]) -> dict[str, object]:
    """The overall means, `per_class` and `by_source` figures."""

    def rows(keep: Callable[[Scored], bool]) -> dict[str, dict[str, float]]:
        return {name: figures([i for i in items if keep(i)]) for name, items in per_class.items()}

    whole = rows(lambda _: True)
    sources = sorted({i.source for items in per_class.values() for i in items})
    by_source: dict[str, object] = {}
    for source in sources:
        mine = rows(lambda i, s=source: i.source == s)  # type: ignore[misc]
        by_source[source] = {**mean_figures(mine.values()), "per_class": mine}
    return {**mean_figures(whole.values()), "per_class": whole, "by_source": by_source}
