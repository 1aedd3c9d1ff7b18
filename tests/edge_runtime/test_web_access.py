"""Who may use the page: whoever knows the password, at one guess a while; no page of another origin; nothing large."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Self

import pytest

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError
from edge_runtime.web.access import WRONG_S
from edge_runtime.web.editor import RulesEditor
from edge_runtime.web.listen import own_address, parse_listen
from edge_runtime.web.server import MAX_BODY, WebPage

TOKEN = "swordfish"
JSON = {"Content-Type": "application/json"}
ZONE = {"name": "door", "points": [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]}


class Still(urllib.request.HTTPRedirectHandler):
    """Shows redirections instead of following them."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Served:
    """A page with rules to edit, and the frame loop that puts them into force."""

    def __init__(self, listen: str, token: str = "") -> None:
        self.editor = RulesEditor(Config(), None, ("person", "car"))
        self.page = WebPage(listen, 10, token=token, editor=self.editor)
        self.zones: list[str] = []
        self._stop = threading.Event()
        self._loop = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.page.__enter__()
        self._loop.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._loop.join(5)
        self.page.__exit__(None, None, None)

    def _run(self) -> None:
        def apply(config: Config) -> None:
            self.zones = [zone.name for zone in config.zones]

        while not self._stop.wait(0.01):
            self.editor.settle(apply)

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, HTTPResponse]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(self.page.url + path, data=body, headers=named)
        try:
            answer = urllib.request.build_opener(Still).open(request, timeout=60)
        except urllib.error.HTTPError as error:
            return error.code, error  # type: ignore[return-value]
        return answer.status, answer

    def edit(self, **headers: str) -> int:
        asked = {"revision": self.editor.described()["revision"], "rules": {"zones": [ZONE]}}
        return self.ask("rules.json", json.dumps(asked).encode(), Content_Type="application/json", **headers)[0]


@pytest.fixture
def beyond() -> Iterator[Served]:
    with Served("0.0.0.0:0", TOKEN) as served:
        yield served


@pytest.fixture
def loopback() -> Iterator[Served]:
    with Served("0") as served:
        yield served


def test_beyond_loopback_nothing_is_shown_and_nothing_edited_without_the_password(beyond: Served) -> None:
    for path in ("app.js", "rules.js", "rules.json", "stream.mjpg", "events", "stats.json", "nowhere"):
        code, answer = beyond.ask(path)
        assert code == 401, path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    code, answer = beyond.ask("")
    assert (code, answer.headers["Location"]) == (303, "/login")
    assert beyond.edit() == 401
    assert beyond.edit(Authorization="Bearer swordfisH") == 401
    assert beyond.edit(Cookie="edge-session=") == 401
    assert beyond.zones == []
    assert beyond.edit(Authorization=f"Bearer {TOKEN}") == 200
    assert beyond.zones == ["door"]


def test_the_password_is_asked_for_once_and_kept_in_a_cookie_that_scripts_cannot_read(beyond: Served) -> None:
    code, answer = beyond.ask("login", b"token=wrong")
    assert (code, answer.headers["Location"], answer.headers["Set-Cookie"]) == (303, "/login#wrong", None)
    code, answer = beyond.ask("login", f"token={TOKEN}".encode())
    cookie = answer.headers["Set-Cookie"]
    assert (code, answer.headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    session = cookie.partition(";")[0]
    assert beyond.ask("rules.json", Cookie=session)[0] == 200
    with Served("0.0.0.0:0", TOKEN) as again:
        assert again.ask("rules.json", Cookie=session)[0] == 200, "also after a restart"
    with Served("0.0.0.0:0", "another one") as other:
        assert other.ask("rules.json", Cookie=session)[0] == 401, "but not with another password"


def test_the_printed_address_lets_in_and_does_not_stay_in_the_address_bar(beyond: Served) -> None:
    code, answer = beyond.ask(f"?token={TOKEN}")
    assert (code, answer.headers["Location"]) == (303, "/")
    assert "edge-session" in answer.headers["Set-Cookie"]


def test_without_a_password_of_ours_one_is_made_up_and_a_short_one_is_refused() -> None:
    made_up = [WebPage("0.0.0.0:0", 10).token for _ in range(2)]
    assert made_up[0] != made_up[1]
    assert len(made_up[0]) >= 20
    assert WebPage("0", 10).token == "", "on this machine alone nobody else can ask"
    with pytest.raises(ConfigError, match=r"web\.token: must have 8 characters"):
        WebPage("0.0.0.0:0", 10, token="1234")


def test_guessing_many_passwords_at_once_is_no_faster(beyond: Served) -> None:
    codes: list[int] = []
    guesses = [
        threading.Thread(target=lambda: codes.append(beyond.ask("stats.json", Authorization="Bearer no")[0]))
        for _ in range(4)
    ]
    start = time.monotonic()
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()
    assert codes == [401] * 4
    assert time.monotonic() - start >= 3 * WRONG_S


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.3.4", "porch.local"])
def test_a_page_for_other_machines_tells_their_address(host: str) -> None:
    where = parse_listen(f"{host}:8080").url_beyond
    assert where is not None
    assert (own_address() if host == "0.0.0.0" else host) in where
    assert parse_listen("8080").url_beyond is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", ""])
def test_a_page_of_another_origin_can_neither_edit_nor_log_in(beyond: Served, loopback: Served, origin: str) -> None:
    assert loopback.edit(Origin=origin) == 403
    assert beyond.edit(Origin=origin, Authorization=f"Bearer {TOKEN}") == 403
    assert beyond.ask("login", f"token={TOKEN}".encode(), Origin=origin)[0] == 403
    assert loopback.zones == beyond.zones == []


def test_the_page_itself_can_edit_also_behind_a_proxy_that_adds_tls(loopback: Served) -> None:
    host = loopback.page.url.split("/")[2]
    assert loopback.edit(Origin=f"http://{host}") == 200
    assert loopback.edit(Origin=f"https://{host}") == 200


def test_what_a_form_of_another_page_could_send_is_refused(loopback: Served) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert loopback.ask("rules.json", b"{}", Content_Type=kind)[0] == 415
    assert loopback.ask("rules.json", b"{}", **{"Content_Type": "application/json", "Host": "evil.example"})[0] == 403


def test_large_torn_and_nested_bodies_are_refused_and_the_page_goes_on(loopback: Served) -> None:
    for body, code in (
        (b" " * (MAX_BODY + 1), 413),
        (b"{", 400),
        (b"\xff\xfe\xfa", 400),
        (b"[" * 100_000, 400),
        (b'{"revision": 1}', 422),
    ):
        assert loopback.ask("rules.json", body, Content_Type="application/json")[0] == code, body[:20]
    assert loopback.ask("rules.json", b"{}", Content_Type="application/json; charset=nonsense")[0] == 422
    assert loopback.edit() == 200


def test_every_answer_forbids_foreign_scripts_frames_and_requests(beyond: Served, tmp_path: Path) -> None:
    for path in ("login", "rules.json", "nowhere"):
        headers = beyond.ask(path)[1].headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


def test_nothing_the_page_is_made_of_comes_from_elsewhere() -> None:
    from edge_runtime.web.server import STATIC

    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "//cdn" not in text, file.name
