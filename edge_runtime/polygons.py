"""Polygons and segments in the plane: which points lie inside, which sides cross.

Points are (x, y), y down, in whatever unit the caller keeps to. Plain Python: polygons have a dozen corners, and one
point at a time is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

Point = tuple[float, float]


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Whether `point` lies inside, by the even-odd rule; a point on the border may fall on either side.

    Source: W. R. Franklin, "PNPOLY", 1970.
    """
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in sides(polygon):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def sides(polygon: Sequence[Point]) -> list[tuple[Point, Point]]:
    """The sides in order, the closing one last."""
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def area(polygon: Sequence[Point]) -> float:
    """Area enclosed by a simple polygon (the shoelace formula)."""
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in sides(polygon))) / 2


def crossing_sides(polygon: Sequence[Point]) -> tuple[int, int] | None:
    """Indices of the first two sides that meet where they should not; None for a simple polygon.

    Side `i` runs from corner `i` to the next. Neighbours share one corner; they must not fold back on each other.
    """
    found = sides(polygon)
    n = len(found)
    for i, j in combinations(range(n), 2):
        (a, b), (c, d) = found[i], found[j]
        if j == i + 1 or (i == 0 and j == n - 1):
            corner, before, after = (b, a, d) if j == i + 1 else (a, b, c)
            if _side_of(before, corner, after) == 0 and _dot(before, corner, after) > 0:
                return i, j
        elif meet(a, b, c, d):
            return i, j
    return None


def meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the segments a-b and c-d share a point; touching counts."""
    to_c, to_d, to_a, to_b = _side_of(a, b, c), _side_of(a, b, d), _side_of(c, d, a), _side_of(c, d, b)
    if to_c * to_d < 0 and to_a * to_b < 0:
        return True
    ends = ((to_c, a, b, c), (to_d, a, b, d), (to_a, c, d, a), (to_b, c, d, b))
    return any(side == 0 and _between(p, q, r) for side, p, q, r in ends)


def _side_of(a: Point, b: Point, p: Point) -> float:
    """Positive where p lies to the right-hand of a -> b as the picture shows it, 0 on the line."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _dot(a: Point, corner: Point, b: Point) -> float:
    return (a[0] - corner[0]) * (b[0] - corner[0]) + (a[1] - corner[1]) * (b[1] - corner[1])


def _between(a: Point, b: Point, p: Point) -> bool:
    """Whether p, on the line a-b, lies between the two."""
    return min(a[0], b[0]) <= p[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= p[1] <= max(a[1], b[1])
