"""A sensitivity scan as a picture for papers and slides; `pages` has the one to read on screen."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np

from build_tools.search.sensitivity import LEVELS, LayerScan

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm

FAINT, FATAL = 1e-4, 1.0
"""Losses at the ends of the colours."""
HEADINGS = {
    "prune": [f"pruned {level:.0%}" for level in LEVELS["prune"]],
    "bits": [f"{level:g} bits" for level in LEVELS["bits"]],
    "rank": [f"rank {level:.0%}" for level in LEVELS["rank"]],
}


def drawn(scans: Sequence[LayerScan], title: str, form: str) -> bytes:
    """The heat map as a file of `form` (png or svg)."""
    headings = [h for group in HEADINGS.values() for h in group]
    values = np.array([[np.nan if v is None else max(v, FAINT) for v in one.row()] for one in scans], np.float64)
    values = values.reshape(len(scans), len(headings))
    figure, axis = plt.subplots(figsize=(9, 1.6 + 0.24 * len(scans)), layout="constrained")
    axis.set_facecolor("0.85")
    mesh = axis.pcolormesh(values, norm=LogNorm(FAINT, FATAL), cmap="Reds", edgecolors="white", linewidth=0.5)
    axis.set_xticks(np.arange(len(headings)) + 0.5, headings, rotation=30, ha="right")
    labels = [f"{one.weight[-44:]} {'x'.join(map(str, one.shape))}" for one in scans]
    axis.set_yticks(np.arange(len(scans)) + 0.5, labels, fontsize=8)
    axis.invert_yaxis()
    for edge in np.cumsum([len(levels) for levels in LEVELS.values()])[:-1]:
        axis.axvline(edge, color="black", linewidth=1)
    figure.colorbar(mesh, label="relative loss of accuracy")
    axis.set_title(title)
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=110)
    plt.close(figure)
    return content.getvalue()
