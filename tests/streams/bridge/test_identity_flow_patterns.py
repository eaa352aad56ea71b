"""The three patterns of the identity flow that the original describes, under its names, with real logins.

Alice and bob log in at their own provider. Each call is judged by the policies of its person, however many persons one
object serves, and however long the chain of agents is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from macaw.installation.registrations import revoke_session
from macaw.installation.tenancy import register_agent
from producers.client import AsyncClient, Client, DeniedError, RefusedError
from producers.client.bound import BoundClient
from producers.tools import tool
from schemas.records import InvocationRequested
from streams.local.choose import BrokerInfo
from tests.streams.bridge.office import Office, opened

pytestmark = pytest.mark.broker
COMPLETE = "tool:llm/complete"
CHAIN = ("orchestrator", "tool-agent-a", "tool-agent-b")
# As the report has them: alice GPT-3.5 and 500 tokens, bob GPT-4 and 2000.
POLICIES = [
    '{"policy_id": "company:FinTech Corp", "resources": ["tool:llm/*"]}',
    """{"policy_id": "user:alice@fintech.example", "resources": ["tool:llm/*"], "constraints": {"parameters":
        {"tool:llm/complete": {"model": {"allowed_values": ["gpt-3.5"]}, "tokens": {"max": 500}}}}}""",
    """{"policy_id": "user:bob@fintech.example", "resources": ["tool:llm/*"], "constraints": {"parameters":
        {"tool:llm/complete": {"model": {"allowed_values": ["gpt-4"]}, "tokens": {"max": 2000}}}}}""",
    *(f'{{"policy_id": "agent:{name}", "resources": ["tool:llm/*"]}}' for name in CHAIN),
]


class Model:
    """A model that says which model it is."""

    @tool
    def complete(self, model: str, tokens: int, prompt: str) -> dict[str, str]:
        """Complete a prompt."""
        return {"model": model, "prompt": prompt}


@pytest.fixture(scope="module")
def office(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(broker, tmp_path_factory.mktemp("office"), POLICIES, llm=Model()) as made:
        for name in CHAIN:
            register_agent(made.here.home, made.here.folder, name, attributes={"company": "FinTech Corp"})
        yield made


def asks(client: Client | BoundClient, model: str, tokens: int, prompt: str = "Q4") -> str:
    """Return what the model said, or the reason of the denial."""
    try:
        return str(client.invoke(COMPLETE, {"model": model, "tokens": tokens, "prompt": prompt})["prompt"])
    except (DeniedError, RefusedError) as exc:
        return exc.reason


def test_pattern_1_single_user_application(office: Office) -> None:
    """Alice logs in, her application passes her token once, and her policies hold for each call."""
    with office.login(office.token("alice")) as analyzer:
        assert asks(analyzer, "gpt-3.5", 500) == "Q4"
        assert asks(analyzer, "gpt-4", 500) == "PARAM_NOT_ALLOWED"
        assert asks(analyzer, "gpt-3.5", 501) == "PARAM_OUT_OF_RANGE"


def test_pattern_2_multi_user_orchestrator(office: Office) -> None:
    """One orchestrator serves alice and bob at one time, in threads and in tasks; nothing of one reaches the other."""
    with (
        Client.connect(office.tenant, "orchestrator", home=office.here.home) as orchestrator,
        office.login(office.token("alice")) as alice,
        office.login(office.token("bob")) as bob,
        orchestrator.bind_to_user(alice) as for_alice,
        orchestrator.bind_to_user(bob) as for_bob,
    ):
        turns = [(person, number) for number in range(10) for person in ("alice", "bob")]
        bound = {"alice": (for_alice, "gpt-3.5", "gpt-4", 500), "bob": (for_bob, "gpt-4", "gpt-3.5", 2000)}

        def turn(person: str, number: int) -> tuple[str, str]:
            client, own, others, most = bound[person]
            return asks(client, own, most, f"{person} {number}"), asks(client, others, 1)

        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(lambda one: turn(*one), turns))
        assert said == [(f"{person} {number}", "PARAM_NOT_ALLOWED") for person, number in turns]

        async def tasks() -> list[str]:
            both = {"alice": AsyncClient(alice), "bob": AsyncClient(bob)}
            asked = [
                both[person].invoke(COMPLETE, {"model": bound[person][1], "tokens": 1, "prompt": f"{person} {number}"})
                for person, number in turns
            ]
            return [one["prompt"] for one in await asyncio.gather(*asked)]

        assert asyncio.run(tasks()) == [f"{person} {number}" for person, number in turns]
        assert not any(name in str(vars(orchestrator)) for name in ("alice@", "bob@"))


def test_pattern_3_agent_chain_with_delegation(office: Office) -> None:
    """Alice, an orchestrator, tool agents A and B: her policies hold at the end, and the log names all of them."""
    home = office.here.home
    with office.login(office.token("alice")) as alice:
        agents = [Client.connect(office.tenant, name, home=home) for name in CHAIN]
        try:
            delegation = alice.delegate(CHAIN[0], resources=[COMPLETE], expires_in=200, purpose="process my data")
            for agent, following, life in zip(agents, CHAIN[1:], (150, 100), strict=False):
                delegation = agent.delegate(following, resources=[COMPLETE], expires_in=life, parent=delegation)
            last = agents[-1]
            called = {"model": "gpt-3.5", "tokens": 500, "prompt": "hers"}
            assert last.invoke(COMPLETE, called, delegation=delegation)["prompt"] == "hers"
            with pytest.raises(DeniedError, match="PARAM_NOT_ALLOWED"):
                last.invoke(COMPLETE, {**called, "model": "gpt-4"}, delegation=delegation)

            asked = [e for _, e in office.intake() if isinstance(e.body, InvocationRequested)]
            assert asked[-1].header.principal_id == CHAIN[-1]
            assert asked[-1].header.on_behalf_of is not None

            revoke_session(home, office.here.folder, alice.session_id, reason="left")
            with pytest.raises((DeniedError, RefusedError), match="DELEGATION_REVOKED"):
                last.invoke(COMPLETE, called, delegation=delegation)
        finally:
            for agent in agents:
                agent.close()
