"""Serves the live page: the picture, the last events, the counters, the rules to edit. Loopback by default."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edge_runtime.datatypes import BgrImage
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.web.access import Access
from edge_runtime.web.editor import RulesEditor, refusal
from edge_runtime.web.feeds import Feeds
from edge_runtime.web.listen import Listen, parse_listen

if TYPE_CHECKING:
    from aiohttp.web import Application, Request, StreamResponse

STATIC = Path(__file__).resolve().parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/login": ("login.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/timeline.js": ("timeline.js", "text/javascript"),
    "/health.js": ("health.js", "text/javascript"),
    "/shapes.js": ("shapes.js", "text/javascript"),
    "/rules.js": ("rules.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
MAX_BODY = 500_000
"""Bytes of an edit at the most: some thousand rules."""
START_S, STOP_S, SETTLE_S = 10.0, 5.0, 20.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class WebPage:
    """The page, from entering to leaving, in a thread with a loop of its own.

    What the pipeline calls (`wants_picture`, `show`, `hide`, `tell`, `count`) never waits for a viewer.

    Args:
        listen: `[HOST:]PORT`; port 0 takes a free one, which `url` tells.
        fps: pictures a second at the most.
        token: the password; empty: none on loopback, one made up beyond it.
        editor: takes edits of the rules; None: they are not shown.

    Attributes:
        token: the password that is asked for; empty: none.

    Raises:
        ConfigError: not such an address, too short a password, the port is taken, or aiohttp is not installed.
    """

    def __init__(self, listen: str, fps: float, *, token: str = "", editor: RulesEditor | None = None) -> None:
        self._listen = parse_listen(listen)
        self._period_s = 1 / fps
        self._due_s = 0.0
        self._shown_wh: tuple[int, int] | None = None
        self._hidden = False
        self._editor = editor
        self._access = Access(token, beyond_loopback=self._listen.beyond_loopback)
        self.token = self._access.token
        self._feeds: Feeds
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def url(self) -> str:
        """Where the page is."""
        return self._listen.url

    @property
    def url_beyond(self) -> str | None:
        """Where it is for other machines; None where they may not ask."""
        return self._listen.url_beyond

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
        return self._ready.is_set() and self._feeds.viewers > 0 and time.monotonic() >= self._due_s

    def show(self, bgr: BgrImage) -> None:
        """Make `bgr` [h, w, 3] the newest picture; it must not be changed afterwards.

        It is encoded in the server's thread. A viewer that is still busy with an older one skips it.
        """
        now_s = time.monotonic()
        # Counted from when it was due, so that a camera of 15 fps gives 10 pictures a second, not every second one.
        self._due_s = max(self._due_s + self._period_s, now_s)
        self._shown_wh, self._hidden = (bgr.shape[1], bgr.shape[0]), False
        if self._ready.is_set():
            self._feeds.newest = bgr
        self._soon(lambda: self._feeds.encode())

    def hide(self, size_wh: tuple[int, int] | None = None) -> None:
        """Have black take the picture's place: at once, for the last one is kept for whoever comes, then when due.

        Args:
            size_wh: of the black picture; None: as large as the last picture was, and nothing where there was none.
        """
        size_wh = size_wh or self._shown_wh
        if size_wh is not None and (not self._hidden or self.wants_picture()):
            self.show(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
            self._hidden = True

    def tell(self, payloads: Sequence[bytes]) -> None:
        """List the events, each a line of JSON."""
        lines = [line.strip() for line in payloads]
        self._soon(lambda: self._feeds.tell(lines))

    def count(self, stats: dict[str, Any]) -> None:
        """Show the counters."""
        text = json.dumps(stats).encode()
        self._soon(lambda: self._feeds.count(text))

    def _soon(self, work: Callable[[], None]) -> None:
        """Have the server's thread do it. Once that has ended nobody looks any more."""
        if self._thread.is_alive() and self._ready.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # outermost loop of the thread: told to the one who waits for the start
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop = asyncio.get_running_loop()
        self._stop, self._feeds = asyncio.Event(), Feeds()
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
            return await self._access.visit(request, handler)

        async def add_headers(_: Request, response: StreamResponse) -> None:
            response.headers.update(HEADERS)

        app = web.Application(middlewares=[guard], client_max_size=MAX_BODY)
        app.on_response_prepare.append(add_headers)
        for path in FILES:
            app.router.add_get(path, self._file, allow_head=False)
        app.router.add_get("/stream.mjpg", self._feeds.stream, allow_head=False)
        app.router.add_get("/events", self._feeds.event_stream, allow_head=False)
        app.router.add_get("/stats.json", self._counters, allow_head=False)
        app.router.add_post("/login", self._access.login)
        app.router.add_get("/rules.json", self._rules, allow_head=False)
        if self._editor is not None:
            app.router.add_post("/rules.json", self._edit)
        return app

    async def _file(self, request: Request) -> StreamResponse:
        from aiohttp import web

        name, kind = FILES[request.path]
        return web.Response(text=(STATIC / name).read_text(encoding="utf-8"), content_type=kind)

    async def _counters(self, _: Request) -> StreamResponse:
        from aiohttp import web

        return web.Response(body=self._feeds.stats, content_type="application/json")

    async def _rules(self, _: Request) -> StreamResponse:
        from aiohttp import web

        return web.json_response(None if self._editor is None else self._editor.described())

    async def _edit(self, request: Request) -> StreamResponse:
        """Put an edit into force, or say what is wrong with it."""
        from aiohttp import web

        assert self._editor is not None
        if request.content_type != "application/json":  # which no page of another origin can send without asking first
            raise web.HTTPUnsupportedMediaType(text="edits come as application/json\n")
        try:
            asked = json.loads(await request.read())
        except (ValueError, RecursionError):
            return web.json_response({"error": "not JSON", "where": None}, status=400)
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._editor.propose(asked)), SETTLE_S)
        except TimeoutError:
            text = "the frame loop did not answer; nothing was changed, try again"
            return web.json_response({"error": text, "where": None}, status=503)
        except EdgeRuntimeError as error:
            return web.json_response(refusal(error), status=422)
        self._feeds.told()
        return web.json_response(self._editor.described())
