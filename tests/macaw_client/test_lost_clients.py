"""A client that the program has lost ends its session; one that is still in use does not."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import pytest

from macaw_client import MACAWClient
from tests.macaw_client.company import Company
from tests.waiting import wait_until

pytestmark = pytest.mark.broker


def registered(app: str, **tools: Callable[..., object]) -> MACAWClient:
    client = MACAWClient(app_name=app, tools={f"tool:{app}/{name}": {"handler": one} for name, one in tools.items()})
    client.register()
    return client


def digits(client: MACAWClient) -> str:
    """Return the beginning of a session's id, by which its closing is found on the log."""
    return client.agent_id.rpartition(":")[2]


def has_ended(firm: Company, session: str) -> bool:
    return "SessionClosed" in firm.kinds_of(session)


def test_a_lost_client_ends_its_session_after_its_last_events(inside: Company) -> None:
    client = registered("lost")
    session = digits(client)
    client.log_event("the last")
    del client
    gc.collect()

    wait_until(lambda: has_ended(inside, session), "the session has not ended", pause=0.2)
    assert inside.kinds_of(session)[-2:] == ["ApplicationEventLogged", "SessionClosed"]


def test_a_client_whose_tools_are_offered_is_not_lost(inside: Company) -> None:
    """Nor is one whose stream is read."""

    def numbers(_: dict[str, object]) -> Iterator[dict[str, int]]:
        for n in range(5):
            time.sleep(0.2)
            yield {"n": n}

    server = registered("calc", numbers=numbers)
    agent_id, sessions = server.agent_id, [digits(server)]
    del server
    client = registered("guest")
    sessions.append(digits(client))
    parts = client.invoke_tool("tool:calc/numbers", {}, target_agent=agent_id, stream=True)
    del client
    gc.collect()

    assert list(parts) == [{"n": n} for n in range(5)]
    assert not any(has_ended(inside, one) for one in sessions)
    del parts
    gc.collect()
    wait_until(lambda: has_ended(inside, sessions[1]), "the session has not ended", pause=0.2)
    assert not has_ended(inside, sessions[0])


def test_a_client_that_unregistered_is_ended_once(inside: Company) -> None:
    client = registered("polite")
    session = digits(client)
    client.unregister()
    del client
    gc.collect()
    time.sleep(1)

    assert inside.kinds_of(session).count("SessionClosed") == 1
