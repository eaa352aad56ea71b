"""Verdicts on results, attacked: another result, another signer, another time, other words; the mark stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from processors.calls.fingerprints import NOT_SEEN
from processors.calls.provenance import HeardText, hear
from schemas import limits, topics
from schemas.events.verdicts import VerifierFinding
from schemas.records import SignedEvent
from tests.builders import declaration, invocation, pairs, recipients
from tests.offers_world import LOOK, Instance, call_of
from tests.provenance_world import HEARD, IBAN, WEB
from tests.results_world import DAY_MS, Marked
from tests.workflow_world import PAY
from tests.world import HOUR_MS

PAID = ("allowed", "")


@pytest.fixture
def world() -> Marked:
    return Marked.opened()


# ---- another result


def test_a_verdict_for_one_result_clears_no_other(world: Marked) -> None:
    good, bad = world.fetch(world.bot, {"text": "harmless"}), world.fetch(world.bot)
    replayed = world.verdict(good)
    assert world.send(replayed, world.judge, causation_id=bad.entry.event).says == ("refused", "VERDICT_MISMATCH")
    assert world.judged(good) == ("accepted", "")
    assert world.send(replayed, world.judge, causation_id=good.entry.event).says == ("refused", "VERDICT_DUPLICATE")
    assert world.pay(world.bot) == HEARD


def test_two_results_with_the_same_words_have_a_verdict_each(world: Marked) -> None:
    first, second = world.fetch(world.bot), world.fetch(world.bot)
    assert world.send(world.verdict(first), world.judge, causation_id=second.entry.event).says == (
        "refused",
        "VERDICT_MISMATCH",
    )
    world.judged(first)
    assert world.pay(world.bot) == HEARD


@pytest.mark.parametrize("cause", [None, bytes(32), b"", "call", "decision"])
def test_a_host_that_lies_about_the_leaf_clears_nothing(world: Marked, cause: bytes | str | None) -> None:
    reported = world.fetch(world.bot)
    (result,) = reported.results
    named = {"call": result.event, "decision": result.decision}
    header = {"causation_id": named[cause] if isinstance(cause, str) else cause}
    says = world.judged(reported, header=header)
    assert says[0] == "refused"
    assert says[1] in {"VERDICT_UNKNOWN", "MALFORMED_HEADER"}
    assert world.pay(world.bot) == HEARD
    assert world.judged(reported) == ("accepted", "")


@pytest.mark.parametrize(
    ("reason", "other"),
    [
        ("VERDICT_MISMATCH", {"call": bytes(16)}),
        ("VERDICT_MISMATCH", {"session": bytes(32)}),
        ("VERDICT_MISMATCH", {"resource": "tool:web/post"}),
        ("VERDICT_MISMATCH", {"parameters_sha256": bytes(32)}),
        ("VERDICT_UNKNOWN", {"surface": "arguments"}),
        ("VERDICT_UNKNOWN", {"surface": "prompt"}),
        ("VERDICT_FORM", {"outcome": "allowed"}),
        ("VERDICT_FORM", {"outcome": "missing"}),
        ("VERDICT_FORM", {"stamps": "{}"}),
        ("VERDICT_FORM", {"stamps": "[" * 4000}),
        ("VERDICT_FORM", {"findings": (VerifierFinding(kind="a b", path="", start=0, end=1),)}),
        ("VERDICT_STALE", {"catalogue": bytes(32)}),
        ("VERDICT_STALE", {"expires_at": 0}),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_and_a_good_one_still_counts(
    world: Marked, reason: str, other: dict[str, Any]
) -> None:
    reported = world.fetch(world.bot)
    assert world.judged(reported, **other) == ("refused", reason)
    assert world.pay(world.bot) == HEARD
    assert world.judged(reported) == ("accepted", "")


def test_a_verdict_that_is_stapled_to_a_call_clears_nothing(world: Marked) -> None:
    reported = world.fetch(world.bot)
    value, headers = world.signed(world.verdict(reported), world.judge)
    stapled = SignedEvent(event=value, proof=dict(headers)["macaw-proof"] or b"", kid=world.judge.kid)
    body = invocation(PAY, {"recipient": IBAN, "amount": 1}, verdicts=(stapled,))
    assert world.send(body, world.bot).says == ("denied", "VERDICT_MISMATCH")


# ---- somebody else's verdict


def test_a_verifier_clears_no_result_that_it_was_not_shown(world: Marked) -> None:
    """One that came later, one of other resources, one of arguments alone, and one without a key at that time."""
    reported = world.fetch(world.bot)
    for name, declared in (
        ("later", {}),
        ("elsewhere", {"resources": ("tool:bank/**",)}),
        ("asks", {"surfaces": ("arguments",)}),
    ):
        world.rule(unless_cleared_by=f"verifier:{name}")
        stranger = world.verifier(name, **declared)
        assert world.judged(reported, stranger) == ("refused", "VERDICT_UNKNOWN")
        assert world.pay(world.bot) == HEARD


def test_nobody_but_a_verifier_s_live_key_reports(world: Marked) -> None:
    reported = world.fetch(world.bot)
    for actor in (world.web, world.bot, world.admin, world.bridge):
        assert world.judged(reported, actor) == ("refused", "WRONG_ROLE")
    stranger = Marked.opened("stranger")
    assert world.judged(reported, stranger.judge) == ("refused", "UNKNOWN_KEY")
    for tampering in ({"place_tenant": "other"}, {"place_genesis": bytes(32)}):
        assert world.judged(reported, header=tampering) == ("refused", "BAD_SIGNATURE")
    world.revoke("judge")
    assert world.judged(reported) == ("refused", "REVOKED_KEY")
    assert world.pay(world.bot) == HEARD


def test_a_revoked_verifier_s_pass_counts_no_longer(world: Marked) -> None:
    world.judged(world.fetch(world.bot))
    assert world.pay(world.bot) == PAID
    world.revoke("judge")
    assert world.pay(world.bot) == HEARD
    heir = world.verifier("heir", prefix="judge")
    assert world.pay(world.bot) == HEARD
    again = world.fetch(world.bot, {"text": "other"})
    world.judged(again, heir)
    assert world.pay(world.bot) == HEARD


def test_the_pass_of_one_key_falls_with_that_key_alone(world: Marked) -> None:
    second = world.verifier("judge")
    first, other = world.fetch(world.bot), world.fetch(world.bot, {"text": "GB33BUKB20201555555555"})
    assert recipients(first, topics.RESULTS) == pairs(world.bot, world.judge, second)
    world.judged(first)
    world.judged(other, second)
    world.revoke("judge", kid=second.kid)
    assert world.pay(world.bot) == PAID
    assert world.pay(world.bot, "GB33BUKB20201555555555") == HEARD


@pytest.mark.parametrize(
    "anew", [{"catalogue": b"\x07" * 32}, {"resources": ("tool:mail/**",)}, {"surfaces": ("arguments",)}]
)
def test_a_new_declaration_takes_earlier_verdicts_along(world: Marked, anew: dict[str, Any]) -> None:
    world.judged(world.fetch(world.bot))
    fields = {"surfaces": ("result",), "required": False, "resources": ("tool:web/**",), "max_age_ms": DAY_MS}
    offer = world.offer(world.judge.keys, "verifier", "judge")
    body = world.registration("verifier", "judge", offer=offer, verifier=declaration(**{**fields, **anew}))
    assert world.send(body, world.admin).says == ("accepted", "")
    assert world.pay(world.bot) == HEARD


# ---- time


def test_a_pass_counts_until_it_expires_and_not_at_that_moment(world: Marked) -> None:
    reported = world.fetch(world.bot)
    world.judged(reported, expires_at=world.now + HOUR_MS // 2)
    world.advance(HOUR_MS // 2 - 1)
    assert world.pay(world.bot) == PAID
    world.advance(1)
    assert world.pay(world.bot) == HEARD


def test_a_verifier_cannot_let_a_pass_last_longer_than_it_has_declared() -> None:
    world = Marked.opened(declared={"max_age_ms": 60_000})
    world.judged(world.fetch(world.bot), expires_at=2**60)
    world.advance(60_000)
    assert world.pay(world.bot) == HEARD


def test_a_verdict_that_comes_too_late_or_from_the_future_is_refused(world: Marked) -> None:
    reported = world.fetch(world.bot)
    ahead = world.now + limits.ISSUED_AHEAD_MS_MAX + 1
    assert world.judged(reported, header={"issued_at": ahead}) == ("refused", "FUTURE")
    world.advance(limits.RESULT_VERDICT_MS)
    assert world.judged(reported) == ("refused", "VERDICT_UNKNOWN")
    assert world.pay(world.bot) == HEARD
    assert not world.tables.judged.rows


def test_a_verdict_that_comes_too_late_is_refused_also_while_its_row_is_still_there(world: Marked) -> None:
    """At most 64 rows leave with one record."""
    reports = [world.fetch(world.bot) for _ in range(2 * limits.EXPIRED_PER_EVENT_MAX + 2)]
    world.advance(limits.RESULT_VERDICT_MS)
    last = max(reports, key=lambda one: one.entry.event)
    assert world.judged(last) == ("refused", "VERDICT_UNKNOWN")
    assert last.entry.event in world.tables.judged.rows


def test_an_old_pass_is_stale() -> None:
    world = Marked.opened(declared={"max_age_ms": 30_000})
    reported = world.fetch(world.bot)
    issued = world.now
    world.advance(30_000)
    assert world.judged(reported, header={"issued_at": issued}) == ("refused", "VERDICT_STALE")


# ---- words that are not the tool's own


def test_a_program_that_heard_something_cannot_have_it_cleared_as_its_own(world: Marked) -> None:
    """It repeats a marked page in a result that looks harmless; its verifier passes it, and the words stay marked."""
    judge = world.verifier("apps", resources=("tool:app/**",))
    world.rule(not_from="tool:*/**", unless_cleared_by="verifier:apps")
    one = world.instance(world.app, LOOK)
    world.fetch(one.session)
    outer = call_of(world, world.bot, LOOK)
    (decision,) = outer.of(topics.DECISIONS)
    assert decision.leaf is not None
    reported = one.report(decision.leaf, body=json.dumps({"text": IBAN}))
    assert pairs(judge) <= recipients(reported, topics.RESULTS)
    assert world.judged(reported, judge, resource=LOOK) == ("accepted", "")
    assert world.pay(world.bot) == HEARD


def test_a_person_s_session_that_heard_something_cannot_have_it_cleared_as_its_own(world: Marked) -> None:
    judge = world.verifier("apps", resources=("tool:app/**",))
    world.publish_policy({"policy_id": "role:payer", "resources": ["**"]})
    for heard, paid in ((False, PAID), (True, HEARD)):
        world.rule(not_from="tool:*/**", unless_cleared_by="verifier:apps")
        alice = world.person("alice", "payer")
        one = Instance(world, alice)
        assert one.offer(LOOK).says == ("accepted", "")
        if heard:
            world.fetch(alice)
        outer = call_of(world, world.bot, LOOK, target=alice.kid)
        reported = one.report(outer.decision_leaf, body=json.dumps({"text": IBAN}))
        assert world.judged(reported, judge, resource=LOOK) == ("accepted", "")
        assert world.pay(world.bot) == paid


def test_a_program_that_heard_nothing_is_cleared(world: Marked) -> None:
    judge = world.verifier("apps", resources=("tool:app/**",))
    world.rule(not_from="tool:app/**", unless_cleared_by="verifier:apps")
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK)
    reported = one.report(outer.decision_leaf, body=json.dumps({"text": IBAN}))
    assert world.pay(world.bot) == HEARD
    assert world.judged(reported, judge, resource=LOOK) == ("accepted", "")
    assert world.pay(world.bot) == PAID


def test_a_row_that_stands_for_several_results_is_not_cleared_with_one_of_them(
    world: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest result leaves for lack of room; what takes its place carries the name of one report."""
    monkeypatch.setattr(limits, "HEARD_RESULTS_MAX", 1)
    first = world.fetch(world.bot)
    world.fetch(world.bot, {"text": "other words"})
    assert world.judged(first) == ("accepted", "")
    assert world.pay(world.bot) == HEARD
    assert world.pay(world.bot, "never seen") == HEARD


def test_an_open_call_and_one_without_a_report_are_marked_whatever_was_cleared_before(world: Marked) -> None:
    world.judged(world.fetch(world.bot))
    world.call(world.bot, WEB)
    assert world.pay(world.bot) == HEARD
    world.advance(120_000)
    world.tick()
    assert world.pay(world.bot) == HEARD


def test_other_texts_that_name_a_cleared_report_as_their_source_are_not_cleared(world: Marked) -> None:
    reported = world.fetch(world.bot)
    world.judged(reported)
    leaf = reported.entry.event
    text = HeardText(WEB, leaf, reported=False, printed=NOT_SEEN, payer="")
    hear(world.tables, world.bot.kid, bytes(32), text)
    world.tables.commit()
    assert world.pay(world.bot) == HEARD
