"""Pictures of a training."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def curves(history: list[dict[str, float]], path: Path, title: str) -> None:
    """Losses and validation AP over epochs, as PNG at `path`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for key in ("heat", "box"):
        left.plot([r["epoch"] for r in history], [r[key] for r in history], label=f"{key} loss")
    left.set_yscale("log")
    for key in sorted({k for r in history for k in r if k.startswith("ap50_")}):
        rows = [r for r in history if key in r]
        right.plot([r["epoch"] for r in rows], [r[key] for r in rows], marker="o", ms=3, label=key[5:])
    right.set_ylim(0, 1)
    right.set_ylabel("AP50, held-out pictures")
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=90)
    plt.close(figure)
