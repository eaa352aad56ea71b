"""Verifiers outside, their lives: registered, declared anew, revoked in between; engines, replays and strangers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from processors.calls.verifiers import pipeline, ruled
from processors.identity.verifiers import RESERVED
from processors.proof.signing import VerifiedHeads
from processors.state.engines import installed
from processors.step import step
from schemas import limits, topics
from schemas.records import Decision, SignedEvent
from tests.builders import WORST, declaration, invocation, recipients, stamps_of
from tests.engines import NEWEST
from tests.verifiers_world import Judging
from tests.world import Office

ID = b"\x01\x90" + bytes(4) + b"\x70" + bytes(1) + b"\x80" + bytes(7)


def stamps(decision: Decision) -> dict[str, object]:
    """Return the stamps of a decision."""
    found: dict[str, object] = json.loads(decision.stamps or "{}")
    return found


def said(decision: Decision, prefix: str = "judge") -> tuple[str, str]:
    """Return a verifier's outcome and reason in a decision."""
    (one,) = [verdict for verdict in decision.verdicts if verdict.verifier == prefix]
    return one.outcome, one.reason


# ---- revoked in between


def test_verdicts_of_a_revoked_verifier_count_as_missing_from_that_record_on() -> None:
    world = Judging.with_judge(required=False)
    stapled = world.staple(ID)
    world.revoke("judge")
    done = world.pay_with(ID, [stapled])
    assert done.says == ("allowed", "")
    assert said(done.decisions[0]) == ("missing", "REVOKED_KEY")
    assert stamps(done.decisions[0])["judge"] == {**WORST, "outcome": "missing"}


def test_a_required_verifier_that_was_revoked_denies_at_once_until_an_admin_declares_otherwise() -> None:
    world = Judging.with_judge()
    waits = world.pay()
    world.revoke("judge")
    assert world.pay().says == ("denied", "VERDICT_MISSING")
    late = world.judged(waits)
    assert late.says == ("refused", "REVOKED_KEY")
    world.passes(limits.VERDICT_WAIT_MS)
    assert world.final(waits).reason == "VERDICT_MISSING"

    world.verifier("heir", prefix="judge", required=False)
    assert list(world.tables.verifiers.rows) == [b"heir"]
    assert world.pay().says == ("allowed", "")


def test_a_verdict_that_came_in_time_falls_with_its_verifier_while_the_call_waits() -> None:
    world = Judging.with_judge()
    other = world.verifier("second")
    asked = world.pay()
    assert world.judged(asked).says == ("accepted", "")
    world.revoke("judge")
    world.judged(asked, other)
    final = world.final(asked)
    assert (final.outcome, final.reason) == ("denied", "VERDICT_MISSING")
    assert said(final) == ("missing", "REVOKED_KEY")


# ---- registration


@pytest.mark.parametrize(
    ("reason", "declared"),
    [
        ("VERIFIER_FORM", {"surfaces": ("result",), "required": True}),
        ("VERIFIER_FORM", {"surfaces": ("result", "arguments")}),
        ("VERIFIER_FORM", {"surfaces": ("prompt",)}),
        ("VERIFIER_FORM", {"surfaces": ()}),
        ("VERIFIER_FORM", {"surfaces": ("arguments", "arguments")}),
        ("VERIFIER_FORM", {"prefix": "Judge"}),
        ("VERIFIER_FORM", {"prefix": "a.b"}),
        ("VERIFIER_FORM", {"prefix": "secrets"}),
        ("VERIFIER_FORM", {"prefix": "x" * 33}),
        ("VERIFIER_FORM", {"priority": -1}),
        ("VERIFIER_FORM", {"priority": 1001}),
        ("VERIFIER_FORM", {"catalogue": b""}),
        ("VERIFIER_FORM", {"max_age_ms": 0}),
        ("VERIFIER_FORM", {"max_age_ms": limits.VERDICT_AGE_MS_MAX + 1}),
        ("VERIFIER_FORM", {"resources": ()}),
        ("VERIFIER_FORM", {"resources": ("a\x00b",)}),
        ("VERIFIER_FORM", {"resources": ("tool:x",) * 65}),
        ("VERIFIER_FORM", {"resources": ("tool:bank/**", "**")}),
        ("VERIFIER_FORM", {"resources": ("*:bank/**",)}),
        ("VERIFIER_FORM", {"resources": ("V*",)}),
        ("VERIFIER_FORM", {"resources": ("vault:own/set/k",)}),
        ("VERIFIER_FORM", {"resources": ("Vault:*",)}),
        ("VERIFIER_FORM", {"stamps": stamps_of({"outcome": "pass"})}),
        ("VERIFIER_FORM", {"stamps": stamps_of({"level": 1}) * 2}),
        ("VERIFIER_FORM", {"stamps": tuple(replace(one, worst="x") for one in stamps_of({"level": 1}))}),
        ("VERIFIER_FORM", {"stamps": tuple(replace(one, worst="1.5") for one in stamps_of({"level": 1}))}),
        ("VERIFIER_FORM", {"stamps": tuple(replace(one, type="float") for one in stamps_of({"level": 1}))}),
        ("VERIFIER_FORM", {"stamps": stamps_of({f"s{n}": 1 for n in range(33)})}),
        ("REGISTRATION_CONFLICT", {"prefix": "judge"}),
    ],
)
def test_a_declaration_that_is_not_well_formed_is_refused(reason: str, declared: dict[str, object]) -> None:
    world = Judging.with_judge()
    body = world.registration("verifier", "new", verifier=declaration(**{"prefix": "new", **declared}))
    world.refuses(reason, body, world.admin)


def test_only_an_admin_registers_a_verifier_and_only_a_verifier_has_a_declaration() -> None:
    world = Judging.with_judge()
    enrol = world.register("enrolment", "crew")
    world.refuses("WRONG_ROLE", world.registration("verifier", "new", verifier=declaration("new")), enrol)
    world.refuses("VERIFIER_FORM", world.registration("agent", "new", verifier=declaration("new")), world.admin)
    world.refuses("VERIFIER_FORM", world.registration("verifier", "new", verifier=None), world.admin)
    world.refuses("WRONG_ROLE", world.verdict_on(ID, "{}"), world.bank)


def test_a_tenant_has_a_bounded_number_of_verifiers_and_each_of_keys() -> None:
    """So a waiting call always has room for all its readers."""
    world = Judging.with_judge()
    for number in range(1, limits.VERIFIERS_MAX):
        world.verifier(f"v{number}")
    world.refuses("LIMIT_EXCEEDED", world.registration("verifier", "more", verifier=declaration("more")), world.admin)
    for number in range(limits.VERIFIERS_MAX):
        name = f"v{number}" if number else "judge"
        world.register("verifier", name, verifier=declaration(name))
    body = world.registration("verifier", "judge", verifier=declaration())
    world.refuses("LIMIT_EXCEEDED", body, world.admin)
    assert len(recipients(world.pay(), topics.DECISIONS)) == 16


def test_a_live_key_declares_anew() -> None:
    world = Judging.with_judge()
    offer = world.offer(world.judge.keys, "verifier", "judge")
    body = world.registration("verifier", "judge", offer=offer, verifier=declaration(required=False))
    assert world.send(body, world.admin).says == ("accepted", "")
    assert world.pay().says == ("allowed", "")


def test_names_of_the_log_s_own_verifiers_are_reserved() -> None:
    world = Judging.with_judge(required=False)
    own = {one.name for one in pipeline.VERIFIERS} | (stamps(world.pay().decisions[0]).keys() - {"judge"})
    own |= {one.verifier for one in (ruled.SIGNATURE, ruled.AUTHORIZATION, ruled.RATE, ruled.WORKFLOW)}
    assert own | {"personal_data", "parameters", "risk", "signature"} <= RESERVED
    for prefix in sorted(RESERVED):
        world.refuses("VERIFIER_FORM", world.registration("verifier", "new", verifier=declaration(prefix)), world.admin)


# ---- engines, replays, strangers


def test_the_first_engine_knows_no_verifiers() -> None:
    office = Office.opened("old", engine=1, data=installed()[1].data)
    world = office.world
    registration = world.registration("verifier", "judge", verifier=declaration())
    assert world.send(registration, world.admin).says == ("refused", "NOT_SUPPORTED")
    assert world.send(replace(registration, verifier=None), world.admin).says == ("refused", "WRONG_ROLE")
    stapled = SignedEvent(event=b"", proof=b"", kid=b"")
    called = world.send(invocation(office.resource, {}, verdicts=(stapled,)), office.session)
    assert called.says == ("refused", "NOT_SUPPORTED")


def test_a_log_with_verdicts_folds_again_to_the_same_bytes() -> None:
    world = Judging.with_judge()
    other = world.verifier("second", required=False)
    for outcome in ("pass", "deny", "ask"):
        world.judged(world.pay(), outcome=outcome)
    asked = world.pay()
    world.judged(asked, other)
    world.judged(asked)
    world.pay_with(ID, [world.staple(ID)])
    world.revoke("judge")
    world.pay()
    again = world.fresh_tables()
    for received in world.records:
        step(again, received, VerifiedHeads())
    assert again.prev == world.tables.prev
    assert {name: dict(table.rows) for name, table in again.by_name.items()} == world.rows()


def test_a_verdict_of_another_tenant_is_unknown_here() -> None:
    world, stranger = Judging.with_judge("one"), Judging.with_judge("two")
    stapled = stranger.staple(ID)
    assert world.pay_with(ID, [stapled]).says == ("denied", "VERDICT_UNSIGNED")


def test_the_bytes_of_an_installation_without_verifiers_do_not_change() -> None:
    """No stamp and no answer of a verifier that is not declared."""
    office = Office.opened("plain", **NEWEST)
    (decision,) = office.call({"n": 1}).decisions
    assert (decision.stamps, {one.outcome for one in decision.verdicts}) == (None, {"pass"})
