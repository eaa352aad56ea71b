"""Agents, tools and the monitor on a real broker: what a user of the Python interface sees."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator

import pytest

from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import (
    AsyncClient,
    Client,
    DeniedError,
    FailedError,
    NoAnswerError,
    PublishError,
    RefusedError,
    UnknownOutcomeError,
)
from producers.home.home import Home, HomeError
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.publisher import EventTooLargeError
from producers.tools import tool
from schemas.records import PrincipalRevoked, SessionClosed
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

POLICY = {
    "policy_id": "role:payer",
    "resources": ["tool:bank/*"],
    "constraints": {"parameters": {"tool:bank/transfer": {"to": ["bob", "carol"]}}},
}


class Bank:
    """A tool with every way to go wrong."""

    def __init__(self) -> None:
        self.transfers: list[tuple[str, float]] = []
        self.release = threading.Event()

    @tool
    def transfer(self, to: str, amount: float) -> dict[str, object]:
        self.transfers.append((to, amount))
        return {"to": to, "amount": amount, "count": len(self.transfers)}

    @tool(timeout_seconds=0.3)
    def hang(self) -> None:
        self.release.wait(10)

    @tool
    def fail(self) -> None:
        raise RuntimeError("the ledger is closed")

    @tool
    def unwritable(self) -> object:
        return {"not": b"text"}

    @tool
    def huge(self) -> str:
        return "x" * 2_000_000

    @tool
    async def later(self) -> str:
        await asyncio.sleep(0)
        return "later"


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, bank: Bank) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        register_agent(here.home, here.folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(here.home, here.folder, [json.dumps(POLICY)], {})
        with here.hosting("bank", bank):
            yield here
        bank.release.set()


@pytest.fixture(scope="module")
def client(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "shopper", home=running.home) as connected:
        yield connected


def test_an_allowed_call_is_executed_once_and_its_signed_result_returned(client: Client, bank: Bank) -> None:
    """The caller gets what the tool returned, and the tool ran once."""
    before = len(bank.transfers)

    result = client.invoke("tool:bank/transfer", {"to": "bob", "amount": 12.5})

    assert result == {"to": "bob", "amount": 12.5, "count": before + 1}
    assert bank.transfers[before:] == [("bob", 12.5)]


def test_a_denied_call_never_reaches_the_tool(client: Client, bank: Bank) -> None:
    """A literal outside the policy's is denied with its reason, and nothing runs."""
    before = len(bank.transfers)

    with pytest.raises(DeniedError) as denied:
        client.invoke("tool:bank/transfer", {"to": "eve", "amount": 1})

    assert denied.value.reason == "PARAM_NOT_ALLOWED"
    assert len(bank.transfers) == before


def test_many_calls_at_once_are_each_executed_once(client: Client, bank: Bank) -> None:
    """A burst signed under one head: as many effects as calls."""
    before = len(bank.transfers)

    futures = [client.submit("tool:bank/transfer", {"to": "carol", "amount": n}) for n in range(200)]
    outcomes = {future.result(PATIENCE_SECONDS).result.outcome for future in futures}

    assert outcomes == {"ok"}
    assert sorted(amount for _, amount in bank.transfers[before:]) == list(range(200))


def test_a_tool_that_raises_gives_a_signed_failure(client: Client) -> None:
    """What the tool raised is its report."""
    with pytest.raises(FailedError, match="the ledger is closed"):
        client.invoke("tool:bank/fail", {})


def test_a_tool_that_hangs_gives_unknown(client: Client) -> None:
    """Past its timeout nobody can say whether the effect came."""
    with pytest.raises(UnknownOutcomeError):
        client.invoke("tool:bank/hang", {})


def test_a_result_that_cannot_be_written_has_ended_well(client: Client) -> None:
    """The effect is there, so nobody is told to try again: what is not written is named."""
    assert client.invoke("tool:bank/unwritable", {}) == {
        "not": {"$unwritten": "bytes", "at": "/not", "why": "bytes have no one form in JSON"}
    }
    assert client.invoke("tool:bank/huge", {}) == "x" * 2_000_000


def test_missing_arguments_are_named(client: Client) -> None:
    """Parameters that do not fit the function are the caller's mistake, and the answer says which."""
    with pytest.raises(FailedError, match="amount"):
        client.invoke("tool:bank/transfer", {"to": "bob"})


def test_an_async_tool_and_an_async_client_meet(running: Installation) -> None:
    """The asyncio twin gives the same results."""

    async def ask() -> object:
        async with await AsyncClient.connect(running.folder.tenant, "shopper", home=running.home) as client:
            return await client.invoke("tool:bank/later", {})

    assert asyncio.run(ask()) == "later"


def test_a_tool_that_nobody_offers_is_unavailable(client: Client) -> None:
    """Allowed by policy, but nobody can execute it."""
    with pytest.raises(DeniedError) as denied:
        client.invoke("tool:bank/nowhere", {})

    assert denied.value.reason == "TOOL_UNAVAILABLE"


def test_parameters_that_are_no_json_are_refused_before_they_are_sent(client: Client) -> None:
    """The client refuses what the log would refuse."""
    with pytest.raises(ValueError, match="number"):
        client.invoke("tool:bank/transfer", {"to": "bob", "amount": float("nan")})


def test_an_event_between_our_limit_and_the_topics_is_refused_on_the_log(client: Client) -> None:
    """Over 256 KiB the log says so; the client hears it."""
    with pytest.raises(RefusedError) as refused:
        client.invoke("tool:bank/transfer", {"to": "bob", "amount": 1, "memo": "x" * 300_000})

    assert refused.value.reason == "OVERSIZED"


def test_an_event_over_the_topics_limit_is_named_by_the_client(client: Client) -> None:
    """What the broker refuses has no effect, and the client says why."""
    with pytest.raises(EventTooLargeError):
        client.invoke("tool:bank/transfer", {"to": "bob", "amount": 1, "memo": "x" * 1_500_000})


def test_an_unknown_tenant_is_an_error_of_the_client(running: Installation) -> None:
    """Without a pinned genesis there is nothing to trust."""
    with pytest.raises(HomeError, match="not known here"):
        Client.connect("nobody", "shopper", home=running.home)


def test_a_revoked_agent_is_refused_at_its_next_call(running: Installation) -> None:
    """Revocation ends the agent's open session within one event."""
    register_agent(running.home, running.folder, "leaver", attributes={"roles": ["payer"]})
    with Client.connect(running.folder.tenant, "leaver", home=running.home) as client:
        assert client.invoke("tool:bank/later", {}) == "later"
        with Connection(running.home, running.folder, running.folder.key("admin"), "admin") as admin:
            admin.ask(PrincipalRevoked(principal_id="leaver", reason="left"))

        with pytest.raises(RefusedError) as refused:
            client.invoke("tool:bank/later", {})

    assert refused.value.reason == "EXPIRED_SESSION"


def test_an_unregistered_key_gets_no_session(running: Installation) -> None:
    """Nobody is known to have asked, so nobody is answered; the client says what to look for."""
    stranger = Connection(running.home, running.folder, KeyPair.generate(), "stranger")
    try:
        with pytest.raises(NoAnswerError, match="registered"):
            stranger.ask(PrincipalRevoked(principal_id="stranger", reason=""), seconds=2)
    finally:
        stranger.close()


def test_a_session_shares_the_registry_of_the_connection_that_opened_it_and_closes_it(running: Installation) -> None:
    """Two keys speak for an agent, its own and its session's; one view of the registry serves both."""
    with Client.connect(running.folder.tenant, "shopper", home=running.home) as client:
        session = client._connection
        registered = session._opened_by
        assert registered is not None
        assert registered.registry is session.registry
        assert registered.key.kid != session.key.kid
        assert client.session_id == session.key.kid

    for connection in (session, registered):
        with pytest.raises(PublishError, match="closed") as closed:
            connection.ask(SessionClosed(reason=""))
        assert closed.value.never_sent


def test_no_secret_stands_in_a_repr(running: Installation) -> None:
    """Keys show their public half only."""
    key = running.folder.key("admin")

    assert key.signing.seed.hex() not in repr(key)
    assert repr(key.signing.seed) not in repr(key)
    assert repr(key.sealing.secret) not in repr(key)


def test_a_home_without_configuration_says_what_to_do(tmp_path: object) -> None:
    """The error names the command that makes one."""
    with pytest.raises(HomeError, match="cannot read"):
        Home.open(tmp_path)  # type: ignore[arg-type]
