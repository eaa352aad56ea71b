"""Credentials in parameters reach the handler, and stand nowhere else."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from macaw_client import MACAWClient, ToolNotFoundError
from macaw_client.values import covered, uncovered
from tests.macaw_client.company import Company
from tests.producers.test_agent import read_all

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": "k", "_metadata": {"token": "t", "n": [1, {"a": None}]}, "q": 1},
        {"_metadata": "a text"},
        {"_metadata": {}},
        {"api_key": None, "_metadata": None},
        {"api_key": ["k", "l"]},
        {"api_key": {"key": "k", "$json": 1}},
        {"api_key": {"$json": "not json"}},
        {"api_key": 7},
        {"_metadata": {"$json": "of their own"}},
        {},
    ],
)
def test_a_handler_gets_what_the_caller_gave(given: dict[str, Any]) -> None:
    sent, paths = covered(given)
    assert uncovered(sent) == given
    covers = {path.partition(".")[0] for path in paths}
    assert covers == {name for name in ("api_key", "_metadata") if given.get(name) is not None}
    assert given == dict(given)


def test_credentials_reach_the_handler_and_stand_on_no_topic(inside: Company) -> None:
    """With those that the tool declares itself; another tool, which takes none, is not called with them."""
    key, token, own = (secrets.token_hex(16) for _ in range(3))
    seen: list[dict[str, Any]] = []
    tool = {"handler": lambda given: seen.append(given) or {"ok": True}, "metadata": {"secrets": ["password"]}}
    server = MACAWClient(app_name="calc", tools={"tool:calc/login": tool})
    server.register()
    client = MACAWClient(app_name="guest")
    client.register()
    parameters = {"api_key": key, "_metadata": {"authorization": token}, "password": own, "q": 1}
    try:
        assert client.invoke_tool("tool:calc/login", parameters, target_agent=server.agent_id) == {"ok": True}
        assert seen == [parameters]
        several = {"api_key": [key, {"second": token}], "q": 2}
        assert client.invoke_tool("tool:calc/login", several, target_agent=server.agent_id) == {"ok": True}
        assert seen[1:] == [several]
        for target in (server.agent_id, None):
            with pytest.raises(ToolNotFoundError, match="TOOL_UNAVAILABLE"):
                client.invoke_tool("tool:calc/gone", {"api_key": key}, target_agent=target)
        with pytest.raises(Exception, match="secret"):
            MACAWClient.invoke_tool(client, "tool:bank/count", {"api_key": key})
    finally:
        client.unregister()
        server.unregister()
    here = inside.office.here
    for topic in ("intake", "decisions", "results", "audit", "state", "bodies"):
        whole = read_all(here, topic)
        assert not [one for one in (key, token, own) if one.encode() in whole], topic
