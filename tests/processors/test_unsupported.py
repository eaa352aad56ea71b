"""What has its place on the wire and no rule yet is refused by name, wherever it stands, and changes nothing."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from processors.intake import unsupported
from processors.refusal import Refusal
from schemas.events.attributes import NONE, Attributes
from schemas.events.bodies import BodyReference
from schemas.events.workflow import ContextWritten
from schemas.records import Body, InvocationRequested, PrincipalRegistered
from tests.builders import grant, invocation, keys_of, tool
from tests.world import Office, World

REFERENCE = BodyReference(digest=bytes(32), size=1, chunks=1)
SET: dict[str, Any] = {
    "target": bytes(32), "bodies": (REFERENCE,), "stream": REFERENCE, "fingerprints": b"",
    "actors": ("user:bob",), "only_within_calls": True, "offers": ("*",), "body_paths": ("a",),
    "result_body_paths": ("a",), "opaque_paths": ("a",), "maskable_paths": ("a",), "streams": True,
    "input_schema": "{}", "output_schema": "",
}  # fmt: skip


def test_every_later_field_exists_and_is_tried_here():
    """The tables name fields of their records, each of which is left out by default."""
    for cls, names in unsupported.FIELDS.items():
        fields = {field.name: field for field in dataclasses.fields(cls)}
        assert set(names) <= set(fields)
        assert all(fields[name].default in {None, (), False} for name in names)
    assert {name for names in unsupported.FIELDS.values() for name in names} == set(SET)
    assert set(get_args(Body)) > unsupported.BODIES


@pytest.mark.parametrize("name", ["target", "bodies"])
def test_a_call_with_a_later_field_is_refused_and_not_decided(name):
    """The signer is told which field, no decision is made, and no tool hears of it."""
    office = Office.opened()
    body: InvocationRequested = invocation(office.resource, {})
    folded = office.world.send(replace(body, **{name: SET[name]}), office.session)

    assert folded.says == ("refused", "NOT_SUPPORTED")
    assert f"`{name}`" in folded.results[0].detail
    assert not folded.decisions


@pytest.mark.parametrize("name", unsupported.FIELDS[type(tool("tool:a/b"))])
def test_a_tool_that_declares_a_later_field_is_not_registered(name):
    """Nobody may believe that a schema or a mask is enforced."""
    world = World.founded()
    declared = replace(tool("tool:late/run"), **{name: SET[name]})
    folded = world.send(world.registration("tool", "late", tools=(declared,)), world.admin)

    assert folded.says == ("refused", "NOT_SUPPORTED")
    assert b"late" not in world.tables.principals.rows


@pytest.mark.parametrize("where", ["attributes", "grant", "flag"])
def test_a_registration_with_a_later_right_is_refused(where):
    """Also inside the grant of an enrolment key, which would pass it on."""
    world = World.founded()
    offers = Attributes(offers=("*",))
    more: dict[str, Any] = {
        "attributes": {"role": "agent", "attributes": offers},
        "grant": {"role": "enrolment", "enrolment": replace(grant(), attributes=offers)},
        "flag": {"role": "agent", "only_within_calls": True},
    }[where]
    role = more.pop("role")

    assert world.send(world.registration(role, "late", **more), world.admin).says == ("refused", "NOT_SUPPORTED")


@pytest.mark.parametrize("cls", unsupported.FIELDS)
def test_a_record_without_later_fields_passes(cls):
    """The check says nothing where nothing is set."""
    keys = keys_of("plain")
    world = World.founded()
    plain: dict[str, Any] = {
        "Attributes": NONE, "ToolDeclaration": tool("tool:a/b"), "InvocationRequested": invocation("tool:a/b"),
        "PrincipalRegistered": world.registration("agent", "a", keys=keys),
        "SessionOpened": world.person_session(keys=keys),
        "ContextWritten": ContextWritten(scope="session", key="k", value="1"),
    }  # fmt: skip
    if cls.__name__ in plain:
        unsupported.check_supported(plain[cls.__name__])


@pytest.mark.parametrize("name", ["offers"])
def test_a_lying_monitor_cannot_put_a_later_right_into_the_registry(name):
    """Followers of the registry ask the same question as the fold."""
    world = World.founded()
    body: PrincipalRegistered = world.registration("agent", "late", attributes=Attributes(**{name: SET[name]}))
    with pytest.raises(Refusal, match="NOT_SUPPORTED"):
        unsupported.check_supported(body)


def test_the_page_names_everything_that_has_no_rule_yet():
    """docs/wire.md is all that a second implementation reads."""
    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
    table = page.partition("| where | what |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", table))

    assert {cls.__name__ for cls in unsupported.BODIES} <= told
    assert {name for names in unsupported.FIELDS.values() for name in names} <= told
