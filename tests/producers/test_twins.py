"""`AsyncClient` calls as `Client` does: each of its methods takes the same parameters as the method of that name."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from producers.client import AsyncBoundClient, AsyncClient, BoundClient, Client
from producers.client.calls import Invoking, parts_of
from producers.client.open_call import CallPatience, OpenCall, Waiting

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
CALLS = {
    "approve_all", "approve_attestation", "begin", "bind_to_user", "close", "connect", "deny_all", "deny_attestation",
    "finish", "invoke", "left", "list_attestations", "resume", "start", "submit",
}  # fmt: skip


def public(cls: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}


def function_of(member: Any) -> Any:
    return member.__func__ if isinstance(member, classmethod) else member


def test_it_has_what_waits_in_the_event_loop_and_nothing_else() -> None:
    """Everything else is the client's own, called in a thread, as `docs/tools.md` says."""
    assert set(public(AsyncClient)) == {*CALLS, "stream"}
    assert set(public(Client)) > CALLS
    assert "asyncio.to_thread(agent.client.delegate" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", sorted(CALLS))
def test_both_take_the_same(name: str) -> None:
    """Parameters, their kinds, defaults and annotations; a coroutine wherever there is something to wait for."""
    ours, theirs = public(Client)[name], public(AsyncClient)[name]
    assert type(ours) is type(theirs)
    if isinstance(ours, property):
        return
    check_alike(function_of(ours), function_of(theirs))


def test_both_stream_the_same() -> None:
    """A loop over items that waits in the thread, or in the event loop."""
    ours, theirs = Client.stream, AsyncClient.stream
    assert list(inspect.signature(theirs).parameters.values()) == list(inspect.signature(ours).parameters.values())
    assert inspect.isasyncgenfunction(theirs)


def check_alike(ours: Any, theirs: Any) -> None:
    assert list(inspect.signature(theirs).parameters.values()) == list(inspect.signature(ours).parameters.values())
    assert inspect.iscoroutinefunction(theirs)


def test_a_bound_client_has_the_calls_in_both() -> None:
    """The vault of the person is the bound client's own, called in a thread."""
    waits = {"begin", "finish", "invoke", "start", "submit", "unbind"}
    assert set(public(AsyncBoundClient)) == {*waits, "is_bound"}
    assert set(public(BoundClient)) > waits
    for name in waits:
        check_alike(public(BoundClient)[name], public(AsyncBoundClient)[name])


def test_both_are_left_by_a_block() -> None:
    """`with` and `async with`."""
    assert hasattr(Client, "__enter__")
    assert hasattr(AsyncClient, "__aenter__")


def test_how_a_call_is_waited_for_is_told_from_what_it_says() -> None:
    """A name of neither stays with the call, which refuses it before anything is sent."""
    how: Any = {"seconds": 3, "deadline": 5, "on_pending": None, "timeout": 1}

    assert parts_of(how) == ({"deadline": 5, "timeout": 1}, CallPatience(seconds=3))
    assert set(Invoking.__optional_keys__) == {
        *("seconds", "approval_seconds", "on_pending", "give"),
        *("intents", "delegation", "prompts", "deadline", "idempotency_key", "secrets", "target", "within"),
    }
    assert [one.name for one in fields(CallPatience)] == list(Waiting.__annotations__)


@pytest.mark.parametrize("wait", [Client.finish, Client.resume, AsyncClient.finish, AsyncClient.resume])
def test_a_name_that_says_nothing_of_waiting_is_refused(wait: Any) -> None:
    """Before anything is connected or awaited, whichever method it is given to."""

    def waited() -> None:
        asyncio.run(wait(None, OpenCall.__new__(OpenCall), timeout=3))

    with pytest.raises(TypeError, match="timeout"):
        waited()


def test_the_async_face_uses_only_public_names_of_the_client() -> None:
    """It neither reads nor calls private members of its twin."""
    code = inspect.getsource(inspect.getmodule(AsyncClient))  # type: ignore[arg-type]
    assert "SLF001" not in code
    assert "client._" not in code
