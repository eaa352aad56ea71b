"""Approvals that serve less than their policies allow: never wider, and of several the narrowest counts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.policy.limits import TIME_TO_LIVE_SECONDS_MAX, USES_MAX
from schemas.events.attributes import ApproverLimits, Attributes
from tests.builders import Actor, Folded
from tests.engines import NEWEST
from tests.workflow_world import ANYTHING, PAY, Workflow, reply

KEY = "manager"
MINUTE_MS = 60_000
WIDEST = {"once": True, "for_seconds": TIME_TO_LIVE_SECONDS_MAX, "uses": USES_MAX}


def opened(name: str = "narrow", *, keys: tuple[str, ...] = (KEY,), **meta: Any) -> Workflow:
    """Return a world of the second engine where payments need approvals on these terms."""
    world = Workflow.opened(name, **NEWEST)
    metas = {key: {"approval_criteria": f"role:{key}", "timeout": 300, **meta} for key in keys}
    needed = [f"{key}::{{tool.id == '{PAY}'}}" for key in keys]
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": {"attestations": metas}}
    )
    return world


def managers(world: Workflow, count: int) -> list[Actor]:
    """Return persons who may approve."""
    return [world.person(f"manager-{n}", KEY) for n in range(count)]


@pytest.mark.parametrize(
    ("meta", "scopes"),
    [
        ({"one_time": False}, WIDEST),
        ({"one_time": False, "time_to_live": 90}, WIDEST | {"for_seconds": 90}),
        ({"max_uses": 3}, WIDEST | {"uses": 3}),
        ({"one_time": False, "timeout": 0}, {name: most for name, most in WIDEST.items() if name != "once"}),
        ({}, {"once": True}),
        ({"one_time": True, "time_to_live": 90}, {"once": True}),
    ],
)
def test_a_request_tells_the_scopes_that_it_offers(meta: dict[str, Any], scopes: dict[str, Any]) -> None:
    """Each with the most that may be chosen; of an approval for one call there is nothing to choose."""
    world = opened(**meta)
    [boss], _ = managers(world, 1), world.pay()

    [row] = reply(world.ask(boss, "approvals"))["requests"]
    assert row["scopes"] == scopes


@pytest.mark.parametrize(
    "wider",
    [
        {"for_ms": 90_001}, {"for_ms": 0}, {"for_ms": -1}, {"uses": 4}, {"uses": 0}, {"uses": -1},
        {"once": True, "uses": 1}, {"once": True, "for_ms": 1}, {"for_ms": 2**62},
    ],
)  # fmt: skip
def test_an_answer_is_never_wider(wider: dict[str, Any]) -> None:
    """It is refused, and not cut: the approver would believe in another approval than stands."""
    world = opened(time_to_live=90, max_uses=3)
    [boss], asked = managers(world, 1), world.pay()
    world.is_refused("APPROVAL_SCOPE", lambda: world.approve(boss, asked, KEY, **wider))

    assert world.approve(boss, asked, KEY, for_ms=90_000, uses=3).says == ("accepted", "")


@pytest.mark.parametrize(("meta", "narrow"), [({}, {"for_ms": 1}), ({}, {"uses": 1}), ({"timeout": 0}, {"once": True})])
def test_a_scope_that_is_not_offered_is_refused(meta: dict[str, Any], narrow: dict[str, Any]) -> None:
    """A time for an approval of one call; one call for an approval of later ones."""
    world = opened(**({"one_time": False} | meta if meta else meta))
    [boss], asked = managers(world, 1), world.pay()

    world.is_refused("APPROVAL_SCOPE", lambda: world.approve(boss, asked, KEY, **narrow))


def test_once_is_for_this_call_although_the_policy_would_let_later_ones_pass() -> None:
    world = opened(one_time=False)
    [boss], asked = managers(world, 1), world.pay()
    world.approve(boss, asked, KEY, once=True)

    assert world.final(asked).outcome == "allowed"
    assert len(world.tables.grants) == 0
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_shorter_time_and_fewer_calls_end_the_grant() -> None:
    world = opened(one_time=False, time_to_live=3600)
    [boss] = managers(world, 1)
    world.approve(boss, world.pay(), KEY, for_ms=MINUTE_MS)
    world.passes(MINUTE_MS - 1)
    assert world.pay().says == ("allowed", "")
    world.passes(1)
    assert world.pay().says == ("pending", "APPROVAL_PENDING")

    other = opened("fewer", max_uses=5)
    [boss] = managers(other, 1)
    other.approve(boss, other.pay(), KEY, uses=2)
    assert [other.pay().says[0] for _ in range(2)] == ["allowed", "pending"]


NARROW = [{}, {"for_ms": MINUTE_MS, "uses": 4}, {"uses": 2}]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_narrowest_of_a_quorum_wins_in_each_respect(order: tuple[int, ...]) -> None:
    """In any order."""
    world = opened(one_time=False, quorum=3)
    people, asked = managers(world, 3), world.pay()
    for at in order:
        world.approve(people[at], asked, KEY, **NARROW[at])

    [grant] = world.tables.grants.rows.values()
    assert (grant.max_uses, grant.expires_at) == (2, world.now + MINUTE_MS)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_one_once_of_a_quorum_is_enough(order: tuple[int, ...]) -> None:
    """In any order."""
    world = opened(one_time=False, quorum=3)
    people, asked = managers(world, 3), world.pay()
    for at in order:
        world.approve(people[at], asked, KEY, **[{}, {"once": True}, {"uses": 2}][at])

    assert world.final(asked).outcome == "allowed"
    assert world.pay().says == ("pending", "APPROVAL_PENDING")


@pytest.mark.parametrize("narrow", [{"once": True}, {"uses": 1}, {"for_ms": 1}])
def test_a_further_yes_narrows_a_grant_that_stands(narrow: dict[str, Any]) -> None:
    """The call still waits for another key, and the quorum of this one has made a grant: a later yes is counted too."""
    world = opened(keys=(KEY, "board"), one_time=False)
    first, second = managers(world, 2)
    asked = world.pay()
    world.approve(first, asked, KEY)
    world.approve(second, asked, KEY, **narrow)
    world.approve(world.person("ben", "board"), asked, "board")
    world.advance(1)

    assert world.pay().says == ("pending", "APPROVAL_PENDING")


def test_a_further_once_gives_back_no_use_of_the_grant() -> None:
    """Calls that it served meanwhile stay counted: the call that waits is denied, as it was without the further yes."""
    world = opened(keys=(KEY, "board"), max_uses=2)
    people, ben = managers(world, 2), world.person("ben", "board")
    asked = world.pay()
    world.approve(people[0], asked, KEY)
    for _ in range(2):
        other = world.pay()
        assert other.says == ("pending", "APPROVAL_PENDING")
        world.approve(ben, other, "board", once=True)
        assert world.final(other).outcome == "allowed"
    world.approve(people[1], asked, KEY, once=True)

    world.approve(ben, asked, "board")
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "APPROVAL_CONSUMED")


def test_a_shorter_time_ends_an_approval_of_a_call_that_still_waits() -> None:
    """As the policy's own time does."""
    world = opened(keys=(KEY, "board"), one_time=False)
    [boss], asked = managers(world, 1), world.pay()
    world.approve(boss, asked, KEY, for_ms=MINUTE_MS)
    world.passes(MINUTE_MS)
    world.approve(world.person("ben", "board"), asked, "board")

    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "APPROVAL_EXPIRED")


# ---- laws

TERMS = st.fixed_dictionaries(
    {"quorum": st.integers(1, 3)},
    optional={"time_to_live": st.sampled_from([1, 60, 600]), "max_uses": st.integers(1, 4)},
)
NARROWER = st.fixed_dictionaries({}, optional={"for_ms": st.integers(1, 600_000), "uses": st.integers(1, 4)}) | st.just(
    {"once": True}
)
STEPS = st.lists(st.tuples(st.sampled_from([0, 1, 999, MINUTE_MS]), st.sampled_from([5, 10, 20])), max_size=6)


def outcomes(
    terms: dict[str, Any],
    yeses: list[dict[str, Any]],
    steps: list[tuple[int, int]],
    limits: ApproverLimits | None = None,
) -> list[str]:
    """Return how calls end that follow on one that was approved so; the first is the approved one itself."""
    world = opened("laws", one_time=False, **terms)
    attributes = Attributes(roles=(KEY,))
    asked = world.pay(10)
    for at in range(terms["quorum"]):
        approver = world.register("approver", f"service-{at}", attributes=attributes, approver=limits)
        world.approve(approver, asked, KEY, **yeses[at])
    found = [_ended(world, asked)]
    for wait, amount in steps:
        world.passes(wait)
        found.append(world.pay(amount).says[0])
    return found


def _ended(world: Workflow, asked: Folded) -> str:
    return next((str(one.outcome) for one in world.finals(asked.entry.event)), "pending")


@settings(max_examples=25, deadline=None)
@given(TERMS, st.lists(NARROWER, min_size=3, max_size=3), STEPS)
def test_a_narrowed_approval_allows_no_call_that_a_whole_one_would_not(
    terms: dict[str, Any], yeses: list[dict[str, Any]], steps: list[tuple[int, int]]
) -> None:
    """For any terms of the policy, any answers, and any later calls."""
    terms = {"max_uses": None, **terms}
    if terms["max_uses"] is None:
        del terms["max_uses"]
    most = {"for_ms": 1000 * terms.get("time_to_live", 10**6), "uses": terms.get("max_uses", 10)}
    fitting = [{name: min(value, most.get(name, value)) for name, value in one.items()} for one in yeses]
    narrow, whole = outcomes(terms, fitting, steps), outcomes(terms, [{}] * 3, steps)

    assert whole[0] == "allowed"
    assert all(wide == "allowed" for tight, wide in zip(narrow, whole, strict=True) if tight == "allowed")


SCOPE = '{"resources":["%s"],"conditions":{"max_amount":%d}}'
BOUNDS = st.builds(
    ApproverLimits,
    scope=st.sampled_from(
        [None, *(SCOPE % (one, most) for one in ("**", "tool:desk/*") for most in (5, 10, 20))]
    ),
    keys=st.sampled_from([("**",), ("board",)]),
    once_only=st.booleans(),
    speaks_for=st.just(()),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(TERMS, STEPS, BOUNDS)
def test_limits_allow_no_call_that_an_approver_without_limits_would_not(
    terms: dict[str, Any], steps: list[tuple[int, int]], limits: ApproverLimits
) -> None:
    """For any limits."""
    tight, wide = outcomes(terms, [{}] * 3, steps, limits), outcomes(terms, [{}] * 3, steps)

    assert all(other == "allowed" for one, other in zip(tight, wide, strict=True) if one == "allowed")
