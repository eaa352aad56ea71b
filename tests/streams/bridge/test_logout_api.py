"""The endpoint for logouts: each attack has its answer, nothing of a token is told, and a flood has its bounds."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.types import ASGIApp

from schemas import limits
from streams.bridge import logout_api, logout_desk
from streams.bridge.logout_api import BODY_BYTES_MAX, FORM, LogoutAPI
from streams.bridge.logout_serving import SHARE, frugal_loop
from streams.http import SECURITY_HEADERS, door_of
from tests.identity_tokens.minting import (
    ISSUER,
    NOW_S,
    STRANGER,
    compact,
    header,
    logout_claims,
    logout_token,
    token,
)
from tests.streams.bridge.logouts import PATH, Clock, Heard

OTHERS = "https://login.other.example"


def post(
    body: str | bytes, *, heard: Heard | None = None, path: str = PATH, media: str = FORM, app: ASGIApp | None = None
) -> httpx.Response:
    world = heard or Heard()
    served = app or door_of(LogoutAPI(world.voices, world, clock_ms=Clock()).front())

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(path, content=body, headers={"Content-Type": media})

    return asyncio.run(ask())


def form(text: str) -> str:
    return urlencode({"logout_token": text})


def test_a_logout_is_answered_with_nothing_that_may_be_kept() -> None:
    """2.8: 200, and no cache."""
    heard = Heard()
    answer = post(form(logout_token()), heard=heard, media=f"{FORM}; charset=UTF-8")

    assert (answer.status_code, answer.content, len(heard.said)) == (200, b"", 2)
    assert answer.headers["cache-control"] == SECURITY_HEADERS["Cache-Control"] == "no-store"


def test_other_fields_of_the_form_are_ignored() -> None:
    assert post(f"a=1&{form(logout_token())}&logout_hint=x").status_code == 200


ATTACKS = {
    "an issuer that is not trusted": (logout_token(iss=OTHERS), "LOGIN_ISSUER"),
    "expired": (logout_token(exp=NOW_S), "TOKEN_EXPIRED"),
    "old": (logout_token(iat=NOW_S - 300, exp=NOW_S + 9999), "TOKEN_TOO_OLD"),
    "with nonce": (logout_token(nonce="n"), "TOKEN_NONCE"),
    "an access token": (token(sid="s-1"), "TOKEN_NOT_LOGOUT"),
    "an identity token": (compact(header(typ="JWT"), logout_claims(nonce="n", events=None)), "TOKEN_NOT_LOGOUT"),
    "for another client": (logout_token(aud="another"), "TOKEN_AUDIENCE"),
    "a stranger's key": (compact(header(typ="logout+jwt"), logout_claims(), key=STRANGER), "TOKEN_SIGNATURE"),
    "an algorithm that is not trusted": (logout_token("RS256"), "TOKEN_ALGORITHM_FORBIDDEN"),
    "of no one": (compact(header(typ="logout+jwt"), {**logout_claims(), "sub": None}), "TOKEN_CLAIM_FORM"),
    "no token": ("", "TOKEN_NOT_COMPACT"),
    "a large one": ("a" * (limits.TOKEN_CHARS_MAX + 1), "TOKEN_TOO_LONG"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_refused_token_has_its_reason_and_is_quoted_nowhere(attack: str, caplog: pytest.LogCaptureFixture) -> None:
    text, reason = ATTACKS[attack]
    heard = Heard()
    with caplog.at_level(logging.DEBUG):
        answer = post(form(text), heard=heard)

    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (400, "LOGOUT_REFUSED", reason)
    assert (heard.said, heard.asked) == ([], [])
    assert reason in caplog.text
    told = answer.text + caplog.text
    assert not any(part in told for part in text.split(".") if len(part) > 8)
    assert not any(word in told for word in ("alice", "s-1", OTHERS, "e-1"))


def test_a_token_of_another_tenants_provider_ends_nothing_here() -> None:
    """Both providers are trusted, each by its own tenant."""
    heard = Heard(trusted={OTHERS: Heard().trusted[ISSUER]})

    assert post(form(logout_token()), heard=heard).json()["reason"] == "LOGIN_ISSUER"
    assert post(form(logout_token(iss=OTHERS)), heard=heard).status_code == 200
    assert {one.body.issuer for one in heard.said} == {OTHERS}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"logout_token",
        form(logout_token()).encode() * 2,
        f"{form(logout_token())}&{form(logout_token(jti='2'))}".encode(),
        f"{form(logout_token())}&logout_token=".encode(),
        f"{form(logout_token())}&logout%5Ftoken=x".encode(),
        b"&".join([b"a=1"] * 20 + [form(logout_token()).encode()]),
        b"logout_token=\xff",
        json.dumps({"logout_token": logout_token()}).encode(),
    ],
)
def test_a_form_has_exactly_one_token(body: bytes) -> None:
    heard = Heard()
    answer = post(body, heard=heard)

    assert answer.status_code == 400
    assert answer.json()["code"] in {"FORM_MALFORMED", "LOGOUT_REFUSED"}
    assert heard.said == []


def test_two_tokens_are_refused_as_a_form_even_if_both_are_good() -> None:
    assert post(f"{form(logout_token())}&{form(logout_token(jti='2'))}").json()["code"] == "FORM_MALFORMED"


@pytest.mark.parametrize("media", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_another_type_is_refused(media: str) -> None:
    assert post(form(logout_token()), media=media).json()["code"] == "CONTENT_TYPE_REFUSED"


def test_a_body_beyond_its_bound_is_refused() -> None:
    assert post(b"a=" + b"x" * BODY_BYTES_MAX).json()["code"] == "BODY_TOO_LARGE"


def test_a_tenant_that_is_unknown_is_answered_as_an_unknown_path_is() -> None:
    found = [post(form(logout_token()), path=path) for path in ("/v1/tenants/other/backchannel-logout", "/v2/nothing")]

    assert [one.status_code for one in found] == [404, 404]
    assert found[0].content == found[1].content


def test_an_answer_that_does_not_come_is_a_503_with_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logout_desk, "ANSWER_SECONDS", 0.05)
    answer = post(form(logout_token()), heard=Heard(is_silent=True))

    assert (answer.status_code, answer.json()["code"]) == (503, "LOGOUT_UNANSWERED")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_flood_is_told_to_the_process_log_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    app = door_of(LogoutAPI(heard.voices, heard, clock_ms=Clock()).front())
    for _ in range(20):
        post(form(logout_token(nonce="n")), app=app)

    assert len([one for one in caplog.records if one.name == "streams.bridge.logout_api"]) == 1


def test_bodies_that_trickle_give_way_to_an_honest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many of them as may be read at a time, the next request is answered all the same."""
    monkeypatch.setattr(logout_api, "READING_MAX", 4)
    heard = Heard()
    app = door_of(LogoutAPI(heard.voices, heard, clock_ms=Clock()).front())
    body = form(logout_token()).encode()

    async def ask(*, trickles: bool) -> int:
        status: list[int] = []

        async def receive() -> dict[str, Any]:
            if trickles:
                await asyncio.sleep(0.005)
                return {"type": "http.request", "body": b"a", "more_body": True}
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        headers = [(b"host", b"127.0.0.1"), (b"content-type", FORM.encode())]
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": PATH, "raw_path": PATH.encode(),
            "query_string": b"", "headers": headers, "root_path": "", "scheme": "http",
        }  # fmt: skip
        await app(scope, receive, send)
        return status[0]

    async def run() -> tuple[list[int], list[int]]:
        slow = [asyncio.ensure_future(ask(trickles=True)) for _ in range(4)]
        await asyncio.sleep(0.05)
        honest = [await ask(trickles=False) for _ in range(2)]
        ended = [one.result() for one in slow if one.done()]
        for one in slow:
            one.cancel()
        return honest, ended

    honest, ended = asyncio.run(run())
    assert (honest, ended[:1]) == ([200, 200], [408])
    assert len(ended) < 4


def test_the_loop_of_the_endpoint_has_its_share_of_a_core_and_no_more() -> None:
    """Whatever it is asked to do: here it would work without a pause."""

    async def work() -> float:
        begun, used = time.monotonic(), time.thread_time()
        while time.monotonic() < begun + 0.6:
            os.urandom(1 << 12)
            await asyncio.sleep(0)
        return (time.thread_time() - used) / (time.monotonic() - begun)

    with asyncio.Runner(loop_factory=frugal_loop) as runner:
        assert runner.run(work()) <= SHARE + 0.1
