"""Masking of arguments: what the tool gets, what the decision lists, and every value that no token can stand for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.bodies import reference_to, written
from processors.calls.verifiers.texts import BYTES_MAX, LEAVES_MAX, TEXT_BYTES_MAX
from processors.content import personal, secret_tokens
from processors.proof import sealing
from schemas.events.catalogues import CataloguePublished, CatalogueRule
from schemas.records import Decision
from tests.builders import invocation
from tests.enforcing_world import set_on
from tests.engines import NEWEST
from tests.masking_world import (
    CLOTHED,
    IBAN,
    MAIL,
    NAKED,
    NOTE,
    TOKEN,
    Crm,
    canonical,
    changes,
    executed,
    masking,
    payload,
    signed,
)
from tests.offers_world import LOOK, Offers, call_of
from tests.workflow_world import ANYTHING, declared

BOTH = [("text", "personal_data"), ("text", "secrets")]


# ---- what the tool gets


def test_the_tool_gets_tokens_and_the_callers_event_stays_as_it_was_signed() -> None:
    world = Crm.founded_with("text")
    asked = {"text": f"{NAKED}, {TOKEN}", "to": MAIL, "n": 5}
    folded = world.note(asked)

    assert folded.says == ("allowed", "")
    assert executed(folded) == {**asked, "text": f"{CLOTHED}, [masked:npm]"}
    assert signed(folded) == asked
    assert changes(folded) == BOTH


def test_the_digest_of_the_decision_is_of_the_masked_form() -> None:
    world = Crm.founded_with("text")
    folded = world.note({"text": NAKED})
    salt, (decision,) = payload(folded).salt, folded.decisions

    assert decision.parameters_sha256 == sealing.parameters_digest(salt, canonical({"text": CLOTHED}))
    assert payload(folded).parameters == canonical({"text": CLOTHED}).decode()


def test_a_call_in_which_nothing_is_found_is_not_changed() -> None:
    world = Crm.founded_with("text")

    for asked in ({"text": "all is well"}, {"to": MAIL}, {"text": "", "to": MAIL}, {}):
        folded = world.note(asked)
        assert folded.says == ("allowed", "")
        assert (executed(folded), changes(folded)) == (asked, [])


def test_only_what_stands_below_the_path_is_masked() -> None:
    world = Crm.founded_with("lines[*].text", "customer")
    asked = {
        "customer": {"mail": [MAIL, {"x": MAIL}], "ok": True, "none": None},
        "lines": [{"text": IBAN, "to": IBAN}, {"text": "x"}],
        "text": MAIL,
    }
    folded = world.note(asked)

    assert executed(folded) == {
        "customer": {"mail": ["[masked:email]", {"x": "[masked:email]"}], "ok": True, "none": None},
        "lines": [{"text": "[masked:iban]", "to": IBAN}, {"text": "x"}],
        "text": MAIL,
    }
    assert changes(folded) == [("customer", "personal_data"), ("lines[*].text", "personal_data")]


def test_every_parameter_is_masked_where_a_policy_says_so_and_the_tool_declares_all() -> None:
    world = Crm.founded_with("*", maskable_paths=("*",))
    folded = world.note({"a": MAIL, "b": {"c": [IBAN]}})

    assert executed(folded) == {"a": "[masked:email]", "b": {"c": ["[masked:iban]"]}}
    assert changes(folded) == [("*", "personal_data")]


@pytest.mark.parametrize("asked", [{MAIL: "x"}, {IBAN: {"k": 5}}, {"4111111111111111": 1}, {"o": {MAIL: "x"}}])
def test_where_every_parameter_is_masked_a_name_cannot_carry_a_value(asked: Any) -> None:
    Crm.founded_with("*", maskable_paths=("*",)).denies("PARAM_NOT_MASKABLE", asked)


def test_names_count_in_their_normal_form() -> None:
    world = Crm.founded_with("caf\u00e9.x", maskable_paths=("caf\u00e9",))
    folded = world.note({"cafe\u0301": {"x": MAIL}})

    assert executed(folded) == {"cafe\u0301": {"x": "[masked:email]"}}


def test_a_catalogue_of_the_tenant_masks_with_one_token() -> None:
    world = Crm.founded_with("text")
    rules = (CatalogueRule(id="acme-1", kind="pay_eve", pattern="ACME-[0-9]{6}"),)
    body = CataloguePublished(name="own", verifier="secrets", rules=rules, previous=None, reason="ours")
    assert world.send(body, world.admin).says == ("accepted", "")
    folded = world.note({"text": "ticket ACME-123456, then ACME-654321"})

    assert executed(folded) == {"text": "ticket [masked:catalogue], then [masked:catalogue]"}
    assert changes(folded) == [("text", "secrets")]


def test_a_session_that_offers_its_tools_gets_tokens_too() -> None:
    world = Offers.opened(**NEWEST)
    world.instance(world.app, declared(LOOK, maskable_paths=("text",)))
    world.publish_policy({"policy_id": "tool:app", **masking("text", resource="tool:app/*")})
    folded = call_of(world, world.bot, LOOK, parameters={"text": NAKED})

    assert folded.says == ("allowed", "")
    assert executed(folded) == {"text": CLOTHED}


# ---- all policies add up


def test_any_policy_that_applies_may_mask_and_all_of_them_add_up() -> None:
    world = Crm.founded_with("text")
    world.publish_policy(
        {"policy_id": "agent:bot", "extends": "skill:careful", **ANYTHING},
        {"policy_id": "skill:careful", **masking("customer", resource="tool:**")},
    )
    folded = world.note({"text": MAIL, "customer": MAIL, "lines": [{"text": MAIL}]})

    assert executed(folded) == {
        "text": "[masked:email]", "customer": "[masked:email]", "lines": [{"text": MAIL}],
    }  # fmt: skip


def test_the_masks_of_every_role_count_whichever_role_grants() -> None:
    world = Crm.founded_with()
    world.withdraw_policy("agent:bot")
    world.publish_policy(
        {"policy_id": "role:a", **ANYTHING},
        {"policy_id": "role:b", "resources": ["tool:crm/**"], **masking("text")},
    )
    ann = world.person("ann", "a", "b")
    folded = world.call(ann, NOTE, {"text": MAIL})

    assert executed(folded) == {"text": "[masked:email]"}


def test_masks_of_every_principal_of_a_chain_count() -> None:
    world = Crm.founded_with("text")
    world.publish_policy({"policy_id": "user:ann", **ANYTHING, **masking("customer")})
    ann = world.person("ann")
    leaf = world.grant_to(ann, "bot").entry.event
    folded = world.note({"text": MAIL, "customer": MAIL}, on_behalf_of=leaf)

    assert folded.says == ("allowed", "")
    assert executed(folded) == {"text": "[masked:email]", "customer": "[masked:email]"}


def test_an_intent_cannot_mask_and_is_refused_by_name() -> None:
    world = Crm.founded_with()
    folded = world.send(invocation(NOTE, {"text": MAIL}, intents=[json.dumps(masking("text"))]), world.bot)

    assert folded.says == ("denied", "POLICY_BROKEN")


# ---- fail closed: never in the clear


@pytest.mark.parametrize(
    ("paths", "asked"),
    [
        (["to"], {"to": MAIL}),
        (["to"], {"to": "harmless"}),  # the same answer: nobody learns by trying
        (["text", "to"], {"text": MAIL, "to": 5}),
        (["*"], {"text": MAIL, "to": MAIL}),
        (["lines"], {"lines": [{"text": MAIL}]}),  # only part of it is declared
        (["lines[0]"], {"lines": [{"text": MAIL}]}),
        (["a.b"], {"a.b": MAIL}),  # a member that is called like the path
    ],
)
def test_a_path_that_the_tool_does_not_declare_is_denied(paths: list[str], asked: Any) -> None:
    decision = Crm.founded_with(*paths).denies("PARAM_NOT_MASKABLE", asked)

    assert decision.detail.startswith("/constraints/masked_parameters/tool:crm~1note/")


def test_a_tool_without_a_declaration_is_not_called_with_what_a_policy_masks() -> None:
    world = Crm.founded_with()
    world.publish_policy({"policy_id": "app:crm", **masking("text", resource="tool:**")})

    assert world.call(world.bot, "tool:crm/plain", {"text": MAIL}).says == ("denied", "PARAM_NOT_MASKABLE")
    assert world.call(world.bot, "tool:crm/plain", {"other": MAIL}).says == ("allowed", "")


@pytest.mark.parametrize("asked", [{"customer": MAIL}, {"customer": None}, {"customer": [{"mail": MAIL}]}])
def test_a_value_of_another_type_on_the_way_is_denied(asked: Any) -> None:
    """Else a text would pass where the policy names a member of an object."""
    Crm.founded_with("customer.mail").denies("PARAM_TYPE", asked)


@pytest.mark.parametrize(
    "customer",
    [
        {MAIL: "x"}, {"a": {f"to {IBAN}": 1}}, {"card": 4111111111111111}, [4111111111111111],
        {"card": 4.111111111111111e15}, {"x": [{TOKEN: None}]},
    ],
)  # fmt: skip
def test_a_value_that_no_token_can_stand_for_is_denied(customer: Any) -> None:
    """A name, or a number: replaced, the parameters would have another structure or type."""
    decision = Crm.founded_with("customer").denies("PARAM_NOT_MASKABLE", {"customer": customer})

    assert MAIL not in decision.detail
    assert "4111" not in decision.detail


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "x" * (TEXT_BYTES_MAX + 1)},
        {"text": MAIL + " " * TEXT_BYTES_MAX},
        {"text": "\u00e9" * (TEXT_BYTES_MAX // 2 + 1)},
        {"customer": ["x" * TEXT_BYTES_MAX] * (BYTES_MAX // TEXT_BYTES_MAX) + ["abc"]},
        {"customer": {"x" * (TEXT_BYTES_MAX + 1): 1}},
    ],
)
def test_a_text_that_is_not_read_to_its_end_is_denied(asked: Any) -> None:
    Crm.founded_with("text", "customer").denies("TEXT_UNREAD", asked)


def test_the_longest_text_that_is_read_is_masked() -> None:
    world = Crm.founded_with("text")
    text = MAIL + " " * (TEXT_BYTES_MAX - len(MAIL))

    assert executed(world.note({"text": text}))["text"] == text.replace(MAIL, "[masked:email]")


def test_as_many_texts_are_masked_as_verifiers_read() -> None:
    world = Crm.founded_with("customer")

    assert executed(world.note({"customer": ["abc"] * LEAVES_MAX + ["ab"]}))["customer"][0] == "abc"
    world.denies("TEXT_UNREAD", {"customer": ["abc"] * LEAVES_MAX + ["abc"]})


@pytest.mark.parametrize("opaque", [(), ("text",)])
def test_a_text_that_travels_beside_the_call_is_denied(opaque: tuple[str, ...]) -> None:
    world = Crm.founded_with("text", body_paths=("text",), opaque_paths=opaque)
    body = reference_to(bytes(16), b"beside")
    folded = world.send(invocation(NOTE, {"text": written(body)}, bodies=(body,)), world.bot)

    assert folded.says == ("denied", "BODY_UNSEEN")


def test_the_masked_form_must_fit_the_schema_of_the_tool() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^[0-9a-z.]*$"}}}
    world = Crm.founded_with("text", input_schema=json.dumps(schema))

    world.denies("PARAMETERS_INVALID", {"text": "203.0.113.9"})
    assert world.note({"text": "hello"}).says == ("allowed", "")


def test_constraints_judge_the_parameters_as_the_caller_sent_them() -> None:
    world = Crm.founded_with()
    spec = {"parameters": {NOTE: {"text": {"pattern": ".*DE.*", "max_length": 22}}}}
    world.publish_policy({"policy_id": "app:crm", **masking("text", **spec)})

    assert executed(world.note({"text": IBAN})) == {"text": "[masked:iban]"}
    world.denies("PARAM_PATTERN", {"text": "[masked:iban]"})


# ---- nothing in the clear, whatever is sent

PIECES = [MAIL, IBAN, TOKEN, "4111 1111 1111 1111", "YW5uQG1haWwuZXhhbXBsZS5vcmc=", "hello", "5", "[masked:iban]", ", "]
leaves: st.SearchStrategy[Any] = st.lists(st.sampled_from(PIECES), max_size=4).map(" ".join) | st.sampled_from(
    [None, True, 5, 1.5, 4111111111111111]
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "mail", "k", MAIL, "caf\u00e9"]), inner, max_size=3)
    ),
    max_leaves=6,
)
WORLD = Crm.founded_with("text", "lines[*].text", "customer", name="anything")


@given(st.dictionaries(st.sampled_from(["text", "lines", "customer", "to"]), values, max_size=4))
@settings(deadline=None, max_examples=150)
def test_nothing_is_found_below_a_masked_path_of_an_executed_call(asked: dict[str, Any]) -> None:
    """And all else is as it was sent, to the byte; the decision lists exactly what differs."""
    folded = WORLD.note(asked)
    decision: Decision = folded.decisions[0]
    if decision.outcome == "denied":
        assert decision.reason in {"PARAM_NOT_MASKABLE", "PARAM_TYPE"}
        return
    given_to_tool = executed(folded)
    below = [given_to_tool[name] for name in ("text", "customer") if name in given_to_tool]
    below += [one["text"] for one in given_to_tool.get("lines", []) if "text" in one]
    for text in texts_in(below):
        assert [*personal.find(text), *secret_tokens.find(text)] == []
    assert given_to_tool.get("to") == asked.get("to")
    assert bool(decision.changed) == (canonical(given_to_tool) != canonical(asked))


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for one in value.values() for text in texts_in(one))]
    if isinstance(value, list):
        return [text for one in value for text in texts_in(one)]
    return [] if value is None or isinstance(value, bool) else [str(value)]


# ---- beside observe mode


@pytest.mark.parametrize(
    ("scope", "name"), [("tenant", ""), ("resource", NOTE), ("policy", "app:crm"), ("policy", "agent:bot")]
)
def test_an_observed_call_is_masked_as_well(scope: str, name: str) -> None:
    """Nothing that a policy wants blanked reaches the tool because a denial is not enforced."""
    world = Crm.founded_with()
    world.publish_policy({"policy_id": "app:crm", **masking("text", parameters={NOTE: {"to": ["bob"]}})})
    asked = {"text": NAKED, "to": "eve"}
    assert world.note(asked).says == ("denied", "PARAM_NOT_ALLOWED")
    assert world.send(set_on("observe", scope, name), world.admin).says == ("accepted", "")

    folded = world.note(asked)
    if name == "agent:bot":  # the other document is enforced
        assert folded.says == ("denied", "PARAM_NOT_ALLOWED")
        return
    (decision,) = folded.decisions
    assert decision.observed is not None
    assert decision.observed.reason == "PARAM_NOT_ALLOWED"
    assert executed(folded) == {**asked, "text": CLOTHED}
    assert changes(folded) == BOTH[:1]
    world.publish_policy({"policy_id": "app:crm", **masking("other", parameters={NOTE: {"to": ["bob"]}})})
    assert world.note({**asked, "other": MAIL}).says == ("denied", "PARAM_NOT_MASKABLE")
