"""Verdicts on results: a mark goes with a good `pass`, no result waits, and rows have bounds and an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from processors.calls.bodies import written
from processors.proof import jcs
from processors.proof.signing import VerifiedHeads
from processors.state.bounds import TenantLimits
from processors.step import step
from schemas import limits, topics
from schemas.events.bodies import BodyReference
from schemas.events.tenancy import LimitsSet, TenantSetting
from schemas.records import ResultReported, SessionClosed
from tests.builders import pairs, recipients
from tests.offers_world import LOOK, call_of
from tests.processors.test_provenance import restored
from tests.provenance_world import HEARD, IBAN, PAGE, WEB, Bank
from tests.results_world import DAY_MS, Marked
from tests.workflow_world import PAY, attests
from tests.world import HOUR_MS

PAID = ("allowed", "")


@pytest.fixture
def world() -> Marked:
    return Marked.opened()


# ---- the way that it goes


def test_a_result_is_passed_on_at_once_sealed_to_its_verifier_too_and_marked_until_that_passes_it(
    world: Marked,
) -> None:
    reported = world.fetch(world.bot)
    assert recipients(reported, topics.RESULTS) == pairs(world.bot, world.judge)
    (result,) = reported.results
    assert (result.outcome, result.reason, result.detail) == ("ok", "", WEB)
    denied = world.call(world.bot, PAY, {"recipient": IBAN, "amount": 1})
    assert (denied.says, denied.decisions[0].detail) == (HEARD, f"/sequence/0 report {reported.entry.event.hex()}")
    assert world.judged(reported) == ("accepted", "")
    assert world.pay(world.bot) == PAID


@pytest.mark.parametrize("outcome", ["deny", "ask"])
def test_another_outcome_than_pass_leaves_the_mark(world: Marked, outcome: str) -> None:
    reported = world.fetch(world.bot)
    assert world.judged(reported, outcome=outcome) == ("accepted", "")
    assert world.pay(world.bot) == HEARD
    assert world.judged(reported) == ("refused", "VERDICT_DUPLICATE")
    assert world.pay(world.bot) == HEARD


def test_the_words_of_a_failure_are_judged_too(world: Marked) -> None:
    folded = world.call(world.bot, WEB)
    reported = world.report(folded.decision_leaf, world.web, outcome="failed", body=json.dumps(PAGE))
    assert recipients(reported, topics.RESULTS) == pairs(world.bot, world.judge)
    assert world.judged(reported) == ("accepted", "")
    assert world.pay(world.bot) == PAID


def test_a_result_that_is_too_long_to_be_remembered_is_cleared_as_a_whole(world: Marked) -> None:
    reported = world.fetch(world.bot, {"text": "ab " * limits.HEARD_TEXT_BYTES_MAX})
    assert world.pay(world.bot, "never seen") == HEARD
    assert world.judged(reported) == ("accepted", "")
    assert world.pay(world.bot, "never seen") == PAID


def test_with_else_a_marked_value_needs_people_and_a_cleared_one_does_not() -> None:
    world = Marked.opened(rule={"else": "boss"})
    reported = world.fetch(world.bot)
    assert world.pay(world.bot)[0] == "denied"
    world.judged(reported)
    assert world.pay(world.bot) == PAID


def test_a_call_within_a_call_clears_for_everybody_around_it(world: Marked) -> None:
    one = world.instance(world.app, LOOK)
    outer = call_of(world, world.bot, LOOK)
    inner = world.within(outer, one.session, WEB)
    reported = world.report(inner.decision_leaf, world.web, body=json.dumps(PAGE))
    assert world.pay(world.bot) == HEARD
    assert world.judged(reported) == ("accepted", "")
    # The caller around it waits for a result that can still hold anything, so the inner session alone is clear.
    assert world.pay(one.session) == PAID


def test_a_rule_that_names_no_verifier_or_another_one_is_not_cleared() -> None:
    for rule in ({"unless_cleared_by": "verifier:second"}, {"unless_cleared_by": "verifier:nobody"}):
        world = Marked.opened(rule=rule)
        world.verifier("second")
        world.judged(world.fetch(world.bot))
        assert world.pay(world.bot) == HEARD
    plain = Bank.opened("plain")
    plain.fetch(plain.bot)
    assert plain.pay(plain.bot) == HEARD


def test_only_the_cleared_one_of_two_results_is_no_source(world: Marked) -> None:
    first, second = world.fetch(world.bot), world.fetch(world.bot)
    world.judged(first)
    folded = world.call(world.bot, PAY, {"recipient": IBAN, "amount": 1})
    assert folded.decisions[0].detail == f"/sequence/0 report {second.entry.event.hex()}"
    world.judged(second)
    assert world.pay(world.bot) == PAID


# ---- what no verifier is shown


BESIDE = BodyReference(digest=bytes(32), size=5, chunks=1)


@pytest.mark.parametrize(
    "told",
    [
        {"outcome": "unknown", "body": "null"},
        {"outcome": "ok", "body": "null", "stream": BESIDE},
        {"outcome": "ok", "body": jcs.canonical(written(BESIDE)).decode(), "bodies": (BESIDE,)},
    ],
)
def test_a_result_that_the_log_does_not_see_whole_is_shown_to_nobody(world: Marked, told: dict[str, Any]) -> None:
    asked = world.call(world.bot, WEB)
    body = ResultReported(decision=asked.decision_leaf, attestations=(), **told)
    reported = world.send(body, world.web, causation_id=asked.entry.event)
    assert reported.says == ("accepted", "")
    assert recipients(reported, topics.RESULTS) == pairs(world.bot)
    assert not world.tables.judged.rows
    assert world.judged(reported) == ("refused", "VERDICT_UNKNOWN")
    assert world.pay(world.bot, "never seen") == HEARD


def test_a_result_that_is_withheld_is_shown_to_nobody(world: Marked) -> None:
    setting = TenantSetting(name="results.secrets", value="withhold")
    assert world.send(LimitsSet(limits=(), settings=(setting,)), world.admin).says == ("accepted", "")
    reported = world.fetch(world.bot, {"key": "npm_" + "4eC39HqLyjWD" * 3})
    (result,) = reported.results
    assert (result.reason, result.detail) == ("RESULT_WITHHELD", "verifier secrets: secret.npm")
    assert recipients(reported, topics.RESULTS) == set()
    assert world.judged(reported) == ("refused", "VERDICT_UNKNOWN")


def test_attested_words_are_part_of_the_report_that_is_judged(world: Marked) -> None:
    called = world.call(world.bot, WEB)
    reported = world.report(called.decision_leaf, world.web, body="{}", attestations=(attests("seen", IBAN),))
    assert world.pay(world.bot) == HEARD
    assert world.judged(reported) == ("accepted", "")
    assert world.pay(world.bot) == PAID


def test_without_a_verifier_of_results_nothing_changes_for_a_caller() -> None:
    world = Marked.opened(declared={"surfaces": ("arguments",), "resources": ("tool:web/**",)})
    reported = world.fetch(world.bot)
    assert recipients(reported, topics.RESULTS) == pairs(world.bot)
    assert reported.results[0].detail == ""
    assert not world.tables.judged.rows


def test_a_verifier_of_results_alone_is_asked_about_no_call(world: Marked) -> None:
    asked = world.call(world.bot, WEB)
    assert asked.says == PAID
    assert "judge" not in {one.verifier for one in asked.decisions[0].verdicts}
    assert json.loads(asked.decisions[0].stamps or "{}").get("judge", {}).get("outcome") in {None, "missing"}


# ---- bounds


def test_a_result_has_at_most_sixteen_readers() -> None:
    """The caller and seven verifiers with two keys each; the eighth is not shown it."""
    world = Marked.opened()
    for number in range(1, limits.VERIFIERS_MAX):
        world.verifier(f"v{number}")
    for number in range(limits.VERIFIERS_MAX):
        world.verifier(f"v{number}" if number else "judge")
    reported = world.fetch(world.bot)
    assert len(recipients(reported, topics.RESULTS)) == 15
    (row,) = world.tables.judged.rows.values()
    assert row.asked == ("judge", *(f"v{number}" for number in range(1, 7)))


def test_each_caller_has_a_share_of_the_table_and_without_room_a_result_stays_marked() -> None:
    world = Marked.opened(bounds=TenantLimits(heard=16))
    reports = [world.fetch(world.bot, {"text": f"page {at}"}) for at in range(6)]
    assert len(world.tables.judged.rows) == 4  # a quarter
    assert [bool(recipients(one, topics.RESULTS) - pairs(world.bot)) for one in reports] == [True] * 4 + [False] * 2
    assert reports[-1].results[0].detail == ""
    assert world.judged(reports[-1]) == ("refused", "VERDICT_UNKNOWN")
    other = world.open_session(world.register("agent", "another"))
    world.publish_policy({"policy_id": "agent:another", "resources": ["**"]})
    assert pairs(world.judge) <= recipients(world.fetch(other), topics.RESULTS)


def test_rows_leave_ten_minutes_after_the_result_and_those_of_a_pass_with_it(world: Marked) -> None:
    passed, denied, silent = (world.fetch(world.bot, {"text": f"page {at}"}) for at in range(3))
    world.judged(passed)
    world.judged(denied, outcome="deny")
    world.advance(limits.RESULT_VERDICT_MS)
    world.tick()
    assert set(world.tables.judged.rows) == {passed.entry.event}
    world.advance(HOUR_MS)
    world.tick()
    assert not world.tables.judged.rows
    assert world.judged(silent) == ("refused", "VERDICT_UNKNOWN")


def test_a_person_s_row_leaves_with_the_time_of_the_session_and_a_program_s_outlives_it(world: Marked) -> None:
    world.publish_policy({"policy_id": "role:payer", "resources": ["**"]})
    alice = world.person("alice", "payer", ttl_ms=HOUR_MS)
    hers, its = world.fetch(alice), world.fetch(world.bot)
    for reported in (hers, its):
        assert world.judged(reported, expires_at=world.now + DAY_MS) == ("accepted", "")
    world.send(SessionClosed(reason="done"), world.bot)
    world.advance(HOUR_MS)
    world.tick()
    assert set(world.tables.judged.rows) == {its.entry.event}
    assert world.pay(world.open_session(world.agent)) == PAID


def test_a_log_with_verdicts_on_results_folds_again_to_the_same_bytes(world: Marked) -> None:
    for outcome in ("pass", "deny", "ask"):
        world.judged(world.fetch(world.bot), outcome=outcome)
        world.pay(world.bot)
    world.judged(world.fetch(world.bot), header={"causation_id": bytes(32)})
    world.revoke("judge")
    world.pay(world.bot)
    again = world.fresh_tables()
    for received in world.records:
        step(again, received, VerifiedHeads())
    assert again.prev == world.tables.prev
    assert {name: dict(table.rows) for name, table in again.by_name.items()} == world.rows()


def test_a_worker_that_restarts_knows_what_was_cleared(world: Marked) -> None:
    first, second = world.fetch(world.bot), world.fetch(world.bot, {"text": "other"})
    world.judged(first)
    world.tables.commit()
    world.tables = restored(world.tables, world)
    assert world.pay(world.bot) == PAID
    assert world.judged(second) == ("accepted", "")
