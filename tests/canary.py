"""A pattern that stands nowhere else: painted into frames, and searched for in bytes, however they were packed."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

TILE_PX, BLOCK_PX = 32, 4
GRID_PX = 96
"""A tile stands at each multiple of this; a smaller crop may be without one, and counts as a picture all the same."""
ALIKE = 0.7
"""Correlation with the tile at which a picture counts as showing it."""
SCALES = (0.25, 0.33, 0.5, 0.75, 1.0, 1.5, 2.0)
PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8", b"BM")
DEPTH_MAX = 4


def tile() -> Image:
    """Grey blocks by chance, uint8 [TILE_PX, TILE_PX]."""
    blocks = np.random.default_rng(20261125).integers(30, 226, (TILE_PX // BLOCK_PX,) * 2, dtype=np.uint8)
    return np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.uint8))


def painted(bgr: Image) -> Image:
    """The picture with a tile at each point of a grid."""
    out, mark = bgr.copy(), tile()[..., None]
    for y in range(8, bgr.shape[0] - TILE_PX, GRID_PX):
        for x in range(8, bgr.shape[1] - TILE_PX, GRID_PX):
            out[y : y + TILE_PX, x : x + TILE_PX] = mark
    return out


@dataclass(frozen=True)
class Finding:
    """A place at which the canary, or any picture at all, was found."""

    where: str
    what: str


class Search:
    """Looks for pixels of pictures as the program held them.

    Args:
        held: pictures [h, w, 3] that were painted, as they were read back: the frame, and the small one.
    """

    def __init__(self, *held: Image) -> None:
        self._tokens: set[bytes] = set()
        for picture in held:
            step = max(1, BLOCK_PX * picture.shape[1] // 768)
            y_of_tiles = range(8 + BLOCK_PX // 2, picture.shape[0] - TILE_PX, step)
            for y in list(y_of_tiles)[: TILE_PX // BLOCK_PX]:
                self._take(picture[y, 8 : 8 + TILE_PX])

    def _take(self, row: NDArray[np.uint8]) -> None:
        """Windows of a row of pixels [n, 3] as bytes: interleaved, one channel, and as float32."""
        one = np.ascontiguousarray(row[:, 1])
        for start in range(0, len(row) - 16, 2):
            part = one[start : start + 16]
            if len(set(part.tolist())) < 4:
                continue  # too plain to be no chance
            self._tokens |= {part.tobytes(), np.ascontiguousarray(row[start : start + 8]).tobytes()}
            self._tokens |= {part[:8].astype("<f4").tobytes(), (part[:8].astype("<f4") / 255).astype("<f4").tobytes()}

    def __call__(self, where: str, content: bytes, depth: int = 0) -> Iterator[Finding]:
        """All findings in the bytes, and in what is packed inside them."""
        if any(token in content for token in self._tokens):
            yield Finding(where, "raw pixels")
        for magic in PICTURES:
            for found in re.finditer(re.escape(magic), content):
                picture = cv2.imdecode(np.frombuffer(content[found.start() :], np.uint8), cv2.IMREAD_GRAYSCALE)
                if picture is not None and min(picture.shape) >= 8:
                    yield Finding(f"{where} at {found.start()}", shown(np.asarray(picture, np.uint8)))
        if depth < DEPTH_MAX:
            for how, inner in unpacked(content):
                yield from self(f"{where} > {how}", inner, depth + 1)


def shown(picture: Image) -> str:
    """What a picture that was found shows, in words: any is one too many, one with the tile is the camera's."""
    best = 0.0
    for scale in SCALES:
        side = round(TILE_PX * scale)
        if side >= 6 and side <= min(picture.shape):
            mark = cv2.resize(tile(), (side, side), interpolation=cv2.INTER_AREA)
            best = max(best, float(cv2.matchTemplate(picture, mark, cv2.TM_CCOEFF_NORMED).max()))
    return "the canary" if best >= ALIKE else f"a picture ({best:.2f})"


def unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What the bytes hold in other spellings: base64, hexadecimal, deflate."""
    for text in re.findall(rb"[A-Za-z0-9+/_-]{32,}={0,2}", content):
        body = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        body = body[: len(body) // 4 * 4]
        try:
            yield "base64", base64.b64decode(body, validate=True)
        except binascii.Error:
            continue
    for text in re.findall(rb"(?:[0-9a-fA-F]{2}){32,}", content):
        yield "hexadecimal", binascii.unhexlify(text)
    for found in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", content):
        try:
            engine = zlib.decompressobj(47)  # gzip or zlib, as the head says
            inner = engine.decompress(content[found.start() :], 50_000_000)
        except zlib.error:
            continue
        if len(inner) >= 64:
            yield "deflate", inner
