"""Tools that leave an effect and then do something awkward, on a broker: the log says what their host knows."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client, FailedError
from producers.tools import tool
from producers.tools.host import ToolHost
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.producers.dying import kill
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

POLICY = {
    "policy_id": "role:payer",
    "resources": ["tool:awkward/*"],
    "sequence": [{"id": "paid", "when": "tool:awkward/later", "after": {"resource": "tool:awkward/pay"}}],
}


class LazyError(Exception):
    """Its text cannot be made, as with messages that are formatted late."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Callable[[], object]:
    def function() -> object:
        raise error

    return function


ANSWERS: dict[str, Callable[[], object]] = {
    "snowflake": lambda: {"id": 2512292042121000001},
    "nan": lambda: {"score": float("nan")},
    "decimal": lambda: ("sent", Decimal("10.25")),
    "when": lambda: {"at": dt.datetime(2026, 3, 2, tzinfo=dt.UTC), "id": uuid.UUID(int=1)},
    "bytes": lambda: {"sent": 1, "receipt": b"x"},
    "huge": lambda: "x" * 2_000_000,
    "surrogate": raising(ValueError("bad \ud800 name")),
    "lazy": raising(LazyError()),
    "exit": lambda: sys.exit(3),
}


class Awkward:
    def __init__(self) -> None:
        self.effects: list[str] = []

    @tool
    def pay(self, what: str) -> object:
        self.effects.append(what)
        return ANSWERS[what]()

    @tool
    def later(self, amount: float) -> str:
        self.effects.append("later")
        return "done"


@pytest.fixture(scope="module")
def awkward() -> Awkward:
    return Awkward()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, awkward: Awkward) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        register_agent(here.home, here.folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(here.home, here.folder, [json.dumps(POLICY)], {})
        yield here


@pytest.fixture(scope="module")
def host(running: Installation, awkward: Awkward) -> Iterator[ToolHost]:
    with running.hosting("awkward", awkward) as serving:
        yield serving


@pytest.fixture
def client(running: Installation, host: ToolHost) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "shopper", home=running.home) as connected:
        yield connected


@pytest.mark.parametrize(
    ("what", "result"),
    [
        ("snowflake", {"id": "2512292042121000001"}),
        ("nan", {"score": "NaN"}),
        ("decimal", ["sent", "10.25"]),
        ("when", {"at": "2026-03-02T00:00:00+00:00", "id": "00000000-0000-0000-0000-000000000001"}),
        (
            "bytes",
            {"sent": 1, "receipt": {"$unwritten": "bytes", "at": "/receipt", "why": "bytes have no one form in JSON"}},
        ),
    ],
)
def test_an_awkward_result_is_an_effect_all_the_same(client: Client, what: str, result: Any) -> None:
    """The call ended well, so what has to come after it may come."""
    assert client.invoke("tool:awkward/pay", {"what": what}) == result
    assert client.invoke("tool:awkward/later", {"amount": 1}) == "done"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("surrogate", r"ValueError: bad \ud800 name"),
        ("lazy", "LazyError, of which str() raised RuntimeError"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_an_error_that_cannot_be_told_is_told_by_its_type(client: Client, what: str, error: str) -> None:
    """At once, not when the log gives up waiting."""
    with pytest.raises(FailedError) as failed:
        client.invoke("tool:awkward/pay", {"what": what}, seconds=PATIENCE_SECONDS)

    assert failed.value.answer is not None
    assert json.loads(failed.value.answer.body or "") == {"error": error}


def test_wrong_arguments_have_no_effect(client: Client, awkward: Awkward) -> None:
    """The caller is told each of them with its place."""
    client.invoke("tool:awkward/pay", {"what": "nan"})
    before = list(awkward.effects)

    with pytest.raises(FailedError) as failed:
        client.invoke("tool:awkward/later", {"amount": True, "Amount": 9})

    assert failed.value.answer is not None
    assert json.loads(failed.value.answer.body or "") == {
        "error": "BAD_ARGUMENTS",
        "problems": [
            {"at": "/Amount", "why": "unexpected"},
            {"at": "/amount", "why": "want a number, got a boolean"},
        ],
    }
    assert awkward.effects == before


def test_a_host_and_a_client_whose_producer_died_go_on(client: Client, host: ToolHost, awkward: Awkward) -> None:
    """No call is lost, doubled, or answered with the library's own confusion."""
    before = len(awkward.effects)
    calls = []
    for n in range(60):
        calls.append(client.submit("tool:awkward/pay", {"what": "nan"}))
        if n % 20 == 10:
            calls[n - 10].result(PATIENCE_SECONDS)
            assert host._connection.link is client._connection.link
            kill(client._connection.link.intake._sender._producer)

    outcomes = [call.result(PATIENCE_SECONDS).result.outcome for call in calls]

    assert outcomes == ["ok"] * 60
    assert len(awkward.effects) == before + 60
