"""Verifiers outside, attacked: verdicts moved to other calls, waiting that costs nothing, findings that mislead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas import limits, topics
from schemas.events.verdicts import VerifierFinding
from tests.builders import Folded, recipients
from tests.verifiers_world import Judging
from tests.workflow_world import ANYTHING, PAY

ID = b"\x01\x90" + bytes(4) + b"\x70" + bytes(1) + b"\x80" + bytes(7)


def said(folded: Folded, prefix: str = "judge") -> tuple[str, str]:
    """Return a verifier's outcome and reason in the decision on a call."""
    (one,) = [verdict for verdict in folded.decisions[0].verdicts if verdict.verifier == prefix]
    return one.outcome, one.reason


def delegated(world: Judging, *names: str) -> list[bytes]:
    """Return a delegation to the bot of each of some persons, who may do anything."""
    world.publish_policy(*({"policy_id": f"user:{name}", **ANYTHING} for name in names))
    return [world.grant_to(world.person(name), "bot", resources=["tool:**"]).entry.event for name in names]


# ---- the call that a verdict is about


def test_a_verdict_counts_for_the_call_alone_that_it_names_as_its_cause() -> None:
    world = Judging.with_judge()
    for_ann, for_eve = delegated(world, "ann", "eve")
    bad, good = world.pay(on_behalf_of=for_eve), world.pay(on_behalf_of=for_ann)
    world.refuses("VERDICT_MISMATCH", world.verdict(good), world.judge, causation_id=bad.entry.event)
    world.refuses("VERDICT_UNKNOWN", world.verdict(good), world.judge)
    world.refuses("VERDICT_UNKNOWN", world.verdict(good), world.judge, causation_id=bytes(32))
    world.judged(good)
    world.judged(bad, outcome="deny")
    assert (world.final(good).outcome, world.final(good).subjects) == ("allowed", ("user:ann", "bot"))
    assert (world.final(bad).reason, world.final(bad).subjects) == ("VERIFIER_DENIED", ("user:eve", "bot"))


def test_while_a_call_waits_no_second_one_of_its_session_waits_under_its_id() -> None:
    world = Judging.with_judge()
    for_ann, for_eve = delegated(world, "ann", "eve")
    first = world.pay(event_id=ID, on_behalf_of=for_eve)
    second = world.pay(event_id=ID, on_behalf_of=for_ann)
    assert second.says == ("denied", "VERDICT_DUPLICATE")
    assert recipients(second, topics.DECISIONS) == set()
    world.judged(first)
    assert world.final(first).outcome == "allowed"
    assert world.pay(event_id=ID).says == ("pending", "VERDICT_PENDING")


def test_a_stapled_verdict_names_no_people_and_so_counts_only_where_none_stand_behind_the_call() -> None:
    world = Judging.with_judge()
    (for_ann,) = delegated(world, "ann")
    stapled = world.staple(ID)
    waits = world.pay_with(ID, [stapled], on_behalf_of=for_ann)
    assert (waits.says, said(waits)) == (("pending", "VERDICT_PENDING"), ("missing", "VERDICT_MISMATCH"))
    assert world.judged(waits).says == ("accepted", "")
    assert world.final(waits).outcome == "allowed"
    assert world.pay_with(ID, [stapled]).says == ("allowed", "")


def test_a_verdict_that_was_reported_is_stapled_to_no_other_call() -> None:
    world = Judging.with_judge()
    first = world.pay(event_id=ID)
    reported = world.staple(ID, header={"causation_id": first.entry.event})
    assert world.pay_with(ID, [reported]).says == ("denied", "VERDICT_MISMATCH")


def test_a_stale_verdict_that_is_stapled_does_not_stand_before_a_fresh_one() -> None:
    world = Judging.with_judge()
    asked = world.pay_with(ID, [world.staple(ID, expires_at=world.now)])
    assert said(asked) == ("missing", "VERDICT_STALE")
    world.judged(asked)
    assert (world.final(asked).outcome, world.final(asked).reason) == ("allowed", "")
    other = ID[:-1] + b"\x01"
    stale, fresh = world.staple(other, expires_at=0), world.staple(other)
    for both in ([stale, fresh], [fresh, stale]):
        assert world.pay_with(other, both).says == ("allowed", "")


def test_a_report_goes_before_a_stapled_verdict_that_came_into_force_meanwhile() -> None:
    """Its issuer's clock was ahead: stale when it came, and fresh when the call is decided again."""
    world = Judging.with_judge()
    early = world.staple(ID, header={"issued_at": world.now + limits.ISSUED_AHEAD_MS_MAX + 2_000})
    asked = world.pay_with(ID, [early])
    assert asked.says == ("pending", "VERDICT_PENDING")
    world.passes(3_000)
    world.judged(asked, outcome="deny")
    assert world.final(asked).reason == "VERIFIER_DENIED"


# ---- waiting is paid


@pytest.mark.parametrize("mild", [False, True])
def test_a_call_that_waits_for_verdicts_has_paid_its_rate_once(mild: bool) -> None:
    """Also where a policy denies by the worst stamps: the rate does not depend on them."""
    world = Judging.with_judge()
    rule = {"attestations": [f"deny::{{tool.id == '{PAY}' AND params.stamps.judge.kind != 'select'}}"]} if mild else {}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, **rule, "constraints": {"rate_limit": 2}})
    first, second = world.pay(1), world.pay(2)
    assert {first.says, second.says} == {("pending", "VERDICT_PENDING")}
    third = world.pay(3)
    assert third.says == ("denied", "RATE_LIMITED")
    assert third.results[0].detail == "retry_after_ms=30000"
    assert recipients(third, topics.DECISIONS) == set()
    for one in (first, second):
        world.judged(one)
        assert world.final(one).outcome == "allowed"
    world.advance(30_000)
    assert world.pay(4).says == ("pending", "VERDICT_PENDING")
    assert world.pay(5).says == ("denied", "RATE_LIMITED")


def test_a_call_that_waits_for_verdicts_and_then_for_people_has_paid_its_rate_once() -> None:
    world = Judging.with_judge(max_age_ms=600_000)
    meta = {"boss": {"approval_criteria": "role:boss", "timeout": 300, "one_time": True}}
    world.publish_policy(
        {
            "policy_id": "agent:bot", **ANYTHING, "attestations": ["boss"],
            "constraints": {"attestations": meta, "rate_limit": 1},
        }
    )  # fmt: skip
    boss = world.person("eve", "boss")
    asked = world.pay()
    world.judged(asked, expires_at=world.now + 600_000)
    assert world.tables.pending.rows[asked.entry.event].keys == ("boss",)
    world.approve(boss, asked, "boss")
    assert world.final(asked).outcome == "allowed"


def test_a_call_of_no_tool_is_shown_to_no_verifier() -> None:
    world = Judging.with_judge()
    asked = world.call(world.bot, "tool:bank/nothing", {"a": 1})
    assert asked.says == ("denied", "TOOL_UNAVAILABLE")
    assert recipients(asked, topics.DECISIONS) == set()


def test_a_call_pays_for_its_work_while_it_waits_and_for_its_stapled_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_FREE_UNITS", 0)
    world = Judging.with_judge()
    assert world.pay().says == ("pending", "VERDICT_PENDING")
    waits = world.tables.work.rows[b"bot"].arrival
    assert world.pay_with(ID, [world.staple(ID)]).says == ("allowed", "")
    assert world.tables.work.rows[b"bot"].arrival > waits


# ---- findings


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": ""},
        {"kind": "card 4111"},
        {"kind": "a\nb"},
        {"kind": "Sql"},
        {"kind": "1sql"},
        {"kind": "sql\u202e"},
        {"path": "/to\n/bob"},
        {"path": "/to\u202e"},
        {"path": "/to\u200b"},
    ],
)
def test_a_finding_that_would_mislead_readers_of_the_log_is_refused(bad: dict[str, Any]) -> None:
    world = Judging.with_judge()
    asked = world.pay()
    good = VerifierFinding(kind="sql.stacked-query_2", path="/to/\u00fc", start=0, end=1)
    world.refuses_verdict("VERDICT_FORM", asked, outcome="deny", findings=(replace(good, **bad),))
    world.judged(asked, outcome="deny", findings=(good,))
    assert world.final(asked).detail == "verifier judge; sql.stacked-query_2 at /to/\u00fc"
