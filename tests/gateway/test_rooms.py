"""One user's flood at the gateway's door is that user's alone: counted, not timed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from mcp.server.auth.provider import AccessToken

from macaw.gateway import front as fronts
from macaw.gateway import rooms
from macaw.gateway.rooms import OF_A_USER, UserRoom, UserRooms
from macaw.gateway.serving import HTTPFront, _application
from tests.gateway.open_log import before, caller_of, settled

SMALL = UserRoom(sessions=3, requests=4, streams=2, body_bytes=1000)
POST, GET = ("POST", ()), ("GET", ())
LISTEN = ("POST", ((b"mcp-method", b"subscriptions/listen"),))


class Hall:
    """An application that holds each request until it is told to answer, and counts those that came in by user."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.end = asyncio.Event()
        self.door = UserRooms(self._serve, SMALL, lambda scope: scope["user"])
        self.answers: list[tuple[str, int, dict[str, str]]] = []

    async def _serve(self, scope: Any, _: Any, send: Any) -> None:
        self.held[scope["user"]] += 1
        await self.end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, user: str, kind: tuple[str, Any], *parts: bytes) -> None:
        method = "subscriptions/listen" if kind is LISTEN else "tools/call"
        waiting = list(parts or (json.dumps({"id": 1, "method": method}).encode(),))

        async def receive() -> Any:
            part = waiting.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = {name.decode(): value.decode() for name, value in message["headers"]}
                self.answers.append((user, message["status"], headers))

        scope = {"type": "http", "method": kind[0], "headers": list(kind[1]), "user": user}
        await self.door(scope, receive, send)


def played(play: Callable[[Hall, Callable[..., None]], Any]) -> None:
    async def run() -> None:
        hall, tasks = Hall(), []
        await play(hall, lambda *of: tasks.append(asyncio.ensure_future(hall.ask(*of))))
        hall.end.set()
        await asyncio.gather(*tasks)
        counted = (hall.door._requests, hall.door._streams, hall.door._arriving, hall.door._messages)
        assert not any((*counted, hall.door._bytes)), "what was counted is given back"

    asyncio.run(run())


@pytest.mark.parametrize(("kind", "most"), [(POST, 4), (GET, 2), (LISTEN, 2)])
def test_a_flood_of_one_user_leaves_the_others_their_room(kind: Any, most: int) -> None:
    async def play(hall: Hall, ask: Callable[..., None]) -> None:
        for _ in range(50):
            ask("eve", kind)
        for _ in range(most):
            ask("ann", kind)
        await settled()
        assert hall.held == {"eve": most, "ann": most}
        assert Counter((user, status) for user, status, _ in hall.answers) == {("eve", 429): 50 - most}
        assert all(headers["retry-after"] == "1" for _, _, headers in hall.answers)

    played(play)


@pytest.mark.parametrize("message", [b'{"id": 1, "result": {}}', b'{"method": "notifications/cancelled"}'])
def test_a_full_room_takes_the_answers_that_its_calls_wait_for(message: bytes) -> None:
    async def play(hall: Hall, ask: Callable[..., None]) -> None:
        for _ in range(4):
            ask("ann", POST)
        await settled()
        for _ in range(6):
            ask("ann", POST, message)
        ask("ann", POST, b'{"id":1,"method":"a"}')
        ask("ann", POST, b"[")
        await settled()
        assert hall.held == {"ann": 4 + 4}
        assert [status for _, status, _ in hall.answers] == [429] * 4

    played(play)


@pytest.mark.parametrize(
    "body", [b'{"id": 1, "method": "tools/call"}', b"[{", b'"subscriptions/listen"', b"[]", b"\xff"]
)
def test_a_call_that_names_itself_a_stream_takes_the_room_of_a_call(body: bytes) -> None:
    async def play(hall: Hall, ask: Callable[..., None]) -> None:
        for _ in range(20):
            ask("eve", LISTEN, body)
        await settled()
        assert hall.held == {"eve": SMALL.requests}
        assert not hall.door._streams

    played(play)
    assert not rooms._listens(b"[" * 100_000)


def test_calls_and_streams_have_rooms_of_their_own() -> None:
    async def play(hall: Hall, ask: Callable[..., None]) -> None:
        for kind in (GET, LISTEN, POST, POST, POST, POST):
            ask("ann", kind)
        await settled()
        assert hall.held == {"ann": 6}

    played(play)


def test_bodies_under_way_share_the_bytes_of_their_user() -> None:
    async def play(hall: Hall, ask: Callable[..., None]) -> None:
        ask("eve", POST, b"x" * 400, b"x" * 400)
        await settled()
        ask("eve", POST, b"x" * 100, b"x" * 200)
        ask("ann", POST, b"x" * 100)
        await settled()
        assert hall.held == {"eve": 1, "ann": 1}
        assert [(user, status) for user, status, _ in hall.answers] == [("eve", 429)]

    played(play)


def test_requests_that_are_cancelled_leave_no_one_in_the_room() -> None:
    async def run() -> None:
        hall = Hall()

        async def never() -> Any:
            await asyncio.sleep(0)
            part = b"" if hall.held else b"x"  # bodies that trickle, then stop
            if not part:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": part, "more_body": True}

        scope = {"type": "http", "method": "POST", "headers": [], "user": "eve"}
        asking = [asyncio.ensure_future(hall.ask("eve", kind)) for kind in (POST, GET, LISTEN) for _ in range(9)]
        await settled()
        asking += [asyncio.ensure_future(hall.door(scope, never, never)) for _ in range(3)]  # type: ignore[arg-type]
        await settled()
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        counted = (hall.door._requests, hall.door._streams, hall.door._arriving, hall.door._messages, hall.door._bytes)
        assert not any(counted)

    asyncio.run(run())


def test_a_body_that_does_not_come_or_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(rooms, "BODY_BYTES_MAX", 50)

    async def never() -> Any:
        await asyncio.Event().wait()

    async def run() -> None:
        hall, statuses = Hall(), []

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        await hall.door({"type": "http", "method": "POST", "headers": [], "user": "eve"}, never, send)
        assert statuses[0] == 408
        await hall.ask("eve", POST, b"x" * 51)
        assert hall.answers[0][1] == 413
        assert not hall.held

    asyncio.run(run())


class Tokens:
    """Takes the text of a token for its user."""

    async def verify_token(self, token: str) -> AccessToken:
        return AccessToken(token=token, client_id="c", scopes=[], subject=token, expires_at=None)


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
}


def test_one_user_does_not_take_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "OF_A_USER", replace(OF_A_USER, sessions=3))

    async def play() -> None:
        async with before(tmp_path, "fine") as (_, front):
            settings = HTTPFront(issuer="http://idp.example", resource="http://127.0.0.1:9/mcp")
            app = _application(front, settings, Tokens())  # type: ignore[arg-type]
            transport = httpx2.ASGITransport(app=app)
            async with (
                app.inner.router.lifespan_context(app.inner),
                httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9") as http,
            ):

                async def ask(user: str, method: str = "POST", **headers: str) -> httpx2.Response:
                    sent = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {user}"}
                    body = HELLO if method == "POST" else None
                    return await http.request(method, "/mcp", json=body, headers={**sent, **headers})

                opened = await asyncio.gather(*(ask("eve") for _ in range(20)))
                assert Counter(one.status_code for one in opened) == {200: 3, 503: 17}
                refused = next(one for one in opened if one.status_code == 503)
                assert refused.headers["retry-after"] == "60"
                assert refused.json()["error"]["message"] == "Too many open sessions"
                assert [(await ask("ann")).status_code for _ in range(4)] == [200, 200, 200, 503]
                session = next(one.headers["mcp-session-id"] for one in opened if one.status_code == 200)
                assert (await ask("ann", "DELETE", **{"mcp-session-id": session})).status_code == 404
                assert (await ask("eve", "DELETE", **{"mcp-session-id": session})).status_code == 200
                assert (await ask("eve")).status_code == 200

    asyncio.run(play())


def test_a_flood_of_questions_takes_the_place_of_the_same_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "ASKED_MAX", 4)

    async def play() -> None:
        async with before(tmp_path, "fine") as (_, front):
            ann, eve = caller_of("ann"), caller_of("eve")
            for at, caller in enumerate((ann, *(eve for _ in range(9)))):
                doing = asyncio.ensure_future(asyncio.sleep(0))
                front._open[str(at)] = fronts._Open(doing, SimpleNamespace(), caller)  # type: ignore[arg-type]
                front._drop_old()
            assert list(front._open) == ["0", "7", "8", "9"]

    asyncio.run(play())


def test_a_user_has_room_for_a_stream_in_each_session() -> None:
    assert OF_A_USER.streams >= OF_A_USER.sessions
