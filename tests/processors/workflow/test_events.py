"""What applications note on the log, and what a session may ask of it."""

import json

import pytest

from processors.state.bounds import TenantLimits
from schemas.events.workflow import StateQueried
from schemas.records import ApplicationEventLogged
from tests.workflow_world import ANYTHING, PAY, Workflow, reply


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened()


def noted(**other: object) -> ApplicationEventLogged:
    fields = {
        "event_type": "invoice.paid", "source": "erp", "action": "pay", "target": "inv-7", "outcome": "success",
        "category": "business", "signed": True, "metadata": '{"amount": 10}',
    }  # fmt: skip
    return ApplicationEventLogged(**{**fields, **other})


def test_an_application_notes_what_happened(world):
    """A signed event with an entry; no row changes. Tools may note something too."""
    for by in (world.bot, world.bank):
        folded = world.nothing_changes(lambda by=by: world.send(noted(), by))
        assert (folded.says, folded.entry.kind, folded.entry.event_kid) == (
            ("accepted", ""), "ApplicationEventLogged", by.kid,
        )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_type": ""}, {"event_type": "x" * 257}, {"target": "x" * 257}, {"outcome": "maybe"},
        {"metadata": "[]"}, {"metadata": "{"}, {"metadata": '{"a":1,"a":2}'}, {"metadata": "NaN"},
        {"metadata": json.dumps({"a": "x" * 16_384})},
    ],
)  # fmt: skip
def test_what_an_application_notes_is_well_formed(world, wrong):
    """APPLICATION_EVENT for every field that is not."""
    world.refuses("APPLICATION_EVENT", noted(**wrong), world.bot)


@pytest.mark.parametrize(
    ("what", "argument"),
    [
        ("secrets", "null"), ("", "null"), ("approvals", "1"), ("approvals", '"xyz"'), ("attestations", "[1]"),
        ("invocation", "null"), ("invocation", '"abc"'), ("delegations", "1"), ("effective_policy", "null"),
        ("attestations", "{"), ("attestations", ""),
    ],
)  # fmt: skip
def test_a_question_is_well_formed(world, what, argument):
    """QUERY_INVALID, and nothing is told."""
    asker = world.person("carol", "manager")
    world.refuses("QUERY_INVALID", StateQueried(what=what, argument=argument), asker)


def test_a_program_may_not_ask_what_waits_for_people(world):
    """The list of requests is for who may answer one."""
    world.is_refused("APPROVER_NOT_AUTHORIZED", lambda: world.ask(world.bot, "approvals"))


def test_the_effective_policy_names_documents_and_their_digests(world):
    """Ids and digests of what applies to the asker, and no text of it."""
    world.publish_policy({"policy_id": "company:other", **ANYTHING})
    told = reply(world.nothing_changes(lambda: world.ask(world.bot, "effective_policy", PAY)))

    asked = world.pay()
    assert [one["policy_id"] for one in told["policies"]] == ["agent:bot"]
    assert [one["sha256"] for one in told["policies"]] == [digest.hex() for digest in asked.decisions[0].policies]
    world.is_refused("RESOURCE_INVALID", lambda: world.ask(world.bot, "effective_policy", "tool:a/../b"))


def test_an_answer_that_is_too_large_is_refused(world):
    """The fold sizes what it writes: the asker is told, and the monitor goes on."""
    small = Workflow.opened("small", bounds=TenantLimits(output_payload_bytes=700))
    for i in range(30):
        assert small.put(small.bot, f"key-{i}", i).says == ("accepted", "")

    assert small.keys_in(small.bot, limit=5).says == ("accepted", "")
    small.is_refused("OUTPUT_TOO_LARGE", lambda: small.keys_in(small.bot))


def test_a_call_is_asked_about_by_who_made_it(world):
    """A call that does not wait is not told: neither to a stranger nor to its own caller."""
    asked, zoe = world.pay(), world.person("zoe")

    for by in (zoe, world.bot):
        world.is_refused("APPROVAL_UNKNOWN", lambda by=by: world.ask(by, "invocation", asked.entry.event.hex()))
