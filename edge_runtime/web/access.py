"""Who may use the page: whoever knows the password, asked for once and kept in a cookie; no page of another origin."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse

COOKIE, COOKIE_S = "edge-session", 30 * 86_400
LENGTH_MIN = 8
"""Characters of a password where other machines can try: at one try each `WRONG_S` it lasts."""
WRONG_S = 0.5
"""After a wrong password nobody's next one is looked at for this long."""
WAITING_MAX = 20
"""Tries that wait for their turn at once."""
OPEN = ("/login", "/style.css", "/icon.svg")
"""What the login page itself needs."""


class Access:
    """Lets in whoever knows the token, by cookie or `Authorization: Bearer`.

    Args:
        token: the password; empty: none on loopback, one made up beyond it.
        beyond_loopback: whether other machines can reach the page.

    Attributes:
        token: the password that is asked for; empty: everybody may come in.

    Raises:
        ConfigError: the password is too short to be tried by other machines.
    """

    def __init__(self, token: str, *, beyond_loopback: bool) -> None:
        if beyond_loopback and 0 < len(token) < LENGTH_MIN:
            raise ConfigError(
                f"web.token: must have {LENGTH_MIN} characters or more where other machines reach the page; "
                "choose a longer one, or leave it empty for a new one at each start"
            )
        self.token = token or (secrets.token_urlsafe(16) if beyond_loopback else "")
        # Good for as long as the password is, over restarts too, and does not give it away.
        self._session = hmac.digest(self.token.encode(), b"edge-runtime: session of the page", "sha256").hex()
        self._turn, self._due_s, self._waiting = asyncio.Lock(), 0.0, 0

    async def visit(self, request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]) -> StreamResponse:
        """Answer, send to the login, or take the token of the printed address out of the URL at the first visit.

        Raises:
            HTTPException: a redirection or a refusal.
        """
        from aiohttp import web

        if request.method == "POST" and not _same_origin(request):
            raise web.HTTPForbidden(text="posts come from this page alone\n")
        if request.path == "/" and self.token and "token" in request.query:
            raise await self._entry(request.query["token"], secure=request.secure)
        if await self._allows(request):
            return await handler(request)
        if request.path == "/":
            raise web.HTTPSeeOther("/login")
        raise web.HTTPUnauthorized(text="log in first\n", headers={"WWW-Authenticate": "Bearer"})

    async def login(self, request: Request) -> StreamResponse:
        """The form's answer: the cookie for the right password, the form again for a wrong one."""
        form: Any = await request.post()
        raise await self._entry(str(form.get("token", "")), secure=request.secure)

    async def _allows(self, request: Request) -> bool:
        if not self.token or request.path in OPEN or _equal(request.cookies.get(COOKIE, ""), self._session):
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and await self._right(given.strip())

    async def _entry(self, given: str, *, secure: bool) -> Exception:
        """Where a password leads."""
        from aiohttp import web

        if not await self._right(given):
            return web.HTTPSeeOther("/login#wrong")
        entry = web.HTTPSeeOther("/")
        entry.set_cookie(COOKIE, self._session, max_age=COOKIE_S, httponly=True, samesite="Strict", secure=secure)
        return entry

    async def _right(self, given: str) -> bool:
        """Whether it is the password. One is looked at at a time, so that trying many at once is no faster."""
        from aiohttp import web

        if self._waiting >= WAITING_MAX:
            raise web.HTTPTooManyRequests(text="too many passwords are being tried; wait a moment\n")
        self._waiting += 1
        try:
            async with self._turn:
                now_s = asyncio.get_running_loop().time
                await asyncio.sleep(max(self._due_s - now_s(), 0.0))
                right = _equal(given, self.token)
                if not right:
                    self._due_s = now_s() + WRONG_S
                return right
        finally:
            self._waiting -= 1


def _same_origin(request: Request) -> bool:
    """Whether the page that sent this is ours; other programs than browsers name no origin, and know the password.

    The scheme is not compared: before a proxy that adds TLS it differs.
    """
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2].lower() == request.host.lower()


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())
