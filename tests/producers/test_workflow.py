"""Workflow state on a real broker: what agents, tools and people see of it through the Python interface."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest

from producers.client import AsyncClient, Client, DeniedError, FailedError, RefusedError, kept_calls
from producers.client.approvals import ParametersChangedError
from producers.client.prompts import PromptMismatchError
from producers.kafka.waiting import WaitingCall
from producers.tools import admission
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.workflow_bank import Bank, approving, banking
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, bank: Bank) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"w{secrets.token_hex(4)}", bank) as here:
        yield here


@pytest.fixture(scope="module")
def payer(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "payer", home=running.home) as connected:
        yield connected


@pytest.fixture(scope="module")
def carol(running: Installation) -> Iterator[Client]:
    with Client.for_person(running.folder.tenant, "carol", home=running.home) as connected:
        yield connected


# ---- approvals


def test_a_call_waits_is_approved_and_runs_once(
    payer: Client, carol: Client, bank: Bank, running: Installation
) -> None:
    """The caller blocks, is told that it waits, and gets the tool's result when somebody has said yes."""
    before, told = list(bank.paid), []

    def on_pending(call: WaitingCall) -> None:
        told.append(call)
        kept = running.folder.path / kept_calls.FOLDER
        assert {path.stat().st_mode & 0o077 for path in kept.iterdir()} == {0}
        approving(carol)(call)

    result = payer.invoke("tool:bank/pay", {"amount": 250}, seconds=PATIENCE_SECONDS, on_pending=on_pending)

    assert result == {"paid": 250}
    assert [call.resource for call in told] == ["tool:bank/pay"]
    assert bank.paid == [*before, 250]
    assert [one.name for one in (running.folder.path / kept_calls.FOLDER).glob(f"{told[0].event_id}*")] == []


def test_the_asyncio_twin_waits_without_blocking_its_loop(running: Installation, carol: Client) -> None:
    """While one call waits, others end; then it ends too."""

    async def ask() -> tuple[Any, Any, list[str]]:
        async with await AsyncClient.connect(running.folder.tenant, "payer", home=running.home) as client:
            asked: asyncio.Future[WaitingCall] = asyncio.get_running_loop().create_future()
            parameters = {"amount": 300}
            call = asyncio.create_task(client.invoke("tool:bank/pay", parameters, on_pending=asked.set_result))
            waits = await asyncio.wait_for(asked, PATIENCE_SECONDS)
            meanwhile = await client.invoke("tool:bank/pay", {"amount": 1})
            with await asyncio.to_thread(
                Client.for_person, running.folder.tenant, "carol", home=running.home
            ) as person:
                listed = await asyncio.to_thread(person.list_attestations)
                [request] = [one for one in listed if one["request"] == waits.event]
                shown = await asyncio.to_thread(person.show_call, request["request"])
                assert await asyncio.to_thread(person.approve_attestation, request)
            await asyncio.to_thread(client.client.context_set, "async", [1])
            kept = await asyncio.to_thread(client.client.context_get, "async")
            return meanwhile, await call, [shown.parameters["amount"], *kept]

    assert asyncio.run(ask()) == ({"paid": 1}, {"paid": 300}, [300, 1])


def test_a_call_that_people_took_long_for_still_runs(payer: Client, carol: Client, bank: Bank) -> None:
    """By then the caller's event is older than a host admits by itself: the approval inside is what counts."""
    age_ms = 5000

    def on_pending(call: WaitingCall) -> None:
        time.sleep(age_ms / 1000 + 1)
        approving(carol)(call)

    with mock.patch.object(admission, "EVENT_AGE_MS_MAX", age_ms):
        assert payer.invoke("tool:bank/pay", {"amount": 444}, on_pending=on_pending) == {"paid": 444}
    assert bank.paid.count(444) == 1


def test_a_no_denies_the_call(payer: Client, carol: Client, bank: Bank) -> None:
    """One authorised no is the end of it."""
    before = list(bank.paid)

    with pytest.raises(DeniedError) as denied:
        payer.invoke("tool:bank/pay", {"amount": 666}, on_pending=approving(carol, say="deny_attestation"))

    assert denied.value.reason == "APPROVAL_DENIED"
    assert bank.paid == before


def test_nobody_signs_what_differs_from_what_was_listed(payer: Client, carol: Client, bank: Bank) -> None:
    """The exact parameters are fetched first; a list that lies is found, and nothing is on the log."""
    call = payer.start("tool:bank/pay", {"amount": 700})
    assert isinstance(call, WaitingCall)
    [request] = [one for one in carol.list_attestations() if one["request"] == call.event]

    for lie in ({"parameters_sha256": "00" * 32}, {"resource": "tool:bank/confirm"}, {"key": "other"}):
        with pytest.raises(ParametersChangedError):
            carol.approve_attestation({**request, **lie})
    with pytest.raises(RefusedError) as unknown:
        carol.approve_attestation({**request, "request": "00" * 32})
    assert unknown.value.reason == "APPROVAL_UNKNOWN"

    assert [one["approved_by"] for one in carol.list_attestations() if one["request"] == call.event] == [[]]
    assert 700 not in bank.paid
    assert carol.deny_attestation(request)


def test_who_meets_no_criterion_sees_and_approves_nothing(payer: Client, running: Installation) -> None:
    """Not even that something is asked."""
    call = payer.start("tool:bank/pay", {"amount": 800})
    assert isinstance(call, WaitingCall)

    with Client.for_person(running.folder.tenant, "dave", home=running.home) as dave:
        assert [one for one in dave.list_attestations() if one["request"] == call.event] == []
        with pytest.raises(RefusedError):
            dave.show_call(call.event)


def test_a_grant_serves_later_calls(payer: Client, carol: Client) -> None:
    """The first call waits for carol; the next ones run at once, until she takes it back."""
    told: list[WaitingCall] = []

    def on_pending(call: WaitingCall) -> None:
        told.append(call)
        [request] = [one for one in carol.list_attestations() if one["request"] == call.event]
        assert request["one_time"] is False
        carol.approve_attestation(request)

    for _ in range(3):
        assert payer.invoke("tool:bank/statement", {}, on_pending=on_pending) == "statement"

    assert len(told) == 1


# ---- attestations of tools


def test_what_a_tool_attests_opens_the_next_step_once(payer: Client) -> None:
    """Confirming wants a check before it; the check is used up by it."""
    with pytest.raises(DeniedError) as shortcut:
        payer.invoke("tool:bank/confirm", {})
    assert payer.invoke("tool:bank/check", {"supplier": "acme"})

    [active] = [one for one in payer.list_attestations("active") if one["key"] == "checked"]
    assert (active["value"], active["setter"]) == ({"supplier": "acme"}, "tool:bank/check")
    assert payer.invoke("tool:bank/confirm", {}) == "confirmed"
    with pytest.raises(DeniedError) as again:
        payer.invoke("tool:bank/confirm", {})

    assert (shortcut.value.reason, again.value.reason) == ("ATTESTATION_MISSING", "ATTESTATION_CONSUMED")


def test_a_tool_that_fails_attests_nothing(running: Installation) -> None:
    """Nor does one that says what it has not declared."""
    with Client.connect(running.folder.tenant, "payer", home=running.home) as client:
        for supplier, told in (("unknown", "no such supplier"), ("undeclared", "does not declare")):
            with pytest.raises(FailedError, match=told):
                client.invoke("tool:bank/check", {"supplier": supplier})

        assert client.list_attestations("active") == []


def test_a_declared_attestation_is_made_whenever_the_tool_ends_well(running: Installation) -> None:
    """The function itself says nothing."""
    with Client.connect(running.folder.tenant, "payer", home=running.home) as client:
        assert client.invoke("tool:bank/mail", {}) == "sent"

        [made] = client.list_attestations("active")
    assert (made["key"], made["value"], made["max_uses"]) == ("mailed", True, 1)
    with pytest.raises(ValueError, match="pending or active"):
        client.list_attestations("denied")


# ---- delegations, prompts, notes, the end


def test_a_delegation_lets_another_do_what_its_scope_says(running: Installation, payer: Client) -> None:
    """Within the scope only, narrowed on the way, and no more once it is revoked."""
    tenant, home = running.folder.tenant, running.home
    given = payer.delegate("clerk", operations=["pay"], conditions={"max_amount": 20}, purpose="small change")
    with Client.connect(tenant, "clerk", home=home) as clerk:
        assert clerk.invoke("tool:bank/pay", {"amount": 20}, delegation=given) == {"paid": 20}
        for parameters, reason in (({"amount": 21}, "DELEGATION_CONDITION"), ({}, "DELEGATION_CONDITION")):
            with pytest.raises(DeniedError) as denied:
                clerk.invoke("tool:bank/pay", parameters, delegation=given)
            assert denied.value.reason == reason
        with pytest.raises(DeniedError) as outside:
            clerk.invoke("tool:bank/mail", {}, delegation=given)
        [received] = clerk.list_delegations()["received"]
        payer.revoke_delegation(given, reason="enough")
        with pytest.raises(DeniedError) as revoked:
            clerk.invoke("tool:bank/pay", {"amount": 1}, delegation=given)

    assert (outside.value.reason, revoked.value.reason) == ("DELEGATION_SCOPE", "DELEGATION_REVOKED")
    assert (received["delegation"], received["delegator"], received["purpose"]) == (given, "payer", "small change")
    with pytest.raises(ValueError, match="delegation's id"):
        payer.invoke("tool:bank/mail", {}, delegation="nonsense")


def test_an_intent_narrows_its_call(payer: Client) -> None:
    """An agent may ask for less than it may do."""
    with pytest.raises(DeniedError):
        payer.invoke("tool:bank/mail", {}, intents=[{"resources": ["tool:bank/pay"]}])

    assert payer.invoke("tool:bank/mail", {}, intents=[{"resources": ["tool:bank/mail"]}]) == "sent"


def test_a_tools_prompt_is_authenticated_and_derived_prompts_inherit(running: Installation) -> None:
    """Without more being said it is a root prompt; below a parent the parent's policy holds too."""
    with Client.connect(running.folder.tenant, "payer", home=running.home) as client:
        assert client.invoke("tool:bank/complete", {"prompt": "hello"}) == "HELLO"
        with pytest.raises(DeniedError) as missing:
            client.invoke("tool:bank/complete", {"prompt": "hello"}, prompts=[])
        root = client.create_prompt("prompt", "root", policy={"resources": ["tool:bank/complete"]})
        assert client.invoke("tool:bank/complete", {"prompt": "root"}, prompts=[root]) == "ROOT"
        child = client.create_prompt("prompt", "child", parent=root)
        assert client.invoke("tool:bank/complete", {"prompt": "child"}, prompts=[child]) == "CHILD"
        other = client.create_prompt("amount", 1, parent=root)
        with pytest.raises(DeniedError) as outside:
            client.invoke("tool:bank/pay", {"amount": 1}, prompts=[other])
        orphan = client.create_prompt("prompt", "x", parent=bytes(32))
        with pytest.raises(DeniedError) as unknown:
            client.invoke("tool:bank/complete", {"prompt": "x"}, prompts=[orphan])
        with pytest.raises(PromptMismatchError):
            client.invoke("tool:bank/complete", {"prompt": "another"}, prompts=[root])

    reasons = [one.value.reason for one in (missing, outside, unknown)]
    assert reasons == ["PROMPT_MISSING", "RESOURCE_NOT_ALLOWED", "PROMPT_UNKNOWN"]


def test_an_application_notes_what_it_did(payer: Client) -> None:
    """It stands on the log under an id; what is not well formed is refused by name."""
    noted = payer.log_event("invoice.read", action="read", target="mail/7", signed=True, metadata={"pages": 2})

    assert len(bytes.fromhex(noted)) == 16
    with pytest.raises(RefusedError) as refused:
        payer.log_event("invoice.read", outcome="maybe")
    assert refused.value.reason == "APPLICATION_EVENT"


def test_a_closed_session_is_over_with_its_waiting_calls(running: Installation) -> None:
    """Whoever waited is told, and nothing more is heard."""
    client = Client.connect(running.folder.tenant, "payer", home=running.home)
    with client:
        told = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(
                client.invoke,
                "tool:bank/pay",
                {"amount": 5000},
                on_pending=lambda _: told.set(),
                seconds=PATIENCE_SECONDS,
            )
            assert told.wait(PATIENCE_SECONDS)
            client.close_session()
            with pytest.raises(RefusedError) as after:
                client.invoke("tool:bank/mail", {})
            with pytest.raises(DeniedError) as cancelled:
                call.result(PATIENCE_SECONDS)

    assert (after.value.reason, cancelled.value.reason) == ("EXPIRED_SESSION", "EXPIRED_SESSION")
