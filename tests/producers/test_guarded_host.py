"""A tool host that its owner guards, on a broker: forbidden calls do not run, and results leave it masked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from macaw.installation.tenancy import publish_policies, register_agent
from processors.content import secret_tokens
from processors.content.parameter_schemas import compiled
from processors.policy.documents import parse_policy
from producers.client import Client, FailedError
from producers.kafka.consuming import read_to, watermarks
from producers.tools import collect_tools, context, tool
from producers.tools.declared_schemas import DeclaredSchemas, OperationSchemas
from producers.tools.guard import HostGuard
from producers.tools.host import ToolHost
from producers.tools.owner_policy import OwnerPolicy
from producers.tools.result_masking import ResultMasking
from schemas import limits
from schemas.topics import INTAKE
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed

pytestmark = pytest.mark.broker

SECRET = "ghp_aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
MASKED = "[masked:github]"
TENANTS = {"policy_id": "role:clerk", "resources": ["tool:vault/**"]}
OWNERS = {
    "policy_id": "tool:vault",
    "resources": ["tool:vault/*"],
    "constraints": {
        "parameters": {"tool:vault/pay": {"amount": {"max": 1000, "required": True}}},
        "denied_parameters": {"tool:vault/note": {"text": ["*thief*"]}},
    },
}
WHOLE = {"type": "integer"}


class Vault:
    """Tools that hold secrets."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    @tool
    def pay(self, amount: float) -> str:
        self.ran.append(f"pay {amount}")
        return "paid"

    @tool(bodies="text")
    def note(self, text: str) -> int:
        self.ran.append(f"note {len(text)}")
        return len(text)

    @tool(attests=("key", "checked"))
    def read(self, filler: list[object], times: int) -> dict[str, object]:
        context.attestations.set("key", SECRET)
        context.attestations.set("checked", True)
        return {SECRET: [f"token {SECRET}"], "filler": [SECRET if one == "secret" else one for one in filler] * times}

    @tool
    def fail(self) -> None:
        raise ValueError("x" * 480 + f" {SECRET}")

    @tool(streams=True)
    def watch(self) -> Iterator[dict[str, str]]:
        yield {"line": f"token {SECRET}"}
        raise ValueError(SECRET)

    @tool
    def count(self, to: Any) -> object:
        self.ran.append(f"count {to}")
        return to if to < 10 else str(to)


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        register_agent(here.home, here.folder, "clerk", attributes={"roles": ["clerk"]})
        publish_policies(here.home, here.folder, [json.dumps(TENANTS)], {})
        yield here


@pytest.fixture(scope="module")
def host(running: Installation, vault: Vault) -> Iterator[ToolHost]:
    resources = [f"tool:vault/{one.name}" for one in collect_tools(vault)]
    document = parse_policy(json.dumps(OWNERS).encode())
    parameters = {"type": "object", "properties": {"to": WHOLE}}
    pair = OperationSchemas(*(compiled(json.dumps(one)) for one in (parameters, WHOLE)))
    guard = HostGuard(
        policy=OwnerPolicy([document], app="vault", tenant=running.folder.tenant, resources=resources),
        schemas=DeclaredSchemas({"tool:vault/count": pair}),
        masking=ResultMasking([secret_tokens.find]),
    )
    with running.hosting("vault", vault, guard=guard) as serving:
        yield serving


@pytest.fixture(scope="module")
def client(running: Installation, host: ToolHost) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "clerk", home=running.home) as connected:
        yield connected


def test_what_the_tenant_allows_and_the_owner_forbids_does_not_run(
    client: Client, vault: Vault, host: ToolHost
) -> None:
    vault.ran.clear()
    with pytest.raises(FailedError, match="OWNER_DENIED") as raised:
        client.invoke("tool:vault/pay", {"amount": 5000})

    assert '"policy":"tool:vault"' in str(raised.value)
    assert vault.ran == []
    assert host.tally.refused["forbidden by the owner"] == 1
    assert client.invoke("tool:vault/pay", {"amount": 500}) == "paid"
    assert vault.ran == ["pay 500.0"]


def test_a_text_beside_the_call_is_judged_before_the_call_runs(client: Client, vault: Vault) -> None:
    """The monitor sees only that it is there."""
    vault.ran.clear()
    filler = "a" * (2 * limits.BODY_RESULT_BYTES)

    assert client.invoke("tool:vault/note", {"text": filler}) == len(filler)
    with pytest.raises(FailedError, match="OWNER_DENIED"):
        client.invoke("tool:vault/note", {"text": f"{filler} thief"})
    assert vault.ran == [f"note {len(filler)}"]


@pytest.mark.parametrize(
    ("filler", "times", "last"),
    [
        ("secret", 1, MASKED),
        (1_000_000, limits.BODY_RESULT_BYTES // 7, 1_000_000),
        ("x " * 1000, 200, "[masked:unread]"),
    ],
    ids=["in the report", "beside the report", "more than is read"],
)
def test_a_result_leaves_the_host_masked(client: Client, filler: object, times: int, last: object) -> None:
    found = client.invoke("tool:vault/read", {"filler": [filler], "times": times})

    assert found[MASKED] == [f"token {MASKED}"]
    assert (len(found["filler"]), found["filler"][-1]) == (times, last)


def test_a_failure_leaves_the_host_masked(client: Client) -> None:
    """Also where the text would have been cut within the secret."""
    with pytest.raises(FailedError) as raised:
        client.invoke("tool:vault/fail", {})

    assert "ghp_" not in str(raised.value)


def test_the_items_and_the_end_of_a_stream_leave_the_host_masked(client: Client) -> None:
    with client.stream("tool:vault/watch", {}) as items:
        assert next(items) == {"line": f"token {MASKED}"}
        with pytest.raises(FailedError) as raised:
            next(items)

    assert "ghp_" not in str(raised.value)


def test_parameters_and_results_are_compared_with_the_schemas(client: Client, vault: Vault) -> None:
    vault.ran.clear()

    assert client.invoke("tool:vault/count", {"to": 5}) == 5
    with pytest.raises(FailedError, match="PARAMETERS_INVALID"):
        client.invoke("tool:vault/count", {"to": "5"})
    with pytest.raises(FailedError, match="RESULT_INVALID"):
        client.invoke("tool:vault/count", {"to": 50})
    assert vault.ran == ["count 5", "count 50"]


def test_no_record_of_the_log_holds_the_secret(client: Client, running: Installation) -> None:
    """Reports stand on intake in the clear: with a host that does not mask, this finds them."""
    client.invoke("tool:vault/read", {"filler": [], "times": 0})
    records = intake(running)

    assert any(MASKED.encode() in one for one in records)
    assert any(b"checked" in one for one in records)
    assert not any(SECRET.encode() in one for one in records)


def intake(running: Installation) -> list[bytes]:
    name = INTAKE.of(running.folder.tenant)
    consumer = Consumer(
        {
            "bootstrap.servers": running.home.bootstrap,
            "group.id": f"{running.folder.tenant}.look",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    _, end = watermarks(consumer, name, 0)
    found = [one.value() or b"" for one in read_to(consumer, TopicPartition(name, 0, 0), end, idle_seconds=10)]
    consumer.close()
    return found
