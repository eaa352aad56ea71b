"""A client that has lost a stream comes back for the rest of it: its own, for a while, and within bounds."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp.server.streamable_http import EventMessage

from macaw.gateway import stream_events
from macaw.gateway.serving import HTTPFront, _application
from macaw.gateway.stream_events import KEPT_SECONDS, EventShelf, SessionEvents
from tests.gateway.open_log import before
from tests.gateway.test_rooms import HELLO, Tokens


def note(text: str) -> types.JSONRPCNotification:
    return types.JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={"data": text})


def answer(number: int) -> types.JSONRPCResponse:
    return types.JSONRPCResponse(jsonrpc="2.0", id=number, result={})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def replayed(store: SessionEvents, last: str) -> tuple[list[str], str | None]:
    found: list[str] = []

    async def send(event: EventMessage) -> None:
        found.append(str(event.event_id))

    return found, await store.replay_events_after(last, send)


def test_a_stream_goes_on_where_it_was_lost_and_ends_with_its_answer() -> None:
    async def play() -> None:
        store = EventShelf().session("ann")
        first = await store.store_event("1", None)
        other = await store.store_event("2", None)
        assert await replayed(store, first) == ([], "1")
        told, last = await store.store_event("1", note("a")), await store.store_event("1", answer(1))
        later = await store.store_event("2", note("b"))
        assert await replayed(store, first) == ([told, last], None)
        assert await replayed(store, last) == ([], None)
        assert await replayed(store, other) == ([later], "2")
        assert await replayed(store, "99") == ([], None)

    asyncio.run(play())


def test_a_store_knows_no_event_of_another_session() -> None:
    async def play() -> None:
        shelf = EventShelf()
        ann, eve = shelf.session("ann"), shelf.session("eve")
        first = await ann.store_event("1", None)
        await ann.store_event("1", note("mine"))
        assert await replayed(eve, first) == ([], None)

    asyncio.run(play())


def test_events_are_forgotten_by_age_also_those_of_a_silent_session() -> None:
    async def play() -> None:
        clock = Clock()
        shelf = EventShelf(clock)
        silent, busy = shelf.session("ann"), shelf.session("ann")
        first = await silent.store_event("1", None)
        await silent.store_event("1", note("a"))
        clock.now += KEPT_SECONDS
        assert await replayed(silent, first) == ([], None)
        await silent.store_event("1", note("b"))
        clock.now += KEPT_SECONDS
        await busy.store_event("1", None)
        assert shelf.of_user == {"ann": shelf.size}
        assert len(silent._held.events) == 0

    asyncio.run(play())


@pytest.mark.parametrize(
    ("bound", "most"),
    [("EVENTS_MAX", 5), ("SESSION_BYTES_MAX", 4000), ("USER_BYTES_MAX", 4000), ("TOTAL_BYTES_MAX", 4000)],
)
def test_a_session_without_room_drops_its_own_oldest(monkeypatch: pytest.MonkeyPatch, bound: str, most: int) -> None:
    monkeypatch.setattr(stream_events, bound, most)

    async def play() -> None:
        shelf = EventShelf()
        quiet, flood = shelf.session("ann"), shelf.session("ann")
        kept = await quiet.store_event("1", None)
        mine = await quiet.store_event("1", note("a"))
        ids = [await flood.store_event("1", note("x" * 400)) for _ in range(100)]
        await flood.store_event("1", note("x" * 9000))
        assert len(flood._held.events) <= 10
        assert shelf.size <= most or bound == "EVENTS_MAX"
        assert await replayed(quiet, kept) == ([mine], "1")
        assert await replayed(flood, ids[0]) == ([], None)

    asyncio.run(play())


def test_the_bytes_of_a_session_go_with_it() -> None:
    async def play() -> None:
        shelf = EventShelf()
        store = shelf.session("ann")
        await store.store_event("1", note("a"))
        assert shelf.size > 0
        del store
        gc.collect()
        assert (shelf.size, dict(shelf.of_user), shelf._held) == (0, {}, set())

    asyncio.run(play())


def test_only_the_session_and_the_user_that_lost_a_stream_get_it_again(tmp_path: Path) -> None:
    """Through the SDK's own transport, as `serve_http` builds it."""

    async def play() -> None:
        async with before(tmp_path, "fine") as (gateway, front):
            await gateway.list_tools()
            settings = HTTPFront(issuer="http://idp.example", resource="http://127.0.0.1:9/mcp")
            app = _application(front, settings, Tokens())  # type: ignore[arg-type]
            transport = httpx2.ASGITransport(app=app)
            async with (
                app.inner.router.lifespan_context(app.inner),
                httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9") as http,
            ):

                async def ask(user: str, body: Any, **headers: str) -> httpx2.Response:
                    sent = {
                        "accept": "application/json, text/event-stream",
                        "authorization": f"Bearer {user}",
                        "mcp-protocol-version": "2025-11-25",
                        **headers,
                    }
                    return await http.request("GET" if body is None else "POST", "/mcp", json=body, headers=sent)

                async def session_of(user: str) -> dict[str, str]:
                    opened = await ask(user, HELLO)
                    mine = {"mcp-session-id": opened.headers["mcp-session-id"]}
                    await ask(user, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **mine)
                    return mine

                ann, eve = await session_of("ann"), await session_of("eve")
                listed = await ask("ann", {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}, **ann)
                begun = next(line for line in listed.text.splitlines() if line.startswith("id: "))[4:]
                again = await ask("ann", None, **ann, **{"last-event-id": begun})
                assert again.status_code == 200
                assert '"id":7' in again.text
                assert '"tools"' in again.text
                assert (await ask("eve", None, **ann, **{"last-event-id": begun})).status_code == 404
                assert '"id":7' not in (await ask("eve", None, **eve, **{"last-event-id": begun})).text

    asyncio.run(asyncio.wait_for(play(), 120))
