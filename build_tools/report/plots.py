"""Pictures of a training and of a verification."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from build_tools.evaluation.verification import Curve


def curves(history: list[dict[str, float]], path: Path, title: str) -> None:
    """Losses and validation AP over epochs of a detector, as PNG at `path`."""
    figure = curves_figure(history, title)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def curves_figure(history: list[dict[str, float]], title: str) -> Figure:
    """The same, not yet saved; the caller closes it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
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
            # Below the axes: no corner stays free of the curves of eight classes.
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False)
    figure.suptitle(title)
    return figure


def verification_curves(curves: dict[str, Curve], path: Path, title: str) -> None:
    """False rejects over false accepts by name of the curve, with the equal error rates, as PNG at `path`."""
    figure, axis = plt.subplots(figsize=(6, 5), layout="constrained")
    for name, curve in curves.items():
        axis.step(curve.far, curve.frr, where="post", label=f"{name}: equal error rate {curve.eer:.4f}")
    axis.plot([1e-4, 1], [1e-4, 1], color="grey", lw=0.7, ls=":")
    axis.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1))
    axis.set_yscale("symlog", linthresh=1e-3)
    axis.set_xlabel("different persons taken for one (FAR)")
    axis.set_ylabel("one person taken for two (FRR)")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    axis.set_title(title)
    figure.savefig(path, dpi=90)
    plt.close(figure)
