"""Times that a caller sets: from then on its call does not begin, whoever is late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.calls.deadlines import ends_at
from schemas import limits
from tests.builders import Folded, invocation
from tests.workflow_world import PAY, Workflow
from tests.world import START_MS, Office

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1


@pytest.fixture
def office() -> Office:
    return Office.opened("deadlines")


def ask(office: Office, **wishes: object) -> Folded:
    return office.world.send(invocation(office.resource, {}, **wishes), office.session)


@pytest.mark.parametrize("name", ["deadline", "begin_by"])
def test_a_call_that_comes_at_its_time_is_denied_and_one_before_it_is_not(office: Office, name: str) -> None:
    """A millisecond earlier there is one millisecond left, and no host may begin later."""
    assert ask(office, **{name: office.world.now}).says == ("denied", "DEADLINE_PASSED")
    last = ask(office, **{name: office.world.now + 1})
    assert last.says == ("allowed", "")
    assert [one.execute_before for one in last.decisions] == [office.world.now + 1]


def test_a_time_only_shortens_what_every_decision_has(office: Office) -> None:
    """Far ahead it changes nothing; the earlier of two counts."""
    usual = office.world.now + limits.EXECUTE_WITHIN_MS
    far = ask(office, deadline=LONG_MAX, begin_by=LONG_MAX)
    both = ask(office, deadline=office.world.now + 10, begin_by=office.world.now + 20)

    assert [one.execute_before for one in (*far.decisions, *both.decisions)] == [usual, office.world.now + 10]


def test_what_cannot_have_begun_any_more_is_unknown_sooner(office: Office) -> None:
    """A tool of five seconds that had to begin within one has no minute to report."""
    ask(office, deadline=office.world.now + 1_000)
    (row,) = office.world.tables.calls.rows.values()

    assert row.unknown_at == office.world.now + 1_000 + 5_000 + limits.UNKNOWN_GRACE_MS


@given(
    deadline=st.none() | st.integers(LONG_MIN, LONG_MAX) | st.integers(START_MS - 3, START_MS + 90_000),
    begin_by=st.none() | st.integers(LONG_MIN, LONG_MAX) | st.integers(START_MS - 3, START_MS + 90_000),
)
def test_whatever_times_are_named_nothing_may_begin_at_or_after_them(
    deadline: int | None, begin_by: int | None
) -> None:
    """Any two numbers that the wire takes: one decision, and within both."""
    body = invocation("tool:calc/run", {}, deadline=deadline, begin_by=begin_by)
    office = OFFICE
    value, headers = office.world.signed(body, office.session)
    folded = office.world.attempt(value, headers)
    (decision,) = folded.decisions
    earliest = ends_at(body, waited=False)

    assert (decision.outcome == "allowed") == (office.world.now < earliest)
    assert decision.execute_before is None or office.world.now < decision.execute_before <= earliest


OFFICE = Office.opened("any deadline")
OFFICE.world.tables.commit()


# ---- calls that wait


def waiting(**wishes: object) -> tuple[Workflow, Folded]:
    world = Workflow.opened()
    world.require("manager", approval_criteria="role:manager", timeout=600)
    asked = world.send(invocation(PAY, {"amount": 10, "to": "bob"}, **wishes), world.bot)
    assert asked.says == ("pending", "APPROVAL_PENDING")
    return world, asked


def test_people_are_asked_until_the_deadline_and_no_longer() -> None:
    """The caller and the approvers are told the time that counts; then the call is denied for its deadline."""
    world, asked = waiting(deadline=START_MS + 60_000)
    carol = world.person("carol", "manager")
    assert [result.detail for result in asked.results] == [f"until={START_MS + 60_000}"]
    world.advance(60_000)

    late = world.approve(carol, asked, "manager")

    assert late.says == ("refused", "APPROVAL_CLOSED")
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "DEADLINE_PASSED")
    assert not world.tables.pending.rows
    assert not [row for row in world.tables.requests.rows.values() if not row.closed]


def test_an_approval_in_time_leaves_what_is_left_of_it() -> None:
    """Approved a second before its deadline it has one second to begin."""
    world, asked = waiting(deadline=START_MS + 60_000)
    carol = world.person("carol", "manager")
    world.advance(59_000)
    world.approve(carol, asked, "manager")

    assert world.final(asked).execute_before == START_MS + 60_000


def test_who_waits_for_people_has_its_first_answer() -> None:
    """`begin_by` is for the first answer only: what waits stays wanted."""
    world, asked = waiting(begin_by=START_MS + 1_000)
    carol = world.person("carol", "manager")
    world.advance(300_000)
    world.approve(carol, asked, "manager")

    assert world.final(asked).outcome == "allowed"
    assert world.final(asked).execute_before == world.now + limits.EXECUTE_WITHIN_MS


def test_a_call_that_nobody_approves_and_one_whose_session_ends_are_called_so() -> None:
    """A deadline that lies later is not the reason."""
    world, asked = waiting(deadline=START_MS + 3_000_000)
    world.passes(600_000)
    assert world.final(asked).reason == "APPROVAL_TIMEOUT"

    world, asked = waiting(deadline=START_MS + 60_000)
    world.close(world.bot)
    world.passes(1)
    assert world.final(asked).reason == "EXPIRED_SESSION"
