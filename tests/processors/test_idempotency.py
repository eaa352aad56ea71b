"""Idempotency keys: of a principal's calls with one key at most one is executed within a day."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from processors.state.bounds import TenantLimits
from schemas import limits
from tests.builders import Actor, Folded, invocation
from tests.workflow_world import PAY, Workflow
from tests.world import HOUR_MS, World

DAY_MS = 24 * HOUR_MS
RUN = "tool:calc/run"


class Callers(World):
    """A tool and two agents that may call it."""

    @classmethod
    def opened(cls, name: str = "callers", bounds: TenantLimits | None = None) -> Callers:
        world = cls.founded(name, bounds=bounds)
        world.calc = world.register("tool", "calc")
        world.agents = [world.register("agent", one) for one in ("ann", "ben")]
        world.publish_policy(*({"policy_id": f"agent:{one}", "resources": [RUN]} for one in ("ann", "ben")))
        return world

    calc: Actor
    agents: list[Actor]

    def ask(self, agent: int = 0, key: str | None = "k", n: int = 1, resource: str = RUN, **header: Any) -> Folded:
        """Let an agent call from a new session, as after a restart."""
        session = self.open_session(self.agents[agent])
        return self.send(invocation(resource, {"n": n}, idempotency_key=key), session, **header)


@pytest.fixture
def world() -> Callers:
    return Callers.opened()


def detail(folded: Folded) -> str:
    (decision,), (result,) = folded.decisions, folded.results
    assert result.detail == decision.detail
    return result.detail


@pytest.mark.parametrize("outcome", ["ok", "failed", "unknown"])
def test_a_second_call_is_told_the_first_and_how_it_ended(world: Callers, outcome: str) -> None:
    """From another session of the same agent; a failure may have had half of its effect, so it counts."""
    first = world.ask()
    event_id = first.decisions[0].event_id.hex()
    while_it_runs = world.ask()
    world.report(first.decision_leaf, world.calc, outcome=outcome)
    after = world.ask()

    assert first.says == ("allowed", "")
    assert [one.says for one in (while_it_runs, after)] == [("denied", "ALREADY_CALLED")] * 2
    assert detail(while_it_runs) == f"event_id={event_id} outcome=allowed"
    assert detail(after) == f"event_id={event_id} outcome={outcome}"


def test_a_call_without_a_report_is_known_as_unknown(world: Callers) -> None:
    """Nobody knows whether it ran, so it does not run again."""
    world.ask()
    world.advance(limits.EXECUTE_WITHIN_MS + 5_000 + limits.UNKNOWN_GRACE_MS)
    world.tick()

    assert detail(world.ask()).endswith("outcome=unknown")


def test_another_call_under_the_key_is_a_conflict_and_another_principals_is_not(world: Callers) -> None:
    """Other parameters, another resource, for somebody else: no answer to that is the first one's."""
    world.ask(0)

    assert world.ask(0, n=2).says == ("denied", "IDEMPOTENCY_CONFLICT")
    assert world.ask(0, resource="tool:calc/other").says == ("denied", "IDEMPOTENCY_CONFLICT")
    assert world.ask(1, n=2).says == ("allowed", "")
    assert world.ask(0, key="l", n=2).says == ("allowed", "")
    assert [world.ask(0, key=None).says for _ in range(2)] == [("allowed", "")] * 2


def test_a_key_is_used_up_for_a_day(world: Callers) -> None:
    """To the millisecond, also while what is due has not left yet."""
    world.ask()
    began = world.now
    world.now = began + DAY_MS - 1
    assert world.ask().says == ("denied", "ALREADY_CALLED")
    world.now = began + DAY_MS
    assert world.ask(n=2).says == ("allowed", "")


@pytest.mark.parametrize("key", ["", "k" * 129, "ü" * 65])
def test_a_key_has_one_to_128_bytes(world: Callers, key: str) -> None:
    """What is longer is kept by nobody."""
    assert world.ask(key=key).says == ("denied", "IDEMPOTENCY_KEY")
    assert world.ask(key="ü" * 64).says == ("allowed", "")


def test_a_denial_uses_no_key_up(world: Callers) -> None:
    """What was denied may be asked again, also otherwise."""
    assert world.ask(resource="tool:none/run").says[0] == "denied"
    assert world.ask().says == ("allowed", "")


def test_one_principal_fills_its_own_share() -> None:
    """The next is denied, and not executed without the promise; another principal has its own."""
    world = Callers.opened("few", TenantLimits(idempotency_keys=8))
    assert [world.ask(key=key).says[1] for key in ("a", "b", "c")] == ["", "", "LIMIT_EXCEEDED"]
    assert [world.ask(1, key=key).says[1] for key in ("c", "d", "e")] == ["", "", "LIMIT_EXCEEDED"]


def test_while_the_first_waits_for_people_the_second_does_not_ask_them_again() -> None:
    """Denied, the key is free; approved, it is used up for a day from then."""
    world = Workflow.opened()
    world.require("manager", approval_criteria="role:manager", timeout=600)
    carol = world.person("carol", "manager")
    body = invocation(PAY, {"amount": 10}, idempotency_key="rent")
    first = world.send(body, world.bot)
    second = world.send(body, world.bot)
    assert (first.says, second.says) == (("pending", "APPROVAL_PENDING"), ("denied", "ALREADY_CALLED"))
    assert detail(second).endswith("outcome=pending")
    assert len(world.tables.requests) == 1

    world.deny(carol, first, "manager")
    third = world.send(body, world.bot)
    assert third.says == ("pending", "APPROVAL_PENDING")
    world.advance(300_000)
    world.approve(carol, third, "manager")

    assert world.final(third).outcome == "allowed"
    assert detail(world.send(body, world.bot)).endswith("outcome=allowed")
    (row,) = world.tables.idempotency.rows.values()
    assert row.until == world.now + DAY_MS


def test_what_nobody_approves_gives_its_key_back() -> None:
    """A call that waited and was never decided for did nothing."""
    world = Workflow.opened()
    world.require("manager", approval_criteria="role:manager", timeout=600)
    world.send(invocation(PAY, {"amount": 10}, idempotency_key="rent"), world.bot)
    world.passes(600_000)

    assert not world.tables.idempotency.rows


class Keys(RuleBasedStateMachine):
    """Whatever is asked, reported, aborted and waited for: within a day one key executes once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Callers.opened("machine")
        self.allowed: dict[tuple[int, str], tuple[int, int, Folded]] = {}
        self.open: list[Folded] = []

    @rule(agent=st.integers(0, 1), key=st.sampled_from("ab"), n=st.integers(1, 2), known=st.booleans())
    def ask(self, agent: int, key: str, n: int, known: bool) -> None:
        folded = self.world.ask(agent, key, n, RUN if known else "tool:none/run")
        before = self.allowed.get((agent, key))
        lives = before is not None and self.world.now < before[0] + DAY_MS
        if not lives:
            assert folded.says[0] == ("allowed" if known else "denied")
        else:
            same = known and before is not None and before[1] == n
            assert folded.says == ("denied", "ALREADY_CALLED" if same else "IDEMPOTENCY_CONFLICT")
            assert before is not None
            assert detail(folded).startswith(f"event_id={before[2].decisions[0].event_id.hex()}")
        if folded.says[0] == "allowed":
            self.allowed[agent, key] = (self.world.now, n, folded)
            self.open.append(folded)

    @rule(ms=st.sampled_from([1, 90_000, HOUR_MS, DAY_MS - HOUR_MS]))
    def wait(self, ms: int) -> None:
        self.world.advance(ms)

    @precondition(lambda self: self.open)
    @rule(outcome=st.sampled_from(["ok", "failed", "unknown"]))
    def report(self, outcome: str) -> None:
        self.world.report(self.open.pop().decision_leaf, self.world.calc, outcome=outcome)

    @rule(key=st.sampled_from("ab"))
    def abort(self, key: str) -> None:
        """A transaction that aborts has used nothing up."""
        session = self.world.open_session(self.world.agents[0])
        self.world.tables.commit()
        before = self.world.rows()
        self.world.attempt(*self.world.signed(invocation(RUN, {"n": 1}, idempotency_key=key), session))
        assert self.world.rows() == before

    def teardown(self) -> None:
        """Folded again, and carried over half way to another worker, the log says the same."""
        whole, restored = self.world.fresh_tables(), self.world.fresh_tables()
        middle = len(self.world.records) // 2
        for position, record in enumerate(self.world.records):
            if position == middle:
                for name, table in whole.by_name.items():
                    for key, row in table.rows.items():
                        restored.by_name[name].restore(key, row)
                restored.resume_at(next_index=whole.next_index, prev=whole.prev, now=whole.now)
            folded = self.world.fold_into(whole, record)
            if position >= middle:
                assert self.world.fold_into(restored, record).outputs == folded.outputs
        assert {name: table.rows for name, table in whole.by_name.items()} == self.world.rows()
        assert {name: table.rows for name, table in restored.by_name.items()} == self.world.rows()


TestKeys = Keys.TestCase
TestKeys.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
