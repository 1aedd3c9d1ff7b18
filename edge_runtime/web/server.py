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

if TYPE_CHECKING:
    from aiohttp.web import Application, Request, StreamResponse

STATIC = Path(__file__).resolve().parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REMEMBERED = 100
"""Events a new viewer is shown."""
MAX_VIEWERS = 8
JPEG_QUALITY = 80
BEAT_S = 5.0
"""Seconds between two signs of life on a silent event stream, so that a dead runtime is noticed."""
START_S, STOP_S = 10.0, 5.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class WebPage:
    """The page, from entering to leaving, in a thread with a loop of its own.

    Args:
        listen: `[HOST:]PORT`; port 0 takes a free one, which `url` tells.
        fps: pictures a second at the most.

    Raises:
        ConfigError: not such an address, the port is taken, or aiohttp is not installed.
    """

    def __init__(self, listen: str, fps: float) -> None:
        host, _, port = listen.rpartition(":")
        self._host = host.strip("[]") or "127.0.0.1"
        if not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"web.listen = {listen}: must look like 8080 or 0.0.0.0:8080")
        self._port, self._period_s = int(port), 1 / fps
        self.beyond_loopback = self._host not in LOOPBACK
        self._events: deque[bytes] = deque(maxlen=REMEMBERED)
        self._stats = b"{}"
        self._viewers = 0
        self._shown_s = 0.0
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._news: set[asyncio.Queue[bytes]] = set()
        self._changed: asyncio.Condition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def url(self) -> str:
        """Where the page is."""
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    def __enter__(self) -> Self:
        try:
            import aiohttp.web  # noqa: F401 - only to know whether it is there
        except ImportError:
            raise ConfigError("web.listen: aiohttp is not installed; pip install 'edge-runtime[web]'") from None
        self._thread.start()
        if not self._ready.wait(START_S) or self._failure is not None:
            reason = getattr(self._failure, "strerror", None) or self._failure
            raise ConfigError(
                f"web.listen: {self._host}:{self._port} cannot be used ({reason}); choose another with --web PORT"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(STOP_S)

    def wants_picture(self) -> bool:
        """Whether somebody looks and the next picture is due; without viewers nothing is drawn or encoded."""
        return self._viewers > 0 and time.monotonic() - self._shown_s >= self._period_s

    def show(self, bgr: BgrImage) -> None:
        """Make `bgr` the newest picture; a viewer that is still busy with an older one skips it."""
        self._shown_s = time.monotonic()
        _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        jpeg = code.tobytes()
        self._soon(lambda: self._publish_picture(jpeg))

    def tell(self, payloads: Sequence[bytes]) -> None:
        """List the events, given as JSON."""
        lines = list(payloads)
        self._soon(lambda: self._publish_events(lines))

    def count(self, stats: dict[str, Any]) -> None:
        """Show the counters."""
        self._stats = json.dumps(stats).encode()

    def _soon(self, work: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    def _publish_picture(self, jpeg: bytes) -> None:
        self._jpeg = self._jpeg[0] + 1, jpeg
        assert self._changed is not None
        asyncio.ensure_future(_notify(self._changed))  # noqa: RUF006 - ends by itself at once

    def _publish_events(self, lines: list[bytes]) -> None:
        for line in lines:
            self._events.append(line)
            for queue in self._news:
                if not queue.full():
                    queue.put_nowait(line)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # outermost loop of the thread: told to the one who waits for the start
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop, self._stop, self._changed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Condition()
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            with socket.socket(family) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self._host, self._port))
                self._port = listener.getsockname()[1]
                await web.SockSite(runner, listener).start()
                self._ready.set()
                await self._stop.wait()
                async with self._changed:
                    self._changed.notify_all()
        finally:
            await runner.cleanup()

    def _application(self) -> Application:
        from aiohttp import web

        @web.middleware
        async def guard(request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]) -> StreamResponse:
            # A page elsewhere must not reach this one by a name that it points at loopback (DNS rebinding).
            name = request.host.rpartition(":")[0] if ":" in request.host.rpartition("]")[2] else request.host
            if not self.beyond_loopback and name.strip("[]") not in LOOPBACK:
                raise web.HTTPForbidden(text=f"this page is not served under the name {name}\n")
            return await handler(request)

        app = web.Application(middlewares=[guard])
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/stream.mjpg", self._stream)
        app.router.add_get("/events", self._event_stream)
        app.router.add_get("/stats.json", self._counters)
        return app

    async def _file(self, request: Request) -> StreamResponse:
        from aiohttp import web

        name, kind = FILES[request.path]
        text = (STATIC / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, headers=HEADERS)

    async def _counters(self, _: Request) -> StreamResponse:
        from aiohttp import web

        return web.Response(body=self._stats, content_type="application/json", headers=HEADERS)

    async def _stream(self, request: Request) -> StreamResponse:
        """The picture as multipart JPEG (MJPEG), newest only."""
        from aiohttp import web

        if self._viewers >= MAX_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} viewers are the most\n")
        kind = {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}
        response = web.StreamResponse(headers=HEADERS | kind)
        assert self._changed is not None and self._stop is not None
        await response.prepare(request)
        self._viewers += 1
        try:
            shown = 0
            while not self._stop.is_set():
                if self._jpeg[0] == shown:
                    async with self._changed:
                        await self._changed.wait()
                    continue
                shown, jpeg = self._jpeg
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                await response.write(head.encode() + jpeg + b"\r\n")
        except ConnectionError:
            pass  # the viewer left
        finally:
            self._viewers -= 1
        return response

    async def _event_stream(self, request: Request) -> StreamResponse:
        """The last events and then each new one, as server-sent events."""
        from aiohttp import web

        response = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        assert self._stop is not None
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4 * REMEMBERED)
        for line in self._events:
            queue.put_nowait(line)
        self._news.add(queue)
        try:
            while not self._stop.is_set():
                try:
                    line = await asyncio.wait_for(queue.get(), BEAT_S)
                except TimeoutError:
                    await response.write(b"event: beat\ndata: {}\n\n")
                    continue
                await response.write(b"data: " + line + b"\n\n")
        except ConnectionError:
            pass  # the viewer left
        finally:
            self._news.discard(queue)
        return response


async def _notify(changed: asyncio.Condition) -> None:
    async with changed:
        changed.notify_all()
