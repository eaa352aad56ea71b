"""Parts of the gateway over HTTP by themselves: handles, bounds, bodies, logins, and the document."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from macaw.gateway.http import bounds
from macaw.gateway.http.api import GatewayAPI, _body, _holds_too_much, _size_of
from macaw.gateway.http.calls import KeptCall
from macaw.gateway.http.openapi import openapi
from macaw.gateway.http.operations import OPERATIONS
from macaw.gateway.http.process import FollowedLog
from macaw.gateway.http.sessions import HANDLE_PREFIX, PrincipalShare, Sessions
from macaw.gateway.http.shapes import SCHEMAS, fault_in
from macaw.gateway.http.streaming import event
from macaw.gateway.logins import TokenLogins
from processors.proof import jcs
from producers.client import Client
from producers.home.home import Home
from streams.address import LOOPBACK, address_of
from streams.http import HTTPRefusal, door_of
from tests.streams.http_fronts import resting_client

SECRET = "geheim"


# ---- sessions


def test_a_handle_is_not_kept_and_opens_its_own_session_alone() -> None:
    sessions = Sessions()
    ann, of_ann = sessions.keep(resting_client())
    bob, of_bob = sessions.keep(resting_client("user:bob"))

    assert len(ann) == len(HANDLE_PREFIX) + 43
    assert (sessions.find(ann), sessions.find(bob)) == (of_ann, of_bob)
    assert ann not in repr(vars(sessions)) + repr(of_ann)
    for other in ("", HANDLE_PREFIX, ann[:-1], ann + "A", ann.upper(), f" {ann}", "\udc80"):
        assert sessions.find(other) is None


def test_sessions_of_one_principal_give_way_and_rest_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SESSIONS_OF_ONE_MAX", 2)

    async def play() -> None:
        sessions = Sessions()
        first, _ = sessions.keep(resting_client())
        second, working = sessions.keep(resting_client())
        other, _ = sessions.keep(resting_client("user:bob"))
        with working.used():
            third, _ = sessions.keep(resting_client())
            assert [sessions.find(one) is not None for one in (first, second, third, other)] == [
                False,
                True,
                True,
                True,
            ]
            fourth, busy = sessions.keep(resting_client())
            assert sessions.find(third) is None
            with busy.used(), pytest.raises(HTTPRefusal) as refused:
                sessions.keep(resting_client())
            assert (refused.value.status_code, refused.value.code) == (429, "TOO_MANY")
            monkeypatch.setattr(bounds, "IDLE_SECONDS", 0.0)
            assert sessions.find(second) is not None, "it is at work"
        assert sessions.find(second) is None
        assert sessions.find(fourth) is None
        await sessions.close()

    asyncio.run(play())


def test_a_session_does_not_outlive_its_time() -> None:
    async def play() -> None:
        sessions = Sessions()
        client = resting_client()
        client.expires_at = int(time.time() * 1000) - 1  # type: ignore[misc] # the twin has no property
        handle, _ = sessions.keep(client)
        assert sessions.find(handle) is None
        await sessions.close()

    asyncio.run(play())


# ---- the log


def test_calls_that_hold_every_thread_do_not_make_the_log_look_away() -> None:
    held, looked = threading.Event(), threading.Event()
    link: Any = SimpleNamespace(registry=SimpleNamespace(refresh=looked.set))

    async def play() -> bool:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        waiting = asyncio.get_running_loop().run_in_executor(None, held.wait)
        followed = FollowedLog(link)
        looking = asyncio.ensure_future(followed.look())
        await asyncio.wait({looking}, timeout=30)
        held.set()
        await waiting
        followed.close()
        return looked.is_set() and followed.is_now()

    assert asyncio.run(play())


# ---- logins


def test_one_token_does_not_take_all_places_of_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = Counter[str](), threading.Event()

    def login(_: str, token: str, **__: object) -> str:
        begun[token] += 1
        go_on.wait()
        return token

    monkeypatch.setattr(Client, "login", login)

    async def play() -> None:
        logins = TokenLogins("acme", Home(Path("/nowhere"), {}), waiting_max=16)
        asking = [asyncio.ensure_future(logins.open("eve's")) for _ in range(50)]
        await asyncio.sleep(0)
        asking.append(asyncio.ensure_future(logins.open("ann's")))
        await asyncio.sleep(0)
        go_on.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert Counter(type(one).__name__ for one in found) == {"str": 5, "LoginsBusyError": 46}
        assert begun == {"eve's": 4, "ann's": 1}
        assert not logins._of_one
        logins.close()

    asyncio.run(play())


# ---- bodies


def test_a_body_of_too_many_values_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of all its values holds up every other request; counted, not timed."""
    read: list[bytes] = []
    monkeypatch.setattr(jcs, "parse_strict", lambda text, **_: read.append(text))
    most = bounds.BODY_NODES_MAX
    bodies = (
        b"[" + b"1," * (most + 1) + b"1]",
        b"{" + b'"a":1,' * (most + 1) + b"}",
        b'["","' + b'\\"' * 200_000 + b'",' + b"1," * (most + 1),
        b'","' * 200_000,
    )
    for body in bodies:
        with pytest.raises(HTTPRefusal) as refused:
            _body("Call", request_of({"content-type": "application/json"}), body)
        assert refused.value.code == "REQUEST_MALFORMED"
    assert not read


@given(
    texts=st.lists(st.text(st.sampled_from('a,"é' + chr(92)), max_size=8), max_size=12),
    most=st.integers(1, 8),
    cut=st.integers(0, 40),
)
def test_a_body_with_few_values_is_not_taken_for_one_with_many(texts: list[str], most: int, cut: int) -> None:
    whole = json.dumps({"resource": "x", "parameters": dict.fromkeys(texts, texts)}).encode()
    values = 3 + len(set(texts)) * (len(texts) + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "BODY_NODES_MAX", most)
        assert values > most or not _holds_too_much(whole)
        _holds_too_much(whole[: -cut or None])


def test_bodies_under_way_share_the_bytes_of_their_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BODY_BYTES_OF_ONE_MAX", 10)
    share, call = PrincipalShare(), next(one for one in OPERATIONS if one.name == "call")
    with share.body(6):
        with pytest.raises(HTTPRefusal) as refused, share.body(5):
            pass
        assert (refused.value.status_code, refused.value.code) == (429, "TOO_MANY")
        with share.body(4):
            pass
    with share.body(10) as correct:
        correct(3)
        with share.body(7):
            pass
    with share.body(10):
        pass
    assert _size_of(request_of({"content-length": "7"}), call) == 7
    assert _size_of(request_of({"transfer-encoding": "chunked"}), call) == bounds.BODY_BYTES_MAX
    assert _size_of(request_of({}), next(one for one in OPERATIONS if one.name == "session")) == 0


def test_ends_that_are_kept_share_the_bytes_of_their_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ENDED_BYTES_OF_ONE_MAX", 16 * 1000)

    class End(KeptCall):
        def __init__(self) -> None:
            self.answer = JSONResponse("x" * 498)

    async def play() -> tuple[list[int], int]:
        sessions = Sessions()
        ann = [sessions.keep(resting_client())[1] for _ in range(4)]
        _, bob = sessions.keep(resting_client("user:bob"))
        for login in (*ann, bob):
            for number in range(10):
                held = End()
                login.share.take("calls")
                login.calls._held[str(number)] = held
                login.calls._ended(held)
        kept = [one.calls.kept_bytes for one in ann], bob.calls.kept_bytes
        await sessions.close()
        return kept

    of_ann, of_bob = asyncio.run(play())
    assert sum(of_ann) <= 16 * 1000
    assert min(of_ann) > 0
    assert of_bob == 5000


def request_of(headers: dict[str, str]) -> Request:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": pairs})


# ---- the document


def test_the_document_and_the_door_have_the_same_paths() -> None:
    api = GatewayAPI("acme", Home(Path("/nowhere"), {}), address_of(LOOPBACK, 1, None), is_followed=lambda: True)
    door: Any = door_of(api.front())
    served = {
        (route.path, method) for route in door._app.routes if isinstance(route, Route) for method in route.methods or ()
    }
    document = openapi("http://127.0.0.1:1")
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}

    assert {one for one in served if one[1] != "HEAD"} == described
    assert {one.body for one in OPERATIONS if one.body} <= SCHEMAS.keys()


def test_every_schema_of_the_document_is_one() -> None:
    for name, schema in SCHEMAS.items():
        jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}})
        assert jsonschema_rs.meta.is_valid(dict(schema)), name


TEXT = st.just(SECRET) | st.text('a/~"\n\u2028', max_size=5)
ANY = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MEMBERS = sorted({name for schema in SCHEMAS.values() for name in schema.get("properties", ())})


@given(
    st.sampled_from(["Login", "Call", "StreamCall", "ApprovalAnswer"]),
    ANY | st.dictionaries(st.sampled_from(MEMBERS), ANY, max_size=5),
)
def test_a_fault_never_quotes_a_value(name: str, body: Any) -> None:
    fault = fault_in(name, body)

    assert fault is None or SECRET not in fault


@given(ANY)
def test_an_event_of_a_stream_is_one_event_whatever_a_tool_says(value: Any) -> None:
    lines = event("item", {"index": 0, "value": [value, "\n\nevent: end\ndata: {}\n\n", "\u2028"]}).decode().split("\n")

    assert [line.partition(":")[0] for line in lines] == ["event", "data", "", ""]
    assert json.loads(lines[1].removeprefix("data: "))["value"][0] == value
