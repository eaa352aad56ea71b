"""The browser's way back: one answer with the right state, from the right issuer; everything else is turned away."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from producers.identity import Login, LoginCode, LoginError, LoginSettingsError
from producers.identity.browser import open_in_browser
from producers.identity.loopback import CONNECTIONS_MAX, HEAD_BYTES_MAX, LoopbackRedirect
from tests.identity_login.telling import Answer, Told, telling, tokens, unsigned_token
from tests.waiting import PATIENCE_SECONDS

Asked = dict[str, str]
CODE = "code-0123456789abcdef"


def get(url: str) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
    with contextlib.closing(connection), connection.getresponse() as answer:
        return answer.status, answer.read().decode()


def back(asked: Asked, **changed: str | None) -> str:
    usual = {"code": CODE, "state": asked["state"], **changed}
    return f"{asked['redirect_uri']}?{urlencode({name: v for name, v in usual.items() if v is not None})}"


class Visitor:
    """A browser that does as a test says, on a thread of its own."""

    def __init__(self, act: Callable[[Asked], object]) -> None:
        self.act, self.asked, self.thread = act, Asked(), threading.Thread()

    def __call__(self, url: str) -> None:
        self.asked = dict(parse_qsl(urlsplit(url).query))
        self.thread = threading.Thread(target=self.act, args=(self.asked,))
        self.thread.start()


def logged_in(told: Told, act: Callable[[Asked], object], **options: object) -> tuple[Login, Asked]:
    visitor = Visitor(act)
    try:
        return told.provider().login_browser(visitor, **{"seconds": 10, **options}), visitor.asked  # type: ignore[arg-type]
    finally:
        if visitor.thread.ident is not None:
            visitor.thread.join()


def refusal(act: Callable[[Asked], object], *answers: Answer, **metadata: object) -> LoginError:
    with telling({"/token": list(answers) or [tokens()]}, **metadata) as told, pytest.raises(LoginError) as raised:
        logged_in(told, act, seconds=1)
    assert CODE not in str(raised.value)
    return raised.value


def test_the_code_is_exchanged_with_the_verifier_of_its_challenge() -> None:
    """RFC 7636 4.6. The question has no secret; the client's comes with the code."""
    with telling({"/token": [tokens()]}) as told:
        _, asked = logged_in(told, lambda asked: get(back(asked)))
        form = told.forms("/token")[0]
    digest = sha256(form["code_verifier"].encode()).digest()

    assert asked["code_challenge"] == urlsafe_b64encode(digest).decode().rstrip("=")
    assert (form["code"], form["redirect_uri"]) == (CODE, asked["redirect_uri"])
    assert form["code_verifier"] not in str(asked)


def test_requests_without_the_right_state_end_nothing() -> None:
    """A page in the same browser, or another user of this machine, may send any request here (login CSRF)."""
    pages: list[tuple[int, str]] = []

    def act(asked: Asked) -> None:
        wrong = [back(asked, state=None), back(asked, state="x"), back(asked, state=asked["state"][:-1])]
        wrong += [
            back(asked) + f"&state={asked['state']}",
            asked["redirect_uri"],
            back(asked, state="FF").replace("=FF", "=%ff"),
        ]
        wrong += [back(asked).replace("/callback", "/favicon.ico"), back(asked) + "&a" * 64]
        pages.extend(get(url) for url in [*wrong, back(asked)])

    with telling({"/token": [tokens()]}) as told:
        login, _ = logged_in(told, act)
        codes = [form["code"] for form in told.forms("/token")]

    assert login.access_token == "an-opaque-token"
    assert [status for status, _ in pages] == [404] * 8 + [200]
    assert "You may close this window" in pages[-1][1]
    assert codes == [CODE]


def test_silent_and_endless_connections_do_not_stand_in_the_way() -> None:
    """Browsers open connections in advance; a stranger may open many, or send a head without an end."""

    def act(asked: Asked) -> None:
        port = int(urlsplit(asked["redirect_uri"]).port or 0)
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS_MAX + 4)]
        with contextlib.suppress(OSError):
            opened[-1].sendall(b"GET /" + b"a" * (HEAD_BYTES_MAX + 1))
        opened[-2].sendall(b"POST /callback HTTP/1.1\r\n\r\n")
        for one in (opened[0], opened[-1], opened[-2]):  # the oldest, which made room; too long; another method
            one.settimeout(3)
            with contextlib.suppress(ConnectionResetError):
                answers.append(one.recv(64)[:12])
        get(back(asked))
        for one in opened:
            one.close()

    answers: list[bytes] = []

    began = time.monotonic()
    with telling({"/token": [tokens()]}) as told:
        logged_in(told, act)
    assert time.monotonic() - began < 3
    assert set(answers) == {b"", b"HTTP/1.1 404"}


def test_a_connection_that_says_nothing_is_closed_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.identity.loopback.HEAD_SECONDS", 0.1)

    def act(asked: Asked) -> None:
        with socket.create_connection(("127.0.0.1", int(urlsplit(asked["redirect_uri"]).port or 0)), 5) as silent:
            assert silent.recv(1) == b""
        get(back(asked))

    with telling({"/token": [tokens()]}) as told:
        assert logged_in(told, act)[0].access_token == "an-opaque-token"


def test_a_refusal_of_the_person_is_told_without_the_words_of_a_stranger() -> None:
    found = refusal(lambda asked: get(back(asked, code=None, error="access_denied", error_description="\x1b[31mno")))

    assert found.code is LoginCode.ACCESS_REFUSED
    assert "(\u005b31mno)" in str(found)


@pytest.mark.parametrize("offered", [{}, {"authorization_response_iss_parameter_supported": True}])
def test_an_answer_of_another_provider_is_a_forgery(offered: dict[str, object]) -> None:
    """RFC 9207: a mix-up would send the code of one provider to another."""
    found = refusal(lambda asked: get(back(asked, iss="https://evil.example")), **offered)

    assert found.code is LoginCode.ANSWER_FORGED


def test_a_provider_that_promises_its_issuer_sends_it() -> None:
    promised = {"authorization_response_iss_parameter_supported": True}
    assert refusal(lambda asked: get(back(asked)), **promised).code is LoginCode.ANSWER_FORGED
    with telling({"/token": [tokens()]}, **promised) as told:
        logged_in(told, lambda asked: get(back(asked, iss=told.address)))


@pytest.mark.parametrize("more", ["&code=other", "&iss=a&iss=b"])
def test_a_parameter_that_stands_twice_is_a_forgery(more: str) -> None:
    assert refusal(lambda asked: get(back(asked) + more)).code is LoginCode.ANSWER_FORGED


@pytest.mark.parametrize("code", [None, "", "c" * 5000])
def test_an_answer_without_a_usable_code_is_a_forgery(code: str | None) -> None:
    assert refusal(lambda asked: get(back(asked, code=code))).code is LoginCode.ANSWER_FORGED


def test_an_id_token_of_another_login_is_a_forgery() -> None:
    """OpenID Connect Core 3.1.3.7: a stolen code brings the nonce of the login that it was stolen from."""
    with telling() as told:
        stolen = unsigned_token(iss=told.address, nonce="of another login")
        told.answers["/token"] = [tokens(id_token=stolen)]
        with pytest.raises(LoginError) as raised:
            logged_in(told, lambda asked: get(back(asked)))
    assert raised.value.code is LoginCode.ANSWER_FORGED


def test_an_id_token_that_nobody_can_read_is_not_handed_on() -> None:
    with telling({"/token": [tokens(id_token="a.b.c.d.e")]}) as told:
        login, _ = logged_in(told, lambda asked: get(back(asked)))

    assert "id_token" not in login


def test_an_id_token_of_this_login_is_handed_on() -> None:
    with telling() as told:
        visitor: list[Asked] = []

        def answer(_: object) -> tuple[int, object]:
            return tokens(id_token=unsigned_token(iss=told.address, nonce=visitor[0]["nonce"], sub="alice"))

        def act(asked: Asked) -> None:
            visitor.append(asked)
            get(back(asked))

        told.answers["/token"] = [answer]
        login, _ = logged_in(told, act)

    assert login.principal.user_id == "alice"  # the access token is opaque


def test_nobody_comes_and_the_wait_ends() -> None:
    with telling() as told, pytest.raises(LoginError) as raised:
        logged_in(told, lambda _: None, seconds=0.2)

    assert raised.value.code is LoginCode.LOGIN_TIMED_OUT


def test_a_program_cancels_the_wait() -> None:
    stop = threading.Event()
    with telling() as told, pytest.raises(LoginError) as raised:
        logged_in(told, lambda _: stop.set(), stop=stop)

    assert raised.value.code is LoginCode.LOGIN_CANCELLED


def test_where_no_browser_opens_the_other_flow_is_named() -> None:
    with telling() as told, pytest.raises(LoginError, match="login_device"):
        told.provider().login_browser(lambda _: False)


def test_a_browser_gets_the_address_and_writes_nothing_on_our_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program may speak a protocol there, as servers of tools do."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho noise\necho noise >&2\nprintf %s "$1" > {tmp_path}/url\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    url = "https://login.example.com/authorize?state=a&nonce=b%20c"

    assert open_in_browser(url)
    assert (tmp_path / "url").read_text() == url
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    assert not open_in_browser(url)


@pytest.mark.parametrize(
    "metadata",
    [
        {"authorization_endpoint": None},
        {"grant_types_supported": ["password"]},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_a_provider_without_the_flow_or_without_s256_is_not_visited(metadata: dict[str, object]) -> None:
    urls: list[str] = []
    with telling(**metadata) as told, pytest.raises(LoginError) as raised:
        told.provider().login_browser(urls.append)

    assert raised.value.code is LoginCode.FLOW_NOT_OFFERED
    assert urls == []


def test_an_authorization_endpoint_with_a_query_keeps_it() -> None:
    """RFC 6749 3.1."""
    urls: list[str] = []
    with telling() as told:
        told.metadata["authorization_endpoint"] = f"{told.address}/authorize?tenant=7"
        with pytest.raises(LoginError):
            told.provider().login_browser(lambda url: urls.append(url) or False)

    assert parse_qs(urlsplit(urls[0]).query)["tenant"] == ["7"]


def test_a_port_and_a_path_that_were_registered_can_be_named() -> None:
    with LoopbackRedirect("/cb") as first:
        port = int(urlsplit(first.redirect_uri).port or 0)
        with pytest.raises(LoginSettingsError, match=f"port {port} "):
            LoopbackRedirect("/cb", port)
    with LoopbackRedirect("/cb", port) as again:
        assert again.redirect_uri == f"http://127.0.0.1:{port}/cb"
