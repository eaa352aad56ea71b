"""A gate on a real log: functions run in their own thread, only when the log allows, and their outcome is on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.governed import GovernedError, Governing
from macaw.adapters.refusals import PermissionDeniedError, ResultUnconfirmedError, sentence_for_model
from macaw.installation.tenancy import admin_connection
from macaw.installation.tenant_limits import set_settings
from producers.agent.agent import Agent
from producers.client import Client, FailedError
from streams.local.choose import BrokerInfo
from tests.adapters.gates import approving, shop
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker
REFUND = "tool:shop/refund"


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with shop(broker, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def agent(here: Installation) -> Iterator[Agent]:
    with Agent.connect(here.folder.tenant, "shop", home=here.home) as connected:
        yield connected


@pytest.fixture(scope="module")
def gate(agent: Agent) -> Gate:
    return Gate(agent)


def never() -> Any:
    raise AssertionError("the function ran")


def test_an_allowed_function_runs_in_the_thread_that_asked(gate: Gate) -> None:
    """With its own objects: what it returns need not be JSON."""
    value = object()
    seen: list[int] = []

    def refund() -> object:
        seen.append(threading.get_ident())
        return value

    assert gate.run(REFUND, {"amount": 5}, refund) is value
    assert seen == [threading.get_ident()]


def test_a_denied_function_does_not_run(gate: Gate) -> None:
    with pytest.raises(PermissionDeniedError) as denied:
        gate.run(REFUND, {"amount": 500}, never)

    assert (denied.value.reason, len(denied.value.event_id)) == ("PARAM_OUT_OF_RANGE", 32)
    assert isinstance(denied.value, PermissionError)
    told = sentence_for_model(denied.value)
    assert "PARAM_OUT_OF_RANGE" in told
    assert not any(word in told for word in ("service:shop", "100", "500", "amount", "max"))


def test_an_exception_is_the_callers_own_and_a_failure_on_the_log(gate: Gate) -> None:
    with pytest.raises(ZeroDivisionError):
        gate.run(REFUND, {"amount": 6}, lambda: 1 // 0)


def test_an_awaited_function_runs_in_its_task_and_context(gate: Gate) -> None:
    who: ContextVar[str] = ContextVar("who")

    async def main() -> None:
        who.set("me")
        loop = asyncio.get_running_loop()

        async def refund() -> str:
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            return who.get()

        assert await gate.run_async(REFUND, {"amount": 7}, refund) == "me"
        with pytest.raises(PermissionDeniedError, match="RESOURCE_DENIED"):
            await gate.run_async("tool:shop/secret", {}, never)

    asyncio.run(main())


def test_a_hundred_at_once_each_get_their_own(gate: Gate) -> None:
    """The same parameters too: which of two equal callers a permission reaches makes no difference."""

    async def one(number: int) -> int:
        async def refund() -> int:
            await asyncio.sleep(0)
            return number

        return await gate.run_async(REFUND, {"amount": number % 5}, refund)

    async def main() -> list[int]:
        return list(await asyncio.gather(*map(one, range(100))))

    assert asyncio.run(main()) == list(range(100))
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda n: gate.run(REFUND, {"amount": n % 5}, lambda: n), range(50))) == list(range(50))


def test_a_call_within_a_call_is_bound_by_the_outer_one(gate: Gate) -> None:
    def outer() -> str:
        with pytest.raises(PermissionDeniedError, match="RESOURCE_DENIED"):
            gate.run("tool:shop/secret", {}, never)
        return gate.run("tool:shop/inner", {}, lambda: "inner")

    assert gate.run("tool:shop/outer", {}, outer) == "inner"


def test_a_stranger_cannot_have_a_permission_meant_for_another(here: Installation, gate: Gate, agent: Agent) -> None:
    """A stranger calls the operation with the very parameters that the owner waits with: nothing runs for it."""
    ran: list[str] = []
    with Client.connect(here.folder.tenant, "stranger", home=here.home) as stranger:
        gate.offer(REFUND)

        def refund() -> str:
            with pytest.raises(FailedError, match="NOT_RUN"):
                stranger.invoke(REFUND, {"amount": 9}, target=agent.session_id)
            ran.append("owner")
            return "done"

        assert gate.run(REFUND, {"amount": 9}, refund) == "done"
    assert ran == ["owner"]


def test_a_call_that_is_not_decided_in_time_does_not_run_and_nobody_waits_for_it(gate: Gate) -> None:
    with pytest.raises(PermissionDeniedError) as denied:
        gate.run(REFUND, {"amount": 11}, never, patience=GatePatience(0.001))

    # the caller's wait and the call's own deadline end in the same moment: either may be heard first
    assert denied.value.reason in {"NO_DECISION", "DEADLINE_PASSED"}
    assert not gate._tickets


def test_what_the_log_would_not_take_does_not_run(gate: Gate) -> None:
    for parameters in ({"amount": float("nan")}, {"amount": object()}, {"stamps": 1}, {"text": "\ud800"}):
        with pytest.raises(PermissionDeniedError):
            gate.run(REFUND, parameters, never)
    for resource in ("tool:shop/../bank", "tool:else/refund", "tool:shop/x*", ""):
        with pytest.raises(PermissionDeniedError):
            gate.run(resource, {}, never)


def test_a_cancelled_task_leaves_the_gate(gate: Gate) -> None:
    async def main() -> None:
        begun, forever = asyncio.Event(), asyncio.Event()

        async def refund() -> None:
            begun.set()
            await forever.wait()

        task = asyncio.create_task(gate.run_async(REFUND, {"amount": 13}, refund))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not gate._tickets
    assert gate.run(REFUND, {"amount": 13}, lambda: "again") == "again"


def test_an_iterator_that_a_function_returns_is_left_to_its_caller(gate: Gate) -> None:
    assert list(gate.run(REFUND, {"amount": 14}, lambda: iter("abc"))) == ["a", "b", "c"]


def test_a_result_that_the_log_withholds_does_not_come_back(here: Installation, gate: Gate) -> None:
    token = "npm_" + "4eC39HqLyjWD" * 3
    with admin_connection(here.home, here.folder) as admin:
        set_settings(admin, {"results.secrets": "withhold"})
        try:
            with pytest.raises(ResultUnconfirmedError) as withheld:
                gate.run(REFUND, {"amount": 15}, lambda: f"log in with {token}")
        finally:
            set_settings(admin, {"results.secrets": None})

    assert withheld.value.reason == "RESULT_WITHHELD"
    assert token not in str(withheld.value)


def test_a_call_that_needs_people_waits_for_a_yes(here: Installation, gate: Gate) -> None:
    with approving(here) as approved:
        how = GatePatience(approval_seconds=PATIENCE_SECONDS)
        assert gate.run("tool:shop/wire", {"amount": 7}, lambda: "wired", patience=how) == "wired"
    assert len(approved) == 1
    with pytest.raises(PermissionDeniedError):  # without that patience nobody is waited for
        gate.run("tool:shop/wire", {"amount": 6}, never)


def test_a_held_call_is_open_until_its_block_ends(gate: Gate) -> None:
    """It ends in another thread here, as the stream of a model may."""
    block = gate.held(REFUND, {"amount": 16})
    block.__enter__().report({"tokens": 3})
    assert len(gate._tickets) == 1
    with ThreadPoolExecutor(1) as pool:
        pool.submit(block.__exit__, None, None, None).result()
    assert not gate._tickets

    async def main() -> None:
        async with gate.held_async(REFUND, {"amount": 16}) as held:
            held.report(7)
        with pytest.raises(PermissionDeniedError, match="PARAM_OUT_OF_RANGE"):
            async with gate.held_async(REFUND, {"amount": 500}):
                never()

    asyncio.run(main())
    with pytest.raises(PermissionDeniedError, match="PARAM_OUT_OF_RANGE"), gate.held(REFUND, {"amount": 500}):
        never()
    with pytest.raises(ZeroDivisionError), gate.held(REFUND, {"amount": 17}):
        raise ZeroDivisionError
    with gate.held(REFUND, {"amount": 18}) as left:
        pass
    assert left.has_failed
    assert not gate._tickets


def test_large_texts_of_a_held_call_travel_beside_the_log(gate: Gate) -> None:
    large = {"messages": "word " * 100_000}
    with pytest.raises(PermissionDeniedError), gate.held("tool:shop/small", large):
        never()
    with gate.held("tool:shop/model", large, bodies=("messages",)) as held:
        held.report("done")


def test_governed_functions_name_every_parameter(gate: Gate) -> None:
    governed = Governing(gate, app="shop")
    ran: list[Any] = []

    @governed
    def refund(order: int, amount: float = 5.0) -> str:
        """Pay back."""
        ran.append((order, amount))
        return f"{amount} for {order}"

    @governed(name="refund")
    async def pay_back(order: int, *, amount: float = 5000.0) -> str:
        ran.append((order, amount))
        return "paid"

    assert refund(7) == "5.0 for 7"
    assert refund.__doc__ == "Pay back."
    with pytest.raises(PermissionDeniedError, match="PARAM_OUT_OF_RANGE"):
        refund(7, 101)
    with pytest.raises(PermissionDeniedError, match="PARAM_OUT_OF_RANGE"):
        asyncio.run(pay_back(8))  # the default is a parameter like any other
    assert asyncio.run(pay_back(8, amount=1)) == "paid"
    with pytest.raises(TypeError):
        refund()  # type: ignore[call-arg]
    assert ran == [(7, 5.0), (8, 1)]


def test_functions_whose_parameters_have_no_names_are_not_governed(gate: Gate) -> None:
    governed = Governing(gate, app="shop")

    def many(*orders: int) -> None: ...

    def named(**orders: int) -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    class Shop:
        def refund(self) -> None: ...

    for one in (many, named, generator, Shop.refund, lambda: 1):
        with pytest.raises(GovernedError):
            governed(one)
