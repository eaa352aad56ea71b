"""The laws of observe mode, on random policies and calls.

Off: the same log decides the same. On: every call that enforcement executes is executed, `observed` is the answer that
enforcement gives, and the rows that later decisions read are those of enforcement.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from processors.calls.observing import TOLD
from schemas.records import Decision
from tests.enforcing_world import MINUTE_MS, Enforcing, told
from tests.processors.derived import derived_again, state
from tests.workflow_world import CHECK, PAY, attests

REFUND = "tool:bank/refund"
RESOURCES = (PAY, REFUND, CHECK)
CALLS = 40
SEEDS = range(14)
CONSTRAINTS: tuple[dict[str, Any], ...] = (
    {"parameters": {PAY: {"amount": {"max": 6}}}},
    {"parameters": {"tool:bank/*": {"to": ["bob", "ann"]}}},
    {"denied_parameters": {PAY: {"*": ["*eve*"]}}},
    {"rate_limit": 4},
    {"roles": ["payer"]},
    {"attestations": {"checked": {"one_time": True}}},
    {"attestations": {"boss": {"approval_criteria": "role:manager", "timeout": 600}}},
)
SEQUENCES: tuple[dict[str, Any], ...] = (
    {"when": PAY, "after": {"resource": CHECK}},
    {"when": REFUND, "after": {"resource": PAY}},
    {"when": PAY, "at_most": 3, "per": "session"},
    {"when": PAY, "sum": "amount", "max": 15, "per": "session"},
)
NEEDS = (f"checked::{{tool.id == '{PAY}'}}", "boss::{params.amount > 4}", "deny::{params.amount == 3}")


def document(dice: random.Random, policy_id: str) -> dict[str, Any]:
    """Return a policy with some of every kind of rule that can deny, or let wait."""
    made: dict[str, Any] = {"policy_id": policy_id}
    listed = dice.choice([["**"], ["tool:bank/*"], [PAY, CHECK], [REFUND]])
    if policy_id == "agent:bot" or dice.random() < 0.5:
        made["resources"] = listed
    constraints: dict[str, Any] = {}
    for one in dice.sample(CONSTRAINTS, dice.randrange(4)):
        for name, value in one.items():
            constraints[name] = (
                {**constraints[name], **value} if isinstance(value, dict) and name in constraints else value
            )
    made["constraints"] = constraints
    if dice.random() < 0.6:
        some = dice.sample(SEQUENCES, dice.randrange(1, 3))
        made["sequence"] = [{"id": f"s{at}", **one} for at, one in enumerate(some)]
    if dice.random() < 0.5:
        made["attestations"] = dice.sample(NEEDS, dice.randrange(1, 3))
    if dice.random() < 0.2:
        made["denied_resources"] = [REFUND]
    return made


def play(seed: int, observe: tuple[str, str] | None, *, ends: bool = False) -> tuple[Enforcing, list[Decision]]:
    """Play one script. All allowed calls are reported well, those that only observe mode lets pass as well."""
    dice = random.Random(f"observe {seed}")
    world = Enforcing.now(f"observe-law-{seed}")
    documents = [document(dice, one) for one in ("agent:bot", "app:bank", "filter:x")[: dice.randrange(1, 4)]]
    if all(one["policy_id"] != "filter:x" for one in documents) or dice.random() < 0.5:
        documents = [one for one in documents if one["policy_id"] != "filter:x"]
    world.publish_policy(*documents)
    if observe is not None:
        world.sets("observe", *observe)
    if ends and observe is not None:
        world.sets("observe", *observe, on=False)
    decisions = []
    for _ in range(CALLS):
        resource = dice.choice(RESOURCES)
        parameters = {"amount": dice.randrange(9), "to": dice.choice(["bob", "ann", "eve"])}
        if dice.random() < 0.1:
            world.advance(MINUTE_MS // dice.choice([1, 2, 4]))
        malformed = dice.random() < 0.05
        said = (attests("checked", one_time=True),) if dice.random() < 0.7 else ()
        call = world.call(world.bot, resource, "{" if malformed else parameters)
        decisions += call.decisions
        if call.entry.outcome == "allowed":
            by = world.desk if resource == CHECK else world.bank
            world.report(call.decision_leaf, by, attestations=said if resource == CHECK else ())
    return world, decisions


def remembered(world: Enforcing) -> dict[str, Any]:
    """Return the rows that later decisions read, without the log's own positions in them."""
    rows = world.rows()
    shown = {name: rows[name] for name in ("buckets", "cells", "attestations", "grants", "prompts")}
    positions = {"position", "reported_by"}
    return {
        name: sorted(
            str([(field, getattr(row, field)) for field in row.__dataclass_fields__ if field not in positions])
            for row in table.values()
        )
        for name, table in shown.items()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tenant_that_observes_tells_the_answers_of_enforcement(seed: int) -> None:
    enforcing, enforced = play(seed, None)
    observing, observed = play(seed, ("tenant", ""))
    assert len(enforced) == len(observed) == CALLS
    for one, other in zip(enforced, observed, strict=True):
        if one.outcome == "allowed":
            assert told(other) == ("allowed", "", None)
        elif one.reason in TOLD:
            assert other.outcome == "allowed"
            assert other.observed is not None
            assert (other.observed.outcome, other.observed.reason) == (one.outcome, one.reason)
            assert other.observed.detail == one.detail
            assert [(v.verifier, v.outcome, v.reason) for v in other.verdicts] == [
                (v.verifier, v.outcome, v.reason) for v in one.verdicts
            ]
        else:
            assert told(other) == told(one)
    assert remembered(observing) == remembered(enforcing)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_resource_that_is_observed_leaves_the_others_as_they_are(seed: int, resource: str) -> None:
    enforcing, enforced = play(seed, None)
    observing, observed = play(seed, ("resource", resource))
    for one, other in zip(enforced, observed, strict=True):
        if one.resource == resource and one.reason in TOLD:
            assert told(other) == ("allowed", "", (one.outcome, one.reason))
        else:
            assert told(other) == told(one)
    assert remembered(observing) == remembered(enforcing)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_policy_that_is_observed_adds_calls_and_takes_none_unless_others_charge_them(seed: int) -> None:
    """Documents that are enforced charge what runs: without rates, counts and uses in them, no call is lost."""
    _, enforced = play(seed, None)
    world, observed = play(seed, ("policy", "agent:bot"))
    others = [row.document for key, row in world.tables.policies.rows.items() if key != b"agent:bot"]
    charges = any(word in text for text in others for word in ("rate_limit", "at_most", "sum", "checked", "boss"))
    for one, other in zip(enforced, observed, strict=True):
        if other.observed is not None:
            assert other.outcome == "allowed"
            assert other.observed.reason in TOLD
        if not charges:
            assert one.outcome != "allowed" or told(other) == ("allowed", "", None)
            if other.observed is not None:
                assert (other.observed.outcome, other.observed.reason) == (one.outcome, one.reason)


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_an_observing_log_folds_again_to_the_same_bytes(seed: int) -> None:
    world, _ = play(seed, ("tenant", ""))
    again = world.fresh_tables()
    for received in world.records:
        world.fold_into(again, received)
    assert (again.next_index, again.prev) == (world.tables.next_index, world.tables.prev)
    assert state(again) == state(world.tables)
    derived_again(again)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_exception_that_has_ended_changes_nothing(seed: int) -> None:
    """The same calls have the same decisions as if it had never been."""
    _, never = play(seed, None)
    for observe in (("tenant", ""), ("policy", "agent:bot"), ("resource", "**")):
        _, ended = play(seed, observe, ends=True)
        assert list(map(told, ended)) == list(map(told, never))


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_a_log_with_every_exception_folds_again_and_nothing_frozen_begins(seed: int) -> None:
    dice = random.Random(f"exceptions {seed}")
    world = Enforcing.now(f"exceptions-{seed}")
    world.publish_policy(document(dice, "agent:bot"), {"policy_id": "role:clerk", "resources": [PAY]})
    ann = world.person("ann", "clerk")
    things = [
        ("observe", "tenant", "", {}),
        ("observe", "policy", "agent:bot", {}),
        ("observe", "resource", PAY, {}),
        ("freeze", "tenant", "", {}),
        ("freeze", "principal", "bot", {}),
        ("freeze", "resource", "tool:BANK/*", {}),
        ("break-glass", "resource", REFUND, {"person": "user:ann", "lasts_ms": MINUTE_MS}),
    ]
    stands: set[tuple[str, str, str]] = set()
    for _ in range(120):
        kind, scope, name, more = dice.choice(things)
        thing = (kind, scope, name)
        match dice.randrange(4):
            case 0 if thing not in stands:
                world.sets(kind, scope, name, **more)
                stands.add(thing)
            case 0 if kind != "break-glass":
                world.sets(kind, scope, name, on=False)
                stands.discard(thing)
            case 1:
                world.advance(dice.choice([1, 1000, MINUTE_MS]))
            case _:
                by, resource = dice.choice([world.bot, ann]), dice.choice(RESOURCES)
                call = world.call(by, resource, {"amount": dice.randrange(9), "to": "bob"})
                frozen = ("freeze", "tenant", "") in stands or (
                    ("freeze", "principal", "bot") in stands and by is world.bot
                )
                frozen = frozen or (("freeze", "resource", "tool:BANK/*") in stands and resource != CHECK)
                assert (call.entry.reason == "FROZEN") == frozen
        if not any(row.kind == "break-glass" for row in world.tables.enforcement.rows.values()):
            stands.discard(("break-glass", "resource", REFUND))
    again = world.fresh_tables()
    for received in world.records:
        world.fold_into(again, received)
    assert (again.next_index, again.prev) == (world.tables.next_index, world.tables.prev)
    assert state(again) == state(world.tables)


def test_the_scripts_reach_what_they_are_about() -> None:
    """Else the laws would hold of nothing."""
    found: dict[str, int] = {}
    for seed in SEEDS:
        for one in play(seed, ("tenant", ""))[1]:
            reason = one.outcome if one.observed is None else one.observed.reason
            found[reason] = found.get(reason, 0) + 1
    wanted = {
        "allowed", "denied", "PARAM_NOT_ALLOWED", "PARAM_OUT_OF_RANGE", "RATE_LIMITED", "ATTESTATION_MISSING",
        "APPROVAL_PENDING", "SEQUENCE_MISSING", "SEQUENCE_LIMIT", "SEQUENCE_TOTAL", "RESOURCE_NOT_ALLOWED",
        "CONDITION_DENIED", "ROLE_REQUIRED", "RESOURCE_DENIED",
    }  # fmt: skip
    assert wanted <= set(found), wanted - set(found)
