"""The freeze drill of docs/incidents.md, played on a real log while calls are under way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from producers.client import Client, DeniedError
from schemas import codec
from schemas.records import AuditEntry
from schemas.topics import AUDIT
from tests.cli.test_drills import Stage, stage
from tests.streams.loop_oracle import read_topic
from tests.streams.loop_world import World
from tests.waiting import wait_until

pytestmark = pytest.mark.broker
CALLERS = 3

__all__ = ["stage"]


def entries_of(stage: Stage) -> list[AuditEntry]:
    """Return the audit log."""
    world = World.__new__(World)
    world.broker, world.unique = stage.here.broker, stage.here.folder.tenant
    topic = AUDIT.of(stage.here.folder.tenant)
    return [codec.decode_as(AuditEntry, one.value() or b"") for one in read_topic(world, topic)]


def call_until_frozen(stage: Stage, first: int, begun: threading.Event) -> list[int]:
    """Call the bank again and again until a call is denied FROZEN; return the numbers that it paid."""
    paid = []
    with Client.connect(stage.here.folder.tenant, "shopper", home=stage.here.home) as agent:
        for number in range(first, first + 10_000):
            try:
                agent.invoke("tool:bank/pay", {"number": number})
            except DeniedError as denied:
                if denied.reason != "FROZEN":
                    raise
                return paid
            paid.append(number)
            begun.set()
    raise AssertionError("no call was denied")


def test_a_stolen_agent_key_is_frozen_while_it_calls(stage: Stage, tmp_path, capsys) -> None:
    """From the next record on no call is allowed; what was allowed before has run once, and nothing else."""
    before = len(stage.bank.paid)
    begun = [threading.Event() for _ in range(CALLERS)]
    with stage.monitoring(), stage.here.hosting("bank", stage.bank):
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(call_until_frozen, stage, 1_000_000 * (at + 1), one) for at, one in enumerate(begun)]
            for one in begun:
                assert one.wait(30)
            stage.macaw("freeze", "--principal", "shopper", "--reason", "its key may be stolen")
            paid = sorted(number for one in callers for number in one.result())
        stage.macaw("doctor")
        stage.macaw("unfreeze", "--principal", "shopper", "--reason", "a new key is registered")
        with Client.connect(stage.here.folder.tenant, "shopper", home=stage.here.home) as agent:
            assert agent.invoke("tool:bank/pay", {"number": 7}) == {"paid": 7}
    told = capsys.readouterr()
    assert "freeze: principal shopper by admin" in told.out
    assert sorted(stage.bank.paid[before:-1]) == paid
    entries = entries_of(stage)
    at, thawed = (one.index for one in entries if one.kind == "EnforcementSet")
    calls = [one for one in entries if one.kind == "InvocationRequested"]
    assert {one.outcome for one in calls if one.index < at} == {"allowed"}
    assert {one.reason for one in calls if at < one.index < thawed} == {"FROZEN"}
    assert [one.outcome for one in calls if one.index > thawed] == ["allowed"]
    stage.verified(tmp_path / "evidence")


def test_a_call_that_was_allowed_before_the_freeze_may_begin_after_it(stage: Stage) -> None:
    """Its host was away when it was decided, and it has the signed decision: the page says so."""
    with stage.monitoring():
        known = sum(one.outcome == "allowed" for one in entries_of(stage))
        with (
            ThreadPoolExecutor(1) as pool,
            Client.connect(stage.here.folder.tenant, "shopper", home=stage.here.home) as agent,
        ):
            asked = pool.submit(agent.invoke, "tool:bank/pay", {"number": 11})
            wait_until(
                lambda: sum(one.outcome == "allowed" for one in entries_of(stage)) > known,
                lambda: "the call is not decided",
            )
            stage.macaw("freeze", "--reason", "a drill")
            with stage.here.hosting("bank", stage.bank):
                assert asked.result() == {"paid": 11}
                with pytest.raises(DeniedError, match="FROZEN"):
                    agent.invoke("tool:bank/pay", {"number": 12})
        stage.macaw("unfreeze")
    assert stage.bank.paid[-1] == 11
