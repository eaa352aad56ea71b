"""Verifiers outside: their verdicts narrow a call, bind to it alone, and are never needed to be believed in silence."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from schemas import codec, limits, topics
from schemas.events.verdicts import VerifierFinding
from schemas.records import CallPayload, Decision, SignedEvent
from tests.builders import CATALOGUE, WORST, pairs, payload_of, recipients
from tests.verifiers_world import ASKED, MILD, Judging
from tests.workflow_world import ANYTHING, CHECK, PAY

ID = b"\x01\x90" + bytes(4) + b"\x70" + bytes(1) + b"\x80" + bytes(7)


def stamps(decision: Decision) -> dict[str, object]:
    """Return the stamps of a decision."""
    found: dict[str, object] = json.loads(decision.stamps or "{}")
    return found


def said(decision: Decision, prefix: str = "judge") -> tuple[str, str]:
    """Return a verifier's outcome and reason in a decision."""
    (one,) = [verdict for verdict in decision.verdicts if verdict.verifier == prefix]
    return one.outcome, one.reason


# ---- reported


def test_a_call_waits_for_a_required_verifier_and_only_that_can_read_it() -> None:
    world = Judging.with_judge()
    world.only_mild()
    asked = world.pay()
    assert asked.says == ("pending", "VERDICT_PENDING")
    (decision,) = asked.decisions
    assert recipients(asked, topics.DECISIONS) == pairs(world.judge)
    assert decision.execute_before is None
    assert said(decision) == ("missing", "VERDICT_MISSING")
    payload: CallPayload = codec.decode(codec.current("CallPayload"), payload_of(asked, topics.DECISIONS))
    assert json.loads(payload.parameters) == ASKED

    answered = world.judged(asked)
    assert answered.says == ("accepted", "")
    final = world.final(asked)
    assert (final.outcome, final.reason, said(final)) == ("allowed", "", ("pass", ""))
    assert stamps(final)["judge"] == {**MILD, "outcome": "pass"}
    assert [(one.priority, one.verifier) for one in final.verdicts] == sorted(
        (one.priority, one.verifier) for one in final.verdicts
    )
    assert len(world.tables.pending) == 0
    assert recipients(answered, topics.DECISIONS) == pairs(world.bank)


def test_a_caller_is_told_the_required_verifiers_that_its_call_waits_for() -> None:
    """By the names of their stamps, each while it lacks; one that is not required is not waited for."""
    world = Judging.with_judge()
    world.verifier("second")
    world.verifier("other", required=False)
    asked = world.pay()
    assert asked.results[0].detail == f"until={world.now + limits.VERDICT_WAIT_MS} verifiers=judge,second"
    staple = world.staple(bytes(15) + b"\x07")
    waits = world.pay_with(bytes(15) + b"\x07", (staple,))
    assert waits.results[0].detail == f"until={world.now + limits.VERDICT_WAIT_MS} verifiers=second"


def test_names_that_do_not_fit_into_the_answer_are_told_as_further_ones() -> None:
    world = Judging.with_judge()
    for n in range(limits.VERIFIERS_MAX - 1):
        world.verifier(f"v{n}" + "x" * 30)
    (told,) = [one.detail for one in world.pay().results]
    assert len(told) <= limits.DETAIL_CHARS_MAX
    assert told.partition(" verifiers=")[2].split(",")[-1] == "+"
    assert told.count(",") >= 2


def test_policies_decide_by_the_stamps_of_a_verdict() -> None:
    world = Judging.with_judge()
    world.only_mild()
    asked = world.pay()
    world.judged(asked, stamps=json.dumps({**MILD, "kind": "drop"}))
    assert (world.final(asked).outcome, world.final(asked).reason) == ("denied", "CONDITION_DENIED")


def test_a_verdict_that_denies_and_one_that_asks_deny() -> None:
    world = Judging.with_judge()
    for outcome, reason in (("deny", "VERIFIER_DENIED"), ("ask", "VERIFIER_ASKS")):
        asked = world.pay()
        world.judged(asked, outcome=outcome)
        final = world.final(asked)
        assert (final.outcome, final.reason, said(final)) == ("denied", reason, (outcome, reason))


def test_people_who_approve_this_very_call_cover_an_ask() -> None:
    world = Judging.with_judge(max_age_ms=600_000)
    needed = [f"boss::{{tool.id == '{PAY}' AND params.stamps.judge.outcome == 'ask'}}"]
    meta = {"boss": {"approval_criteria": "role:boss", "timeout": 300, "one_time": False}}
    world.publish_policy(
        {"policy_id": "agent:bot", **ANYTHING, "attestations": needed, "constraints": {"attestations": meta}}
    )
    boss = world.person("eve", "boss")
    asked = world.pay()
    world.judged(asked, outcome="ask", expires_at=world.now + 600_000)
    assert world.tables.pending.rows[asked.entry.event].keys == ("boss",)
    world.approve(boss, asked, "boss")
    assert (world.final(asked).outcome, said(world.final(asked))) == ("allowed", ("ask", "VERIFIER_ASKS"))

    second = world.pay(11)  # the grant serves later calls, and was not given to this one
    world.judged(second, outcome="ask", expires_at=world.now + 600_000)
    assert (world.final(second).outcome, world.final(second).reason) == ("denied", "VERIFIER_ASKS")


def test_where_people_take_longer_than_a_verdict_lasts_its_verifier_is_asked_again() -> None:
    world = Judging.with_judge()
    world.require("boss", approval_criteria="role:boss", timeout=300)
    boss = world.person("eve", "boss")
    asked = world.pay()
    world.judged(asked)
    world.passes(25_000)
    again = world.approve(boss, asked, "boss")
    (waits,) = again.decisions
    assert (waits.outcome, waits.reason, said(waits)) == ("pending", "VERDICT_PENDING", ("missing", "VERDICT_STALE"))
    assert recipients(again, topics.DECISIONS) == pairs(world.judge)
    assert world.judged(asked).says == ("accepted", "")
    assert world.final(asked).outcome == "allowed"


def test_a_call_without_its_verdict_is_denied_at_its_deadline() -> None:
    world = Judging.with_judge()
    asked = world.pay()
    world.passes(limits.VERDICT_WAIT_MS)
    final = world.final(asked)
    assert (final.outcome, final.reason, said(final)) == ("denied", "VERDICT_MISSING", ("missing", "VERDICT_MISSING"))
    world.refuses_verdict("VERDICT_UNKNOWN", asked)


def test_a_session_that_ends_takes_its_waiting_call_along() -> None:
    world = Judging.with_judge()
    asked = world.pay()
    world.close(world.bot)
    world.tick()
    assert world.final(asked).reason == "EXPIRED_SESSION"


def test_a_call_that_no_policy_grants_is_shown_to_no_verifier() -> None:
    world = Judging.with_judge()
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:desk/**"]})
    denied = world.pay()
    assert denied.says[0] == "denied"
    assert recipients(denied, topics.DECISIONS) == set()


def test_all_required_verifiers_must_answer() -> None:
    world = Judging.with_judge()
    other = world.verifier("second", priority=5)
    asked = world.pay()
    assert recipients(asked, topics.DECISIONS) == pairs(world.judge, other)
    world.judged(asked)
    assert world.finals(asked.entry.event) == []
    world.judged(asked, other)
    assert [one.verifier for one in world.final(asked).verdicts if one.verifier in {"judge", "second"}] == [
        "second",
        "judge",
    ]


# ---- not required


def test_without_a_verdict_the_stamps_have_their_worst_values() -> None:
    world = Judging.with_judge(required=False)
    asked = world.pay()
    assert asked.says == ("allowed", "")
    (decision,) = asked.decisions
    assert stamps(decision)["judge"] == {**WORST, "outcome": "missing"}
    assert said(decision) == ("missing", "VERDICT_MISSING")
    world.only_mild()
    assert world.pay().says == ("denied", "CONDITION_DENIED")


def test_stamps_of_another_resource_are_the_worst_too() -> None:
    world = Judging.with_judge()
    rule = f"deny::{{tool.id == '{CHECK}' AND params.stamps.judge.opaque == true}}"
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "attestations": [rule]})
    assert world.call(world.bot, CHECK, {}).says == ("denied", "CONDITION_DENIED")


# ---- stapled


def test_a_stapled_verdict_lets_a_call_go_on_at_once() -> None:
    world = Judging.with_judge()
    world.only_mild()
    done = world.pay_with(ID, [world.staple(ID)])
    assert done.says == ("allowed", "")
    assert said(done.decisions[0]) == ("pass", "")
    assert done.decisions[0].verdicts[-1].catalogue in {None, CATALOGUE}


@pytest.mark.parametrize(
    ("reason", "other"),
    [
        ("VERDICT_MISMATCH", {"call": bytes(16)}),
        ("VERDICT_MISMATCH", {"session": bytes(32)}),
        ("VERDICT_MISMATCH", {"resource": "tool:bank/refund"}),
        ("VERDICT_MISMATCH", {"parameters_sha256": bytes(32)}),
        ("VERDICT_MISMATCH", {"surface": "prompt"}),
        ("VERDICT_MISMATCH", {"surface": ""}),
        ("VERDICT_FORM", {"outcome": "allowed"}),
        ("VERDICT_FORM", {"outcome": "missing"}),
        ("VERDICT_FORM", {"stamps": "{}"}),
        ("VERDICT_FORM", {"stamps": "[]"}),
        ("VERDICT_FORM", {"stamps": "{" * 4000}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "other": 1})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "secrets.found": False})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "outcome": "pass"})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "level": "1"})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "level": True})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "kind": "x" * 257})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "tables": ["x"] * 65})}),
        ("VERDICT_FORM", {"stamps": json.dumps({**MILD, "tables": [1]})}),
    ],
)
def test_a_verdict_that_is_not_this_verifiers_on_this_call_has_no_effect(reason: str, other: dict[str, object]) -> None:
    """Stapled it denies the call; reported it is refused, and the call waits on."""
    world = Judging.with_judge()
    assert world.pay_with(ID, [world.staple(ID, **other)]).says == ("denied", reason)
    asked = world.pay()
    world.refuses_verdict(reason, asked, **other)
    assert world.judged(asked).says == ("accepted", "")


def test_findings_are_few_and_short() -> None:
    world, good = Judging.with_judge(), VerifierFinding(kind="k", path="/q", start=0, end=1)
    for bad in ((good,) * 9, (replace(good, kind="k" * 65),), (replace(good, start=2),), (replace(good, end=-1),)):
        assert world.pay_with(ID, [world.staple(ID, findings=bad)]).says == ("denied", "VERDICT_FORM")
    done = world.pay_with(ID, [world.staple(ID, findings=(good,) * 8)])
    assert done.says == ("allowed", "")
    (one,) = [verdict for verdict in done.decisions[0].verdicts if verdict.verifier == "judge"]
    assert one.findings == (good,) * 8


def test_a_forged_verdict_denies() -> None:
    world = Judging.with_judge()
    good = world.staple(ID)
    other_tenant = world.staple(ID, header={"place_tenant": "other"})
    other_log = world.staple(ID, header={"place_genesis": bytes(32)})
    by_tool = world.staple(ID, by=world.bank)
    forged = [
        replace(good, proof=bytes(72)),
        replace(good, proof=good.proof[:-1] + bytes(1)),
        replace(good, proof=b""),
        replace(good, kid=world.bank.kid),
        replace(good, kid=bytes(32)),
        other_tenant,
        other_log,
        by_tool,
    ]
    for one in forged:
        assert world.pay_with(ID, [one]).says == ("denied", "VERDICT_UNSIGNED")
    wrong = [
        replace(good, event=b""),
        replace(good, event=good.event[:-1]),
        replace(good, event=good.event + b"\x00"),
        replace(good, event=bytes(limits.VERDICT_EVENT_BYTES_MAX + 1)),
        world.staple(ID, header={"principal_id": "bot"}),
        world.staple(ID, header={"session_id": bytes(32)}),
    ]
    for one in wrong:
        assert world.pay_with(ID, [one]).says == ("denied", "VERDICT_FORM")
    assert world.pay_with(ID, [good]).says == ("allowed", "")


def test_any_other_signed_event_is_no_verdict() -> None:
    world = Judging.with_judge()
    value, headers = world.signed(world.registration("agent", "other"), world.admin)
    proof = dict(headers)["macaw-proof"]
    assert proof is not None
    stapled = SignedEvent(event=value, proof=proof, kid=world.admin.kid)
    assert world.pay_with(ID, [stapled]).says == ("denied", "VERDICT_FORM")


def test_two_verdicts_of_one_verifier_deny_also_if_both_are_good() -> None:
    world = Judging.with_judge()
    first, second = world.staple(ID), world.staple(ID, outcome="deny")
    assert world.pay_with(ID, [first, second]).says == ("denied", "VERDICT_DUPLICATE")
    assert world.pay_with(ID, [first] * 9).says == ("denied", "VERDICT_FORM")


def test_a_second_report_is_refused() -> None:
    world = Judging.with_judge()
    world.verifier("second")
    asked = world.pay()
    world.judged(asked)
    world.refuses_verdict("VERDICT_DUPLICATE", asked, outcome="deny")
    world.passes(limits.VERDICT_WAIT_MS)
    world.refuses_verdict("VERDICT_UNKNOWN", asked)


def test_a_stapled_verdict_in_another_call_denies_it() -> None:
    world = Judging.with_judge()
    stapled = world.staple(ID)
    assert world.pay_with(ID, [stapled]).says == ("allowed", "")
    other = bytes(15) + b"\x01"
    assert world.pay_with(other, [stapled]).says == ("denied", "VERDICT_MISMATCH")


def test_stapled_to_a_call_that_waits_for_another_it_is_not_asked_for_again() -> None:
    world = Judging.with_judge()
    other = world.verifier("second")
    asked = world.pay_with(ID, [world.staple(ID)])
    assert asked.says == ("pending", "VERDICT_PENDING")
    assert recipients(asked, topics.DECISIONS) == pairs(other)
    world.refuses_verdict("VERDICT_DUPLICATE", asked)
    assert world.judged(asked, other).says == ("accepted", "")
    assert world.final(asked).outcome == "allowed"


@pytest.mark.parametrize(
    "other",
    [
        {"catalogue": bytes(32)},
        {"expires_at": 0},
        {"header": {"issued_at": -31_000}},
        {"header": {"issued_at": +11_000}},
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_a_stale_verdict_counts_as_none(other: dict[str, object], required: bool) -> None:
    world = Judging.with_judge(required=required)
    header = other.get("header")
    if isinstance(header, dict):
        other = {**other, "header": {"issued_at": world.now + header["issued_at"]}}
    done = world.pay_with(ID, [world.staple(ID, **other)])  # type: ignore[arg-type]
    assert done.says == (("pending", "VERDICT_PENDING") if required else ("allowed", ""))
    (decision,) = done.decisions
    assert said(decision) == ("missing", "VERDICT_STALE")
    if not required:
        assert stamps(decision)["judge"] == {**WORST, "outcome": "missing"}
    if "header" not in other and required:
        world.refuses_verdict("VERDICT_STALE", done, **other)
