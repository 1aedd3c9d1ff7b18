"""Serves the live page: the annotated picture, the last events, the counters. Reads only, loopback by default."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import cv2

from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import ConfigError
from edge_runtime.web.listen import Listen, parse_listen

if TYPE_CHECKING:
    from aiohttp.web import Application, Request, StreamResponse

STATIC = Path(__file__).resolve().parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
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
START_S, STOP_S = 10.0, 5.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Message = tuple[str, bytes]
"""Kind and JSON of a server-sent event."""


class WebPage:
    """The page, from entering to leaving, in a thread with a loop of its own.

    What the pipeline calls (`wants_picture`, `show`, `tell`, `count`) never waits for a viewer.

    Args:
        listen: `[HOST:]PORT`; port 0 takes a free one, which `url` tells.
        fps: pictures a second at the most.

    Attributes:
        beyond_loopback: whether other machines can reach it; there is no password yet, so the user is to be warned.

    Raises:
        ConfigError: not such an address, the port is taken, or aiohttp is not installed.
    """

    def __init__(self, listen: str, fps: float) -> None:
        self._listen = parse_listen(listen)
        self._period_s = 1 / fps
        self.beyond_loopback = self._listen.beyond_loopback
        self._due_s = 0.0
        self._newest: BgrImage | None = None
        # What follows is touched by the server's thread alone, once it runs; only `_viewers` is read elsewhere.
        self._viewers = 0
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._events: deque[bytes] = deque(maxlen=REMEMBERED)
        self._stats = b"{}"
        self._queues: set[asyncio.Queue[Message]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._fresh: asyncio.Event
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def url(self) -> str:
        """Where the page is."""
        return self._listen.url

    def __enter__(self) -> Self:
        try:
            import aiohttp.web  # noqa: F401 - only to know whether it is there
        except ImportError:
            raise ConfigError("web.listen: aiohttp is not installed; pip install 'edge-runtime[web]'") from None
        self._thread.start()
        if not self._ready.wait(START_S) or self._failure is not None:
            reason = getattr(self._failure, "strerror", None) or self._failure or "no answer"
            raise ConfigError(
                f"web.listen: {self._listen.host}:{self._listen.port} cannot be used ({reason}); "
                "choose another with --web PORT"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._soon(lambda: self._stop.set())
        self._thread.join(STOP_S)

    def wants_picture(self) -> bool:
        """Whether somebody looks and the next picture is due; without viewers nothing is drawn or encoded."""
        return self._viewers > 0 and time.monotonic() >= self._due_s

    def show(self, bgr: BgrImage) -> None:
        """Make `bgr` [h, w, 3] the newest picture; it must not be changed afterwards.

        It is encoded in the server's thread. A viewer that is still busy with an older one skips it.
        """
        now_s = time.monotonic()
        # Counted from when it was due, so that a camera of 15 fps gives 10 pictures a second, not every second one.
        self._due_s = max(self._due_s + self._period_s, now_s)
        self._newest = bgr
        self._soon(self._encode)

    def tell(self, payloads: Sequence[bytes]) -> None:
        """List the events, each a line of JSON."""
        lines = [line.strip() for line in payloads]
        self._soon(lambda: self._tell(lines))

    def count(self, stats: dict[str, Any]) -> None:
        """Show the counters."""
        text = json.dumps(stats).encode()
        self._soon(lambda: self._count(text))

    def _soon(self, work: Callable[[], None]) -> None:
        """Have the server's thread do it. Once that has ended nobody looks any more."""
        if self._thread.is_alive() and self._ready.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    def _encode(self) -> None:
        bgr, self._newest = self._newest, None
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

    def _tell(self, lines: list[bytes]) -> None:
        for line in lines:
            self._events.append(line)
            self._send(("message", line))

    def _count(self, stats: bytes) -> None:
        self._stats = stats
        self._send(("stats", stats))

    def _send(self, message: Message) -> None:
        for queue in list(self._queues):
            if queue.full():  # it fell behind: its stream ends, and the page asks for the last events again
                self._queues.discard(queue)
            else:
                queue.put_nowait(message)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # outermost loop of the thread: told to the one who waits for the start
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop = asyncio.get_running_loop()
        self._stop, self._fresh = asyncio.Event(), asyncio.Event()
        # A handler ends when its viewer leaves, also while it waits for the next picture of a camera that is lost.
        runner = web.AppRunner(self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        try:
            family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
            with socket.socket(family) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self._listen.host, self._listen.port))
                self._listen = Listen(self._listen.host, listener.getsockname()[1])
                await web.SockSite(runner, listener).start()
                self._ready.set()
                await self._stop.wait()
        finally:
            await runner.cleanup()

    def _application(self) -> Application:
        from aiohttp import web

        @web.middleware
        async def guard(request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]) -> StreamResponse:
            if not self._listen.answers_to(request.host):
                raise web.HTTPForbidden(text="this page is not served under that name\n")
            return await handler(request)

        async def add_headers(_: Request, response: StreamResponse) -> None:
            response.headers.update(HEADERS)

        app = web.Application(middlewares=[guard])
        app.on_response_prepare.append(add_headers)
        for path in FILES:
            app.router.add_get(path, self._file, allow_head=False)
        app.router.add_get("/stream.mjpg", self._stream, allow_head=False)
        app.router.add_get("/events", self._event_stream, allow_head=False)
        app.router.add_get("/stats.json", self._counters, allow_head=False)
        return app

    async def _file(self, request: Request) -> StreamResponse:
        from aiohttp import web

        name, kind = FILES[request.path]
        return web.Response(text=(STATIC / name).read_text(encoding="utf-8"), content_type=kind)

    async def _counters(self, _: Request) -> StreamResponse:
        from aiohttp import web

        return web.Response(body=self._stats, content_type="application/json")

    async def _stream(self, request: Request) -> StreamResponse:
        """The picture as multipart JPEG (MJPEG), newest only."""
        if self._viewers >= MAX_VIEWERS:
            raise _too_many()
        self._viewers += 1
        try:
            response = await _begin(request, "multipart/x-mixed-replace; boundary=frame")
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
        finally:
            self._viewers -= 1

    async def _event_stream(self, request: Request) -> StreamResponse:
        """The counters, the last events and then each new one, as server-sent events."""
        if len(self._queues) >= MAX_VIEWERS:
            raise _too_many()
        queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=4 * REMEMBERED)
        queue.put_nowait(("stats", self._stats))
        for line in self._events:
            queue.put_nowait(("message", line))
        self._queues.add(queue)
        try:
            response = await _begin(request, "text/event-stream")
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
    """Send a part; a viewer who does not take it within `STALL_S` is cut off, which ends the handler."""
    try:
        await asyncio.wait_for(response.write(part), STALL_S)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the viewer stalled") from None


def _too_many() -> Exception:
    from aiohttp import web

    return web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} viewers are the most\n")
