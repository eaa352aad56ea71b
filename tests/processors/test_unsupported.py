"""What has its place on the wire and no rule yet is refused by name, wherever it stands, and changes nothing."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from processors.identity.following import FollowedRegistry
from processors.intake import unsupported
from processors.refusal import Refusal
from processors.state.engine import DETECTING, ENGINE
from schemas.events.attributes import NONE, ApproverLimits, Attributes
from schemas.events.tenancy import LimitsSet, TenantSetting
from schemas.events.tools import ToolsOffered
from schemas.records import Body, ResultReported, SignedEvent
from tests.builders import declaration, invocation, keys_of, tool
from tests.engines import NEWEST
from tests.world import Office, World

SET: dict[str, Any] = {
    "fingerprints": b"", "offers": ("*",),
    "result_body_paths": ("a",), "maskable_paths": ("a",),
    "verifier": declaration(), "verdicts": (SignedEvent(event=b"", proof=b"", kid=b""),),
    "approver": ApproverLimits(scope=None, keys=("**",), once_only=False, speaks_for=()),
    "once": True, "for_ms": 1, "uses": 1, "said_by": "",
    "input_schema": "{}", "output_schema": "", "settings": (TenantSetting(name="observe", value="true"),),
}  # fmt: skip


def followed(world: World) -> FollowedRegistry:
    """Return the registry of a world as a client has it after the founding."""
    registry = FollowedRegistry(world.fresh_tables())
    registry.follow(world.records[0])
    return registry


TABLES = [*unsupported.FIELDS.items(), *unsupported.BEFORE_DETECTING.items()]


def test_every_later_field_exists_and_is_tried_here():
    """The tables name fields of their records, each of which is left out by default."""
    for cls, names in TABLES:
        fields = {field.name: field for field in dataclasses.fields(cls)}
        assert set(names) <= set(fields)
        assert all(fields[name].default in {None, (), False} for name in names)
    assert {name for _, names in TABLES for name in names} == set(SET)
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


@pytest.mark.parametrize("name", unsupported.unsupported_of(type(tool("tool:a/b")), 1))
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


@pytest.mark.parametrize("engine", [1, ENGINE])
@pytest.mark.parametrize("cls", unsupported.FIELDS)
def test_a_record_without_later_fields_passes(cls, engine):
    """The check says nothing where nothing is set."""
    world = World.founded()
    plain: dict[str, Any] = {
        "Attributes": NONE, "ToolDeclaration": tool("tool:a/b"), "InvocationRequested": invocation("tool:a/b"),
        "PrincipalRegistered": world.registration("agent", "a", keys=keys_of("plain")),
    }  # fmt: skip
    if cls.__name__ in plain:
        unsupported.check_supported(plain[cls.__name__], engine)


def test_followers_of_the_registry_ask_the_same_question():
    """A lying monitor cannot put a later field into the registry."""
    world = World.founded()
    declared = replace(tool("tool:late/run"), output_schema="{}")
    value, headers = world.signed(world.registration("tool", "late", tools=(declared,)), world.admin)
    registry = followed(world)
    before = registry.tables.principals.rows.copy()
    with pytest.raises(Refusal, match="NOT_SUPPORTED"):
        registry.follow(world.receive(value, headers))
    assert registry.tables.principals.rows == before


@pytest.mark.parametrize("engine", [DETECTING, ENGINE, 1000])
def test_from_the_second_engine_on_settings_and_schemas_are_honoured_and_nothing_else(engine):
    """A later engine takes rows out of the tables, and puts none in."""
    world = World.founded()
    for name in unsupported.FIELDS[type(tool("tool:a/b"))]:
        declared = replace(tool("tool:late/run"), **{name: SET[name]})
        with pytest.raises(Refusal, match="NOT_SUPPORTED"):
            unsupported.check_supported(world.registration("tool", "late", tools=(declared,)), engine)
    declared = replace(tool("tool:late/run"), input_schema="{}", output_schema="{}")
    unsupported.check_supported(world.registration("tool", "late", tools=(declared,)), engine)
    unsupported.check_supported(LimitsSet(limits=(), settings=SET["settings"]), engine)


def test_followers_of_a_tenant_of_the_second_engine_take_its_schemas():
    """A client looks the operation up, and judges no schema itself."""
    world = World.founded(**NEWEST)
    declared = replace(tool("tool:late/run"), output_schema="{}")
    value, headers = world.signed(world.registration("tool", "late", tools=(declared,)), world.admin)
    registry = followed(world)
    registry.follow(world.receive(value, headers))

    assert registry.tables.resources.rows[b"tool:late/run"].output_schema == "{}"


def test_the_page_names_everything_that_has_no_rule_yet():
    """docs/wire.md is all that a second implementation reads."""
    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
    table = page.partition("| where | what |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", table))

    assert {cls.__name__ for cls in unsupported.BODIES} <= told
    assert {name for _, names in TABLES for name in names} <= told
