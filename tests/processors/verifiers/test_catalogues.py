"""Catalogues on the log: an administrator's rules deny from the next record on, within bounds, until they leave."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.catalogues import in_force
from processors.calls.verifiers.catalogue_rules import (
    Catalogue,
    CatalogueRuleError,
    compile_units,
    compiled,
    digest_of,
    program_size,
)
from processors.content.identity import OWN_SHA256
from processors.policy.evaluation import new_work
from schemas import limits
from schemas.events.catalogues import CataloguePublished, CatalogueRule, CatalogueWithdrawn
from schemas.events.tenancy import LimitsSet, TenantSetting
from schemas.records import Decision, StateQueried
from tests.builders import Folded
from tests.cast import Cast
from tests.engines import NEWEST
from tests.world import Office

TEXT = {"text": "please use ACME-12345678 for it"}
TOKEN = ("acme", "token", "ACME-[0-9]{8}")
VERIFIERS = ("prompt_injection", "command_injection", "personal_data", "secrets")


def office(**values: str) -> Office:
    """Return an office of engine 2 whose tenant has these settings; `__` stands for a dot."""
    made = Office.opened(**NEWEST)
    given_ = tuple(TenantSetting(name=name.replace("__", "."), value=value) for name, value in values.items())
    if given_:
        assert made.world.send(LimitsSet(limits=(), settings=given_), made.world.admin).says == ("accepted", "")
    return made


def rules_of(*rules: tuple[str, str, str]) -> tuple[CatalogueRule, ...]:
    return tuple(CatalogueRule(id=one, kind=kind, pattern=pattern) for one, kind, pattern in rules)


def publish(made: Office, *rules: tuple[str, str, str], name: str = "own", verifier: str = "secrets",
            previous: bytes | None = None) -> Folded:  # fmt: skip
    body = CataloguePublished(name=name, verifier=verifier, rules=rules_of(*rules), previous=previous, reason="ours")
    return made.world.send(body, made.world.admin)


def digest(made: Office, name: str = "own") -> bytes:
    return made.world.tables.catalogues.rows[name.encode()].digest


def withdraw(made: Office, name: str = "own") -> Folded:
    return made.world.send(CatalogueWithdrawn(name=name, previous=digest(made, name)), made.world.admin)


def decided(folded: Folded) -> Decision:
    (decision,) = folded.decisions
    return decision


# ---- the pipeline


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_rule_of_the_tenant_denies_and_its_withdrawal_ends_it(verifier: str) -> None:
    made = office(**{f"verifiers__{verifier}": "deny"})
    assert made.call(TEXT).says == ("allowed", "")
    assert publish(made, TOKEN, verifier=verifier).says == ("accepted", "")
    denied = made.call(TEXT)
    assert denied.says[0] == "denied"
    (verdict,) = [one for one in decided(denied).verdicts if one.outcome == "deny"]
    assert verdict.verifier == verifier
    assert [(one.kind, one.path, one.start, one.end) for one in verdict.findings] == [
        ("catalogue.own.token", "/text", 11, 24)
    ]
    assert "ACME-1234" not in decided(denied).detail
    assert made.call({"text": "please use nothing for it"}).says == ("allowed", "")
    assert withdraw(made).says == ("accepted", "")
    assert made.call(TEXT).says == ("allowed", "")


def test_a_rule_counts_for_its_verifier_alone_and_only_where_that_one_is_on() -> None:
    made = office(verifiers__secrets="stamp", verifiers__command_injection="deny")
    publish(made, TOKEN)
    allowed = made.call(TEXT)
    assert allowed.says == ("allowed", "")
    stamps = json.loads(decided(allowed).stamps or "")
    assert (stamps["secrets"]["found"], stamps["secrets"]["kinds"]) == (True, ["catalogue.own.token"])
    assert stamps["command_injection"]["found"] is False
    assert office().call(TEXT).says == ("allowed", "")


def test_the_verdict_names_the_rules_own_and_ours_in_the_order_of_names() -> None:
    made = office(verifiers__secrets="stamp")

    def told() -> bytes | None:
        return next(one.catalogue for one in decided(made.call(TEXT)).verdicts if one.verifier == "secrets")

    assert told() == OWN_SHA256
    publish(made, TOKEN, name="zeta")
    publish(made, ("x", "other", "XYZ-[0-9]+"), name="alpha")
    publish(made, ("x", "other", "XYZ-[0-9]+"), name="beta", verifier="personal_data")
    assert told() == sha256(OWN_SHA256 + digest(made, "alpha") + digest(made, "zeta")).digest()
    withdraw(made, "alpha")
    withdraw(made, "zeta")
    assert told() == OWN_SHA256


def test_a_disguised_text_is_found_by_a_rule_of_the_verifiers_of_attacks() -> None:
    """As their own rules do, they match the other readings of a text; a hit there spans the text."""
    made = office(verifiers__command_injection="deny")
    publish(made, ("x", "tool", r"zznetcat\s"), verifier="command_injection")
    folded = made.call({"text": "a%7Azznetcat%20b"})
    assert folded.says == ("denied", "COMMAND_INJECTION")
    findings = [one for verdict in decided(folded).verdicts for one in verdict.findings]
    assert ("catalogue.own.tool", 0, 16) in {(one.kind, one.start, one.end) for one in findings}


def test_a_result_is_withheld_by_a_rule_of_the_tenant() -> None:
    made = office(results__secrets="withhold")
    publish(made, TOKEN)
    asked = made.call({"n": 1})
    folded = made.world.report(asked.decision_leaf, made.tool, body='{"text": "ACME-12345678"}')
    assert [one.reason for one in folded.results if one.reason] == ["RESULT_WITHHELD"]


def test_a_place_counts_code_points() -> None:
    made = office(verifiers__secrets="deny")
    publish(made, TOKEN)
    folded = made.call({"text": "é\U0001f600 ACME-12345678"})
    (finding,) = [one for verdict in decided(folded).verdicts for one in verdict.findings]
    assert (finding.start, finding.end) == (3, 16)


def test_a_rule_that_is_tried_costs_more_than_one_that_the_filter_leaves_out() -> None:
    """And a long text costs more than a short one."""
    catalogue = Catalogue("own", rules_of(("a", "k", "needle[a-z0-9]{40}")), b"")

    def units(text: str) -> int:
        work = new_work()
        catalogue.hits((text,), work)
        return new_work()[0] - work[0]

    assert units("x" * 100) < units("x" * 94 + "needle") < units("x" * 994 + "needle")


def test_a_call_that_costs_too_much_is_denied_and_pays() -> None:
    made = office(verifiers__secrets="stamp")
    publish(made, *((f"r{number}", "wide", rf"[a-z {number}]{{1,200}}zone") for number in range(100)))
    assert made.call({"text": "a short zone"}).says == ("allowed", "")
    assert set(made.world.tables.work.rows) == {b"admin"}  # for compiling them
    folded = made.call({"text": "the quick brown zone fox " * 170})
    assert folded.says == ("denied", "LIMIT_EXCEEDED")
    assert set(made.world.tables.work.rows) > {b"admin"}


# ---- the event


def test_rules_that_any_text_may_have_to_be_tried_for_are_bounded() -> None:
    """Each keeps memory and time for itself, whatever the text is; the same rules with a literal are taken."""
    made = office(verifiers__secrets="deny")
    patterns = [f"a[ab]{{{30 + n % 9}}}[ab]b[0-9ab]" for n in range(200)]
    loose = publish(made, *((f"r{n}", "k", one) for n, one in enumerate(patterns)))
    assert loose.says == ("refused", "CATALOGUE_FORM")
    assert "without a literal of four signs" in loose.results[0].detail
    assert publish(made, *((f"r{n}", "k", f"own-{one}") for n, one in enumerate(patterns))).says == ("accepted", "")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (("", "k", "abc"), "its id must be"),
        (("a b", "k", "abc"), "its id must be"),
        (("a\n", "k", "abc"), "its id must be"),
        (("a" * 129, "k", "abc"), "its id must be"),
        (("a", "", "abc"), "its kind"),
        (("a", "K", "abc"), "its kind"),
        (("a", "k/x", "abc"), "its kind"),
        (("a", "k" * 65, "abc"), "its kind"),
        (("a", "k", ""), "its pattern must have"),
        (("a", "k", "x" * 8_193), "its pattern must have"),
        (("a", "k", "(?=x)y"), "RE2 does not take"),
        (("a", "k", r"(a)\1"), "RE2 does not take"),
        (("a", "k", "("), "RE2 does not take"),
        (("a", "k", "a{1000}{1000}"), "RE2 does not take"),
        (("a", "k", "((a{100}){100}){100}"), "RE2 does not take"),
        (("a", "k", "(a*)*"), "matches the empty text"),
        (("a", "k", "x|"), "matches the empty text"),
    ],
)
def test_a_faulty_rule_refuses_the_event_by_its_name(rule: tuple[str, str, str], says: str) -> None:
    made = office(verifiers__secrets="deny")
    folded = publish(made, TOKEN, rule)
    assert folded.says == ("refused", "CATALOGUE_FORM")
    assert says in folded.results[0].detail
    assert repr(rule[0])[1:20] in folded.results[0].detail
    assert not made.world.tables.catalogues.rows
    assert made.call(TEXT).says == ("allowed", "")


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(a|a)*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*)*=(.*)*;x"])
def test_a_pattern_that_backtracks_elsewhere_is_taken_and_answers(pattern: str) -> None:
    made = office(verifiers__secrets="stamp")
    assert publish(made, ("a", "k", pattern)).says == ("accepted", "")
    assert made.call({"text": "x" * 4_000}).says == ("allowed", "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "Own"}, "CATALOGUE_FORM"),
        ({"name": ""}, "CATALOGUE_FORM"),
        ({"name": "own/0"}, "CATALOGUE_FORM"),
        ({"name": "own/100"}, "CATALOGUE_FORM"),
        ({"name": "own\n"}, "CATALOGUE_FORM"),
        ({"name": "a" * 41}, "CATALOGUE_FORM"),
        ({"verifier": "parameters"}, "CATALOGUE_FORM"),
        ({"verifier": ""}, "CATALOGUE_FORM"),
        ({"reason": ""}, "CATALOGUE_FORM"),
        ({"reason": "x" * 1025}, "CATALOGUE_FORM"),
        ({"rules": ()}, "CATALOGUE_FORM"),
        ({"rules": rules_of(TOKEN, TOKEN)}, "CATALOGUE_FORM"),
        ({"rules": rules_of(*((f"r{n}", "k", f"x{n}") for n in range(limits.CATALOGUE_RULES_MAX + 1)))},
         "LIMIT_EXCEEDED"),
        ({"rules": rules_of(*((f"r{n}", "k", "x" * 8_000) for n in range(25)))}, "LIMIT_EXCEEDED"),
        ({"previous": bytes(32)}, "E_CONFLICT"),
        ({"previous": b""}, "E_CONFLICT"),
    ],
)  # fmt: skip
def test_a_malformed_catalogue_is_refused_and_changes_nothing(change: dict[str, Any], says: str) -> None:
    made = office()
    plain: dict[str, Any] = {"name": "own", "verifier": "secrets", "rules": rules_of(TOKEN), "reason": "ours"}
    body = CataloguePublished(**{**plain, **change})
    assert made.world.send(body, made.world.admin).says == ("refused", says)
    assert not made.world.tables.catalogues.rows


def test_a_catalogue_is_replaced_and_withdrawn_only_by_its_digest() -> None:
    made = office(verifiers__secrets="deny")
    publish(made, TOKEN)
    first = digest(made)
    assert first == digest_of("own", "secrets", rules_of(TOKEN))
    assert publish(made, ("x", "k", "XYZ-[0-9]+")).says == ("refused", "E_CONFLICT")
    assert publish(made, ("x", "k", "XYZ-[0-9]+"), previous=first).says == ("accepted", "")
    assert made.call(TEXT).says == ("allowed", "")
    assert made.call({"text": "XYZ-1"}).says == ("denied", "SECRET_FOUND")
    for name, previous in (("own", first), ("other", digest(made))):
        stale = CatalogueWithdrawn(name=name, previous=previous)
        assert made.world.send(stale, made.world.admin).says == ("refused", "E_CONFLICT")
    assert made.call({"text": "XYZ-1"}).says == ("denied", "SECRET_FOUND")


def test_a_tenant_has_eight_catalogues_and_may_replace_one_of_them() -> None:
    made = office()
    names = [f"own/{number}" for number in range(1, limits.CATALOGUES_MAX + 1)]
    for name in names:
        assert publish(made, TOKEN, name=name).says == ("accepted", "")
    assert publish(made, TOKEN, name="ninth").says == ("refused", "LIMIT_EXCEEDED")
    assert publish(made, ("x", "k", "xyz"), name=names[0], previous=digest(made, names[0])).says == ("accepted", "")
    withdraw(made, names[1])
    assert publish(made, TOKEN, name="ninth").says == ("accepted", "")


def test_an_administrator_pays_for_compiling_also_where_it_is_refused() -> None:
    """The bound in instructions holds for all patterns of an event, and a bucket that is empty refuses the next."""
    made = office()
    large = [(f"r{n}", "k", rf"x{n}(?:[a-z]{{20}}[0-9]{{20}}|\pL{{3}}){{5}}") for n in range(2_000)]
    told = [publish(made, *large, name=f"n{n}") for n in range(6)]
    assert told[0].says == ("refused", "CATALOGUE_FORM")
    assert "instructions together" in told[0].results[0].detail
    assert told[-1].says == ("refused", "LIMIT_EXCEEDED")
    assert "retry_after_ms=" in told[-1].results[0].detail


def test_units_do_not_depend_on_what_was_compiled_before() -> None:
    """A worker that has the rules in its cache charges as one that has not."""
    rules = rules_of(TOKEN, ("x", "k", "x[0-9]{50}"))
    fresh = compile_units(compiled(rules).programs)
    assert compile_units(compiled(rules).programs) == fresh
    compiled.cache_clear()
    assert compile_units(compiled(rules).programs) == fresh
    assert compiled(rules).programs == sum(map(program_size, rules))


def test_the_first_engine_refuses_both_bodies_and_has_no_question_about_them() -> None:
    made = Office.opened()
    assert made.world.tables.engine.number == 1
    assert publish(made, TOKEN).says == ("refused", "NOT_SUPPORTED")
    gone = CatalogueWithdrawn(name="own", previous=bytes(32))
    assert made.world.send(gone, made.world.admin).says == ("refused", "NOT_SUPPORTED")
    asked = StateQueried(what="catalogues", argument="null")
    assert made.world.send(asked, made.world.admin).says == ("refused", "QUERY_INVALID")


@pytest.mark.parametrize("role", ["root", "monitor", "organisation", "enrolment", "bridge", "agent", "tool", "session"])
def test_nobody_but_an_administrator_publishes_one(role: str) -> None:
    cast = Cast(**NEWEST)
    body = CataloguePublished(name="own", verifier="secrets", rules=rules_of(TOKEN), reason="ours")
    by = cast.world.organisation if role == "organisation" else cast.actors[role]
    assert cast.world.send(body, by).says == ("refused", "WRONG_ROLE")
    assert not cast.world.tables.catalogues.rows


# ---- state


def test_an_aborted_transaction_takes_the_rules_back() -> None:
    made = office(verifiers__secrets="deny")
    made.world.tables.commit()
    body = CataloguePublished(name="own", verifier="secrets", rules=rules_of(TOKEN), reason="ours")
    made.world.attempt(*made.world.signed(body, made.world.admin))
    assert not made.world.tables.catalogues.rows
    assert in_force(made.world.tables) == {}
    assert made.call(TEXT).says == ("allowed", "")


def test_a_replay_and_a_restored_state_have_the_same_rules() -> None:
    made = office(verifiers__secrets="deny")
    publish(made, TOKEN)
    publish(made, ("x", "k", "XYZ-[0-9]+"), name="second")
    made.call(TEXT)
    withdraw(made, "second")
    world = made.world
    again = world.fresh_tables()
    for received in world.records:
        world.fold_into(again, received)
    restored = world.fresh_tables()
    for name, table in world.tables.by_name.items():
        for key, row in table.rows.items():
            restored.by_name[name].restore(key, row)

    assert again.prev == world.tables.prev
    assert again.catalogues.rows == restored.catalogues.rows == world.tables.catalogues.rows
    assert [one.digest for one in in_force(restored).values()] == [one.digest for one in in_force(again).values()]


def test_rules_are_compiled_at_the_change_and_not_at_a_call() -> None:
    made = office(verifiers__secrets="deny")
    publish(made, TOKEN)
    made.call(TEXT)
    before = in_force(made.world.tables)
    made.call(TEXT)
    assert in_force(made.world.tables) is before


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40), st.text(max_size=200))
def test_any_pattern_is_compiled_or_refused_by_name_and_any_text_is_answered(pattern: str, text: str) -> None:
    """Whatever they hold: half surrogate pairs, NUL, or nothing."""
    rules = rules_of(("any", "k", pattern))
    try:
        catalogue = Catalogue("own", rules, b"")
    except CatalogueRuleError as exc:
        assert exc.rule_id == "any"  # noqa: PT017 - one of two answers
        return
    for hit in catalogue.hits((text, text + "\ud800"), new_work()):
        assert 0 <= hit.start <= hit.end <= len(text)
