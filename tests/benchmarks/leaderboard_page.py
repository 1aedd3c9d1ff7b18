"""The leaderboard as tables between two markers of `models/README.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
BEGIN, END = "<!-- leaderboard -->", "<!-- end of leaderboard -->"
FIGURES = ("ap8", "ap16", "ap32", "crop_recall8", "crop_recall16")
NAMES = ("AP8", "AP16", "AP32", "crop recall 8", "16")
CREDIT = (
    "Clips: intel-iot-devkit/sample-videos, CC BY 4.0; boxes drawn in. Regions of attention are dashed, windows that\n"
    "are cropped dotted, tracks solid, as the node shows them. Made with `--pictures`."
)
INTRODUCTION = """\
`python -m tests.benchmarks.leaderboard` makes this part from what it has measured (`leaderboard.json`). Ours are bold.

- Time: over yunet_s at the same size, in the same rounds, on one thread; networks alone, without decoding. Attention
  with a detector: with one crop a picture and with four; its AP is that with as many as it asks for, at most 8.
- M MAC: millions of multiplications; of attention with a detector: with one crop.
- AP8, AP16, AP32: at IoU 0.5, over all points, of objects whose shorter side is at least so many pixels when the
  picture is fitted into the size.
- Crop recall: share of the objects of at least 8 or 16 px of which 95 % lie inside one of the at most 8 windows that
  the runtime's planner cuts from the answers scored 0.25 or more.
"""


def rewrite(readme: Path, rows: Sequence[Row], missing: Sequence[str] = ()) -> None:
    """Put the tables between the markers; a page without them gets them at its end."""
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    readme.write_text(f"{before}{BEGIN}\n{page(rows, missing)}{_gallery(readme.parent)}{END}{after}", encoding="utf-8")


def page(rows: Sequence[Row], missing: Sequence[str] = ()) -> str:
    """All tables; `missing` are named as not measured yet."""
    parts = ["\n## Leaderboard\n", INTRODUCTION]
    if missing:
        parts.append(f"Not measured yet, or not all of it: {', '.join(missing)}.\n")
    for at in ("320x240", "160x120"):
        seen = [r for r in rows if f"faces {at}" in r]
        parts += [f"### Faces at {at}\n", "WIDER FACE val, 5 events, 394 pictures.\n", _faces(seen, at)]
    for half, told in (("COCO val2017", "128 pictures"), ("Level2-FSD", "120 pictures of streets")):
        seen = [r for r in rows if half in r.get("scenes", {})]
        parts += [f"### Persons and vehicles: {half}\n", f"{told}; ours from 320x240, peers at their own input.\n"]
        parts.append(_scenes(seen, half))
    parts.append("![AP8 over bytes](leaderboard_bytes.png)\n\n![AP8 over time](leaderboard_time.png)\n")
    return "\n".join(parts)


def _gallery(folder: Path) -> str:
    """The pictures of detections that lie in the folder, with their source."""
    pictures = sorted(folder.glob("clip_*.jpg"))
    if not pictures:
        return ""
    lines = "\n".join(f"![{p.stem.removeprefix('clip_').replace('_', ' ')}]({p.name})" for p in pictures)
    return f"\n### What they see\n\n{CREDIT}\n\n{lines}\n"


def _faces(rows: Sequence[Row], at: str) -> str:
    head = ["model", "bytes", "parameters", "M MAC", "time", *NAMES]
    return _table(head, [[*_costs(r, at), *_figures(r[f"faces {at}"])] for r in _by_bytes(rows)])


def _scenes(rows: Sequence[Row], half: str) -> str:
    head = ["model", "bytes", "parameters", "M MAC", "time", "", *NAMES]
    body = []
    for row in _by_bytes(rows):
        for i, (name, figures) in enumerate(sorted(row["scenes"][half].items())):
            costs = _costs(row, "320x240")
            body.append([*(costs if i == 0 else [""] * len(costs)), name, *_figures(figures)])
    return _table(head, body)


def _costs(row: Row, at: str) -> list[str]:
    key = at if f"time {at}" in row else "320x240"  # an input of one size
    name = f"**{row['name']}**" if row["ours"] else row["name"]
    times = ", ".join(
        f"{ratio:.2f}" + (f" ({run.strip().removesuffix('s') if run == ' 1 crops' else run.strip()})" if run else "")
        for run, ratio in row[f"time {key}"].items()
    )
    return [name, f"{row['bytes']:,}", f"{row['parameters']:,}", f"{row[f'macs {key}'] / 1e6:.1f}", times]


def _figures(figures: Row) -> list[str]:
    return [f"{figures[k]:.3f}" if k in figures else "-" for k in FIGURES]


def _by_bytes(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: r["bytes"])


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body)) + "\n"
