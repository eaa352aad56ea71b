"""Masked calls on a broker: a registered tool and a session's operation get tokens, and a person approves that form."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from macaw.installation.tenancy import publish_policies, register_agent
from producers.agent.agent import Agent
from producers.agent.offering import Operation
from producers.client import Client, DeniedError
from producers.tools import tool
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed

pytestmark = pytest.mark.broker

CLEAR = "from DE89370400440532013000 of ann@mail.example.org"
MASKED = "from [masked:iban] of [masked:email]"
CLERK = {
    "policy_id": "role:clerk",
    "resources": ["tool:**"],
    "constraints": {"masked_parameters": {"tool:**": ["text"]}},
}


class Crm:
    """Tools of a desk for customers; `got` is what the first one was called with."""

    def __init__(self) -> None:
        self.got: list[str] = []

    @tool(maskable=["text"])
    def note(self, text: str, to: str = "") -> str:
        self.got.append(text)
        return f"{to}: {text}"

    @tool
    def plain(self, text: str = "", to: str = "") -> str:
        return to or text


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        register_agent(here.home, here.folder, "clerk", attributes={"roles": ["clerk"]})
        register_agent(here.home, here.folder, "app", role="service", attributes={"offers": ["tool:app/**"]})
        publish_policies(here.home, here.folder, [json.dumps(CLERK)], {})
        yield here


@pytest.fixture(scope="module")
def client(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "clerk", home=running.home) as connected:
        yield connected


def test_a_tool_gets_tokens_where_it_declared_a_path_and_a_policy_masks_it(
    running: Installation, client: Client
) -> None:
    crm = Crm()
    with running.hosting("crm", crm):
        assert client.invoke("tool:crm/note", {"text": CLEAR, "to": CLEAR}) == f"{CLEAR}: {MASKED}"
        assert crm.got == [MASKED]
        with pytest.raises(DeniedError) as raised:
            client.invoke("tool:crm/plain", {"text": "harmless"})
        assert raised.value.reason == "PARAM_NOT_MASKABLE"
        assert client.invoke("tool:crm/plain", {"to": "bob"}) == "bob"


def test_an_operation_of_a_session_gets_tokens_too(running: Installation, client: Client) -> None:
    seen: list[Any] = []
    operations = {"tool:app/note": Operation(handler=lambda given: seen.append(given["text"]), maskable=("text",))}
    with Agent.connect(running.folder.tenant, "app", operations, home=running.home):
        client.invoke("tool:app/note", {"text": CLEAR})
    assert seen == [MASKED]
