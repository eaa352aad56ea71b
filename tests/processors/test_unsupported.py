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
from schemas.events.tenancy import TenantSetting
from schemas.events.tools import ToolsOffered
from schemas.records import Body, ResultReported
from tests.builders import invocation, keys_of, tool
from tests.world import Office, World

SET: dict[str, Any] = {
    "fingerprints": b"", "offers": ("*",),
    "result_body_paths": ("a",), "maskable_paths": ("a",),
    "input_schema": "{}", "output_schema": "", "settings": (TenantSetting(name="observe", value="true"),),
}  # fmt: skip


def test_every_later_field_exists_and_is_tried_here():
    """The tables name fields of their records, each of which is left out by default."""
    for cls, names in unsupported.FIELDS.items():
        fields = {field.name: field for field in dataclasses.fields(cls)}
        assert set(names) <= set(fields)
        assert all(fields[name].default in {None, (), False} for name in names)
    assert {name for names in unsupported.FIELDS.values() for name in names} == set(SET)
    assert set(get_args(Body)) > unsupported.BODIES


def test_a_report_with_a_later_field_is_refused_and_the_call_stays_open():
    """The tool is told which field, and its caller is told nothing."""
    office = Office.opened()
    asked = office.call()
    reported = ResultReported(
        decision=asked.decision_leaf, outcome="ok", body="{}", attestations=(), fingerprints=SET["fingerprints"]
    )
    folded = office.world.send(reported, office.tool, causation_id=asked.entry.event)

    assert folded.says == ("refused", "NOT_SUPPORTED")
    assert "`fingerprints`" in folded.results[0].detail
    assert asked.decision_leaf in office.world.tables.calls.rows


@pytest.mark.parametrize("name", unsupported.FIELDS[type(tool("tool:a/b"))])
def test_a_tool_that_declares_a_later_field_is_not_registered(name):
    """Nobody may believe that a schema or a mask is enforced."""
    world = World.founded()
    declared = replace(tool("tool:late/run"), **{name: SET[name]})
    folded = world.send(world.registration("tool", "late", tools=(declared,)), world.admin)

    assert folded.says == ("refused", "NOT_SUPPORTED")
    assert b"late" not in world.tables.principals.rows


def test_a_persons_session_has_no_pattern_of_names():
    """Persons own no name: a bridge that gives such a right is refused, and not believed half."""
    world = World.founded()
    bridge = world.register("bridge", "bridge")
    body = world.person_session(keys=keys_of("alice"), attributes=Attributes(user="alice", offers=("**",)))

    assert world.send(body, bridge).says == ("refused", "NOT_SUPPORTED")


def test_an_offer_that_declares_a_later_field_is_refused():
    """In an offer as in a registration."""
    world = World.founded()
    session = world.open_session(world.register("agent", "bot"))
    declared = replace(tool("tool:bot/run"), input_schema="{}")
    body = ToolsOffered(tools=(declared,), key=world.offer(keys_of("key"), "offer", "bot"))

    assert world.send(body, session).says == ("refused", "NOT_SUPPORTED")


@pytest.mark.parametrize("cls", unsupported.FIELDS)
def test_a_record_without_later_fields_passes(cls):
    """The check says nothing where nothing is set."""
    world = World.founded()
    plain: dict[str, Any] = {
        "Attributes": NONE, "ToolDeclaration": tool("tool:a/b"), "InvocationRequested": invocation("tool:a/b"),
        "PrincipalRegistered": world.registration("agent", "a", keys=keys_of("plain")),
    }  # fmt: skip
    if cls.__name__ in plain:
        unsupported.check_supported(plain[cls.__name__])


def test_followers_of_the_registry_ask_the_same_question():
    """A lying monitor cannot put a later field into the registry."""
    world = World.founded()
    declared = replace(tool("tool:late/run"), output_schema="{}")
    with pytest.raises(Refusal, match="NOT_SUPPORTED"):
        unsupported.check_supported(world.registration("tool", "late", tools=(declared,)))


def test_the_page_names_everything_that_has_no_rule_yet():
    """docs/wire.md is all that a second implementation reads."""
    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
    table = page.partition("| where | what |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", table))

    assert {cls.__name__ for cls in unsupported.BODIES} <= told
    assert {name for names in unsupported.FIELDS.values() for name in names} <= told
