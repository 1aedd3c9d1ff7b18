"""What viewers are sent: the newest picture, the last events, the counters. One server's loop owns it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

import cv2

from edge_runtime.datatypes import BgrImage

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse

REMEMBERED = 100
"""Events a new viewer is shown."""
MAX_VIEWERS = 8
"""Streams of pictures at once, and as many of events."""
MAX_WIDTH = 1280
"""Wider pictures are sent at this width: no page is wider, and a 4K camera would fill the network."""
JPEG_QUALITY = 80
BEAT_S = 5.0
"""Seconds between two signs of life on a silent event stream, so that a dead runtime is noticed."""
STALL_S = 15.0
"""A viewer who takes nothing for this long loses its place."""
Message = tuple[str, bytes]
"""Kind and JSON of a server-sent event."""


class Feeds:
    """Touched by the server's thread alone; only `viewers` is read elsewhere, and `newest` is written there.

    Attributes:
        viewers: streams of pictures open now.
        newest: the picture to be encoded next, BGR [h, w, 3].
        stats: the counters as JSON.
    """

    def __init__(self) -> None:
        self.viewers = 0
        self.newest: BgrImage | None = None
        self.stats = b"{}"
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._events: deque[bytes] = deque(maxlen=REMEMBERED)
        self._queues: set[asyncio.Queue[Message]] = set()
        self._fresh = asyncio.Event()

    def encode(self) -> None:
        """Make the newest picture the one that is streamed."""
        bgr, self.newest = self.newest, None
        if bgr is None:
            return  # a newer picture took its place and is encoded already
        height, width = bgr.shape[:2]
        if width > MAX_WIDTH:
            size_wh = MAX_WIDTH, max(round(height * MAX_WIDTH / width), 1)
            bgr = cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        self._jpeg = self._jpeg[0] + 1, code.tobytes()
        waited_for, self._fresh = self._fresh, asyncio.Event()
        waited_for.set()

    def tell(self, lines: list[bytes]) -> None:
        """List events, each a line of JSON."""
        for line in lines:
            self._events.append(line)
            self._send(("message", line))

    def count(self, stats: bytes) -> None:
        """Show the counters."""
        self.stats = stats
        self._send(("stats", stats))

    def told(self) -> None:
        """The rules have changed: whoever looks asks for them."""
        self._send(("rules", b"{}"))

    def _send(self, message: Message) -> None:
        for queue in list(self._queues):
            if queue.full():  # it fell behind: its stream ends, and the page asks for the last events again
                self._queues.discard(queue)
            else:
                queue.put_nowait(message)

    async def stream(self, request: Request) -> StreamResponse:
        """The picture as multipart JPEG (MJPEG), newest only."""
        if self.viewers >= MAX_VIEWERS:
            raise _too_many()
        self.viewers += 1
        try:
            response = await _begin(request, "multipart/x-mixed-replace; boundary=frame")
            with contextlib.suppress(ConnectionResetError):
                await self._send_pictures(request, response)
            return response
        finally:
            self.viewers -= 1

    async def _send_pictures(self, request: Request, response: StreamResponse) -> None:
        shown = 0
        # A browser shows a part once the next boundary has come: it follows each picture at once.
        await _write(request, response, b"--frame\r\n")
        while True:
            fresh = self._fresh
            if self._jpeg[0] == shown:
                await fresh.wait()
                continue
            shown, jpeg = self._jpeg
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            await _write(request, response, head.encode() + jpeg + b"\r\n--frame\r\n")

    async def event_stream(self, request: Request) -> StreamResponse:
        """The counters, the last events and then each new one, as server-sent events."""
        if len(self._queues) >= MAX_VIEWERS:
            raise _too_many()
        queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=4 * REMEMBERED)
        queue.put_nowait(("stats", self.stats))
        for line in self._events:
            queue.put_nowait(("message", line))
        self._queues.add(queue)
        try:
            response = await _begin(request, "text/event-stream")
            with contextlib.suppress(ConnectionResetError):
                while queue in self._queues:
                    try:
                        kind, line = await asyncio.wait_for(queue.get(), BEAT_S)
                    except TimeoutError:
                        kind, line = "beat", b"{}"
                    await _write(request, response, b"event: %b\ndata: %b\n\n" % (kind.encode(), line))
            return response
        finally:
            self._queues.discard(queue)


async def _begin(request: Request, content_type: str) -> StreamResponse:
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    return response


async def _write(request: Request, response: StreamResponse, part: bytes) -> None:
    """Send a part.

    Raises:
        ConnectionResetError: the viewer has left, or did not take it within `STALL_S` and is cut off.
    """
    try:
        await asyncio.wait_for(response.write(part), STALL_S)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the viewer stalled") from None


def _too_many() -> Exception:
    from aiohttp import web

    return web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} viewers are the most\n")
