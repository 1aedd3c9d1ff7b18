"""A picture as a network of others wants it: order of colours and axes, mean and standard deviation."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import BgrImage
from edge_runtime.imaging.colour import GREY


class PictureForm(Protocol):
    """What an adapter says of a network's input; see `identity.embedder.AdapterConfig`."""

    @property
    def colour(self) -> Literal["rgb", "bgr", "grey"]:
        """Order of its colours; grey: one channel."""

    @property
    def layout(self) -> Literal["nchw", "nhwc"]:
        """Order of its axes."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Taken from the values 0 to 255, in its own order."""

    @property
    def std(self) -> tuple[float, float, float]:
        """What is left is divided by this."""


def blob(bgr: BgrImage, form: PictureForm) -> NDArray[np.float32]:
    """The picture as a network's input [1, 3, h, w], [1, 1, h, w] for grey, axes moved for nhwc."""
    if form.colour == "grey":
        values = np.asarray(bgr @ GREY.astype(np.float32), np.float32)[..., None]
    else:
        values = (bgr[..., ::-1] if form.colour == "rgb" else bgr).astype(np.float32)
    channels = values.shape[2]
    mean, std = (np.array(v[:channels], np.float32) for v in (form.mean, form.std))
    values = (values - mean) / std
    if form.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None], np.float32)
