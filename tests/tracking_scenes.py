"""Made-up scenes for the tracker: objects that cross, hide, flicker and leave, and a count of what was followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edge_runtime.datatypes import Detections
from edge_runtime.geometry import iou, share_inside
from tests.builders import NAMES

FRAME_WH = (640, 480)
Box = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One frame of a scene: its time, the true boxes [k, 4] with their objects' numbers [k], what was detected."""

    at_ns: int
    truth: Box
    who: NDArray[np.intp]
    found: Detections


def scene(
    rng: np.random.Generator,
    times_s: Sequence[float],
    *,
    objects: int = 6,
    sides: tuple[float, float] = (25, 90),
    speed: float = 1.5,
    jitter: float = 0.05,
    miss: float = 0.1,
    weak: float = 0.2,
    clutter: float = 0.1,
    label: str = "person",
) -> list[Shot]:
    """Objects on straight ways through the frame, nearer ones hiding those behind.

    Args:
        rng: makes the scene and its faults.
        times_s: when the frames are.
        objects: how many.
        sides: least and largest width; heights are one to two widths.
        speed: in widths a second, the mean of what each object moves.
        jitter: standard deviation of detected edges, in widths.
        miss: share of visible objects that are not detected in a frame.
        weak: share that is detected with a score below 0.4.
        clutter: false detections a frame, alone and weak to middling.
        label: of all objects.
    """
    length_s = times_s[-1] - times_s[0] + 1e-9
    width = rng.uniform(*sides, objects)
    size = np.stack([width, width * rng.uniform(1, 2, objects)], 1)
    angle = rng.uniform(0, 2 * np.pi, objects)
    way = np.stack([np.cos(angle), 0.4 * np.sin(angle)], 1) * (speed * width * rng.uniform(0.5, 1.5, objects))[:, None]
    middle_s = times_s[0] + rng.uniform(0.2, 0.8, objects) * length_s
    middle = rng.uniform(0.25, 0.75, (objects, 2)) * FRAME_WH
    shots = []
    for at in times_s:
        centre = middle + way * (at - middle_s)[:, None]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], 1).astype(np.float32)
        inside = np.flatnonzero(((centre > 0) & (centre < np.array(FRAME_WH))).all(1))
        truth = boxes[inside]
        # Higher numbers are nearer; who is mostly behind a nearer one is not seen.
        hidden = (share_inside(truth, truth) * np.triu(np.ones((len(inside),) * 2), 1) > 0.6).any(1)
        kept = ~hidden & (rng.random(len(inside)) >= miss)
        noisy = truth[kept] + rng.normal(0, 1, (int(kept.sum()), 4)) * jitter * width[inside][kept][:, None]
        scores = np.where(rng.random(len(noisy)) < weak, rng.uniform(0.16, 0.39, len(noisy)), rng.uniform(0.45, 0.95, len(noisy)))
        false = rng.poisson(clutter)
        corner = rng.uniform(0, 0.9, (false, 2)) * FRAME_WH
        noisy = np.concatenate([noisy, np.concatenate([corner, corner + rng.uniform(*sides, (false, 2))], 1)])
        scores = np.concatenate([scores, rng.uniform(0.16, 0.6, false)])
        labels = np.full(len(noisy), NAMES.index(label), np.int32)
        found = Detections(noisy.astype(np.float32), scores.astype(np.float32), labels, NAMES)
        shots.append(Shot(round(at * 1e9), truth, inside, found))
    return shots


@dataclass(slots=True)
class Count:
    """What was followed: true boxes, those covered, changes of id, false boxes, and pairs by identity for IDF1."""

    true: int = 0
    covered: int = 0
    switches: int = 0
    false: int = 0
    identity_f1: float = 0.0


def count(shots: Sequence[Shot], tracks: Sequence[Sequence[tuple[int, Box]]]) -> Count:
    """CLEAR MOT counts (Bernardin and Stiefelhagen 2008) at IoU 0.5, and IDF1 (Ristani et al. 2016).

    Args:
        shots: the scene.
        tracks: of each frame, (id, box [4]) of each track told of.
    """
    result = Count()
    last: dict[int, int] = {}
    together: dict[tuple[int, int], int] = {}
    told = 0
    for shot, found in zip(shots, tracks, strict=True):
        result.true += len(shot.truth)
        told += len(found)
        ids = [k for k, _ in found]
        overlap = iou(shot.truth, np.array([b for _, b in found], np.float32).reshape(-1, 4))
        # A track that followed an object is preferred to one that overlaps it a little more.
        stays = np.array([[last.get(int(w)) == k for k in ids] for w in shot.who]).reshape(overlap.shape)
        rows, columns = linear_sum_assignment(-np.where(overlap >= 0.5, overlap + stays, 0.0))
        matched = [(i, j) for i, j in zip(rows, columns, strict=True) if overlap[i, j] >= 0.5]
        result.covered += len(matched)
        result.false += len(found) - len(matched)
        for i, j in matched:
            who = int(shot.who[i])
            result.switches += last.get(who, ids[j]) != ids[j]
            last[who] = ids[j]
        for i, j in zip(*np.nonzero(overlap >= 0.5), strict=True):
            pair = int(shot.who[i]), ids[j]
            together[pair] = together.get(pair, 0) + 1
    whos, ids_ = sorted({w for w, _ in together}), sorted({k for _, k in together})
    table = np.array([[together.get((w, k), 0) for k in ids_] for w in whos]).reshape(len(whos), len(ids_))
    rows, columns = linear_sum_assignment(-table)
    result.identity_f1 = float(2 * table[rows, columns].sum() / max(result.true + told, 1))
    return result
