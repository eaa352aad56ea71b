"""Masked calls with people in them, idempotency keys and costs; and declarations, engines and replays of masking."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from processors.calls.verifiers.texts import TEXT_BYTES_MAX
from processors.policy.limits import PATTERNS_MAX
from processors.proof.signing import VerifiedHeads
from processors.state.measures import weight_of_request
from processors.step import step
from tests.builders import invocation, tool
from tests.masking_world import CLOTHED, MAIL, NAKED, NOTE, TOKEN, Crm, canonical, changes, executed, masking
from tests.workflow_world import reply
from tests.world import World

# ---- people, and what is remembered of a call


def test_people_are_asked_about_the_masked_form_and_their_answer_binds_it() -> None:
    world = Crm.founded_with("text")
    world.require("boss", resource=NOTE, approval_criteria="role:boss", timeout=600)
    boss = world.person("boss", "boss")
    asked = world.note({"text": NAKED})
    assert asked.says == ("pending", "APPROVAL_PENDING")
    masked = canonical({"text": CLOTHED})

    assert changes(asked) == [("text", "personal_data")]
    shown = reply(world.ask(boss, "invocation", asked.entry.event.hex()))
    assert shown["masked"] == masked.decode()
    assert [one["parameters_sha256"] for one in shown["requests"]] == [sha256(masked).hexdigest()]
    world.is_refused("APPROVAL_MISMATCH", lambda: world.approve(boss, asked, "boss"))

    done = world.approve(boss, asked, "boss", parameters_sha256=sha256(masked).digest())
    assert done.says == ("accepted", "")
    assert world.final(asked).outcome == "allowed"
    assert executed(done) == {"text": CLOTHED}


def test_a_request_weighs_the_bytes_of_its_masked_form() -> None:
    world = Crm.founded_with("text")
    world.require("boss", resource=NOTE, approval_criteria="role:boss", timeout=600)
    world.note({"text": MAIL, "to": "\u65e5" * 100})
    (row,) = world.tables.requests.rows.values()
    assert row.masked is not None
    assert weight_of_request(row) - weight_of_request(replace(row, masked=None)) == len(row.masked) + 200


def test_a_call_is_not_executed_in_another_form_than_people_were_shown() -> None:
    world = Crm.founded_with("text")
    world.require("boss", resource=NOTE, approval_criteria="role:boss", timeout=600)
    boss = world.person("boss", "boss")
    asked = world.note({"text": NAKED, "customer": MAIL})
    world.publish_policy({"policy_id": "tool:crm", **masking("customer")})
    shown = canonical({"text": CLOTHED, "customer": MAIL})
    world.approve(boss, asked, "boss", parameters_sha256=sha256(shown).digest())

    final = world.final(asked)
    assert (final.outcome, final.reason) == ("denied", "APPROVAL_MISMATCH")


def test_an_idempotency_key_is_held_against_what_was_sent() -> None:
    world = Crm.founded_with("text")
    first = world.send(invocation(NOTE, {"text": MAIL}, idempotency_key="k"), world.bot)
    other = world.send(invocation(NOTE, {"text": "bob@mail.example.org"}, idempotency_key="k"), world.bot)

    assert first.says == ("allowed", "")
    assert other.says == ("denied", "IDEMPOTENCY_CONFLICT")


def test_the_caller_pays_for_the_texts_that_are_read() -> None:
    world = Crm.founded_with("customer")
    for _ in range(80):
        folded = world.note({"customer": ["x" * TEXT_BYTES_MAX] * 2})
        if folded.says != ("allowed", ""):
            break

    assert folded.says == ("denied", "LIMIT_EXCEEDED")


# ---- declarations, engines, replays


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (("a", "a"), "MASK_FORM"), (("a..b",), "MASK_FORM"), (("a*",), "MASK_FORM"), (("",), "MASK_FORM"),
        (tuple(f"p{at}" for at in range(PATTERNS_MAX + 1)), "LIMIT_EXCEEDED"),
    ],
)  # fmt: skip
def test_a_faulty_declaration_is_refused(paths: tuple[str, ...], reason: str) -> None:
    world = Crm.founded_with()
    body = world.registration("tool", "odd", tools=(replace(tool("tool:odd/run"), maskable_paths=paths),))

    assert world.send(body, world.admin).says == ("refused", reason)


def test_the_first_engine_knows_neither_the_declaration_nor_the_policy() -> None:
    world = World.founded("first")
    late = replace(tool(NOTE), maskable_paths=("text",))
    body = world.registration("tool", "crm", tools=(late,))
    assert world.send(body, world.admin).says == ("refused", "NOT_SUPPORTED")
    body = world.publication({"policy_id": "app:crm", **masking("text")})
    assert world.send(body, world.admin).says == ("refused", "E_UNKNOWN_FIELD")


def test_a_replay_masks_alike() -> None:
    world = Crm.founded_with("text", "customer")
    world.note({"text": NAKED, "customer": {"x": TOKEN}})
    again = world.fresh_tables()
    outputs = [step(again, received, VerifiedHeads()) for received in world.records]

    assert outputs[-1] == list(world.log[-1].outputs)
