"""Engine 2 beside engine 1: a tenant keeps the old one until an administrator activates the new one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from processors.calls.executor import executor_of
from processors.content.identity import PACKAGES
from processors.identity.following import FollowedRegistry
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.state import engines
from processors.state.engines import Engine, EngineMissingError, installed, lacking_of
from processors.state.tables import Tables
from processors.step import step
from schemas import codec, limits
from schemas.events.attributes import Attributes
from schemas.events.tenancy import LimitsSet, TenantSetting
from schemas.events.tools import ToolsOffered
from schemas.records import AuditEntry
from tests.builders import keys_of, tool
from tests.engines import NEWEST, activation
from tests.house import ROOT
from tests.world import Office, World

FIRST_LOG = ROOT / "tests/vectors/first_engine.jsonl"
SETTING = LimitsSet(limits=(), settings=(TenantSetting(name="verifiers.secrets", value="deny"),))
SECOND = installed()[2]
ACTIVATION = activation(2, SECOND.data)


def first_tenant(name: str = "old") -> Office:
    """Return a tenant that was founded by engine 1 with its data."""
    return Office.opened(name, engine=1, data=installed()[1].data)


def test_a_tenant_of_the_first_engine_refuses_settings_and_schemas_until_the_second_is_activated() -> None:
    """The activation itself is the last record of the first engine."""
    office = first_tenant()
    world = office.world
    assert world.send(SETTING, world.admin).says == ("refused", "NOT_SUPPORTED")
    assert office.call({"n": 1}).says == ("allowed", "")

    assert world.send(ACTIVATION, world.admin).says == ("accepted", "")
    assert world.tables.engine.number == 2
    assert world.send(SETTING, world.admin).says == ("accepted", "")
    assert world.tables.settings.verifiers_secrets == "deny"
    assert office.call({"n": 2}).says == ("allowed", "")


def busy(**founding: Any) -> Office:
    """Return a tenant with calls that are allowed and reported, and calls that are denied."""
    office = Office.opened("same", **founding)
    for number in range(5):
        folded = office.call({"n": number, "to": "a"})
        office.world.report(folded.decision_leaf, office.tool)
    office.world.call(office.session, "other:x")
    office.world.call(office.session, "tool:none/run")
    office.call("{")
    return office


def test_the_first_engine_gives_the_bytes_that_it_gave_before_there_was_a_second() -> None:
    """Log and digest are those of the release before: what its clients signed, and what its monitor wrote."""
    head, *rows = (json.loads(line) for line in FIRST_LOG.read_text("utf-8").splitlines())
    genesis = bytes.fromhex(head["genesis"])
    tables, told = Tables(tenant="acme", deployment="test", genesis=genesis), sha256()
    for row in rows:
        headers = [(name, bytes.fromhex(value)) for name, value in row["headers"]]
        received = Received(0, row["offset"], row["appended_at"], bytes.fromhex(row["value"]), headers)
        for one in step(tables, received, VerifiedHeads()):
            told.update(repr((one.topic.name, one.partition, one.key, one.value, one.payload)).encode())

    assert tables.engine.number == 1
    assert told.hexdigest() == "f2f31393a213a58aaea8c3a187fefd3e878e8e0bc087a1223969fcc4543e1ab9"


def test_without_settings_and_schemas_both_engines_give_the_same_answers() -> None:
    """Nothing is denied by the change of the engine itself."""
    first, second = busy(engine=1, data=installed()[1].data), busy(**NEWEST)
    said = [
        [codec.decode_as(AuditEntry, step(tables, received, VerifiedHeads())[-1].value or b"") for received in records]
        for tables, records in ((one.world.fresh_tables(), one.world.records) for one in (first, second))
    ]

    one, other = ([(entry.kind, entry.outcome, entry.reason) for entry in entries] for entries in said)
    assert one == other
    assert {outcome for _, outcome, _ in one} == {"accepted", "allowed", "denied"}


def test_a_log_over_both_engines_folds_again_to_the_same_bytes() -> None:
    office = first_tenant("over")
    office.call({"n": 1})
    office.world.send(ACTIVATION, office.world.admin)
    office.world.send(SETTING, office.world.admin)
    office.call({"n": 2})
    again = office.world.fresh_tables()
    for received in office.world.records:
        step(again, received, VerifiedHeads())

    assert again.prev == office.world.tables.prev
    assert again.settings == office.world.tables.settings


# ---- schemas, without a judgement of their contents


def test_a_schema_that_is_too_long_is_refused_before_it_is_read() -> None:
    world = World.founded(**NEWEST)
    for name in ("input_schema", "output_schema"):
        declared = replace(tool("tool:late/run"), **{name: "\u00e9" * (limits.TOOL_SCHEMA_BYTES_MAX // 2) + " "})
        folded = world.send(world.registration("tool", "late", tools=(declared,)), world.admin)
        assert folded.says == ("refused", "LIMIT_EXCEEDED")


def test_an_executor_has_the_schemas_of_its_declaration() -> None:
    """Followed as by a client, which judges none of them."""
    world = World.founded(**NEWEST)
    declared = replace(tool("tool:late/run"), input_schema="{}", output_schema='{"type": "object"}')
    registry = FollowedRegistry(world.fresh_tables())
    registry.follow(world.records[0])
    registry.follow(world.receive(*world.signed(world.registration("tool", "late", tools=(declared,)), world.admin)))

    found = executor_of(registry.tables, "tool:late/run", None)
    assert found is not None
    assert (found.input_schema, found.output_schema) == ("{}", '{"type": "object"}')
    plain = Office.opened("plain")
    there = executor_of(plain.world.tables, plain.resource, None)
    assert there is not None
    assert (there.input_schema, there.output_schema) == (None, None)


@pytest.mark.parametrize("name", ["input_schema", "output_schema"])
def test_the_monitor_refuses_a_schema_that_it_cannot_judge_and_takes_one_that_it_can(name: str) -> None:
    """Of a tool and of a session; nothing of the refused declaration stays."""
    world = World.founded(**NEWEST)
    session = world.open_session(world.register("agent", "bot", attributes=Attributes(offers=("tool:bot/*",))))
    for schema, says in (("{", "SCHEMA_INVALID"), ('{"type": "text"}', "SCHEMA_INVALID"), ('{"type": "object"}', "")):
        declared = replace(tool("tool:late/run"), **{name: schema})
        offered = replace(declared, resource="tool:bot/run")
        body = ToolsOffered(tools=(offered,), key=world.offer(keys_of("key"), "offer", "bot"))
        for folded in (
            world.send(world.registration("tool", "late", tools=(declared,)), world.admin),
            world.send(body, session),
        ):
            assert folded.says == (("refused", says) if says else ("accepted", ""))
        assert (
            (b"tool:late/run" in world.tables.resources.rows) == (session.kid in world.tables.offers.rows) == (not says)
        )


# ---- packages


LACKING = Engine(2, SECOND.data, packages=(("no-such-package-of-macaw", "1.0"), ("orjson", "0.0.1")))


def test_a_process_without_the_packages_follows_the_log_and_decides_nothing() -> None:
    """A client needs none of them; a worker, a replay and a simulation stop in front of the first record."""
    world = World.founded("lacking", **NEWEST)
    world.register("agent", "bot")
    tables = world.fresh_tables()
    tables.engines = {2: LACKING}
    registry = FollowedRegistry(tables)
    for received in world.records:
        registry.follow(received)
    assert b"bot" in tables.principals.rows

    deciding = world.fresh_tables()
    deciding.engines = {2: LACKING}
    with pytest.raises(EngineMissingError) as told:
        step(deciding, world.records[0], VerifiedHeads())
    assert (told.value.number, deciding.next_index, not deciding.tenant.rows) == (2, 0, True)
    assert "no-such-package-of-macaw 1.0 (here: none), orjson 0.0.1 (here: " in str(told.value)
    assert "pip install 'macaw-streams[server]'" in str(told.value)


WITHOUT_PACKAGES = """
import importlib.metadata, sys
from processors.content.identity import PACKAGES

MODULES = {"detect_secrets", "jsonschema_rs", "phonenumbers", "pyatr", "tree_sitter", "tree_sitter_bash"}
version = importlib.metadata.version

def absent(name):
    if name in dict(PACKAGES):
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = absent
sys.modules.update(dict.fromkeys(MODULES))  # importing one of them raises ImportError

import macaw_client, producers.agent, producers.client, producers.tools.host
import processors.evidence.archive.verdict, processors.evidence.verdict
from dataclasses import replace
from processors.identity.following import FollowedRegistry
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.state.engines import EngineMissingError, installed, lacking_of
from processors.state.tables import Tables
from processors.step import step
from tests.builders import tool
from tests.engines import NEWEST
from tests.world import World

world = World("without", **NEWEST)
(headers,) = world.sign([world.founding_draft], world.admin)
founding = world.receive(world.founding_draft.value, headers)
declared = replace(tool("tool:late/run"), input_schema="{}")
registered = world.receive(*world.signed(world.registration("tool", "late", tools=(declared,)), world.admin))
registry = FollowedRegistry(world.fresh_tables())
for received in (founding, registered):
    registry.follow(received)
assert registry.tables.resources.rows[b"tool:late/run"].input_schema == "{}"
assert lacking_of(installed()[1]) == ""
try:
    step(world.fresh_tables(), founding, VerifiedHeads())
except EngineMissingError as exc:
    print(exc)
"""


def test_a_client_s_installation_names_and_follows_the_second_engine() -> None:
    """As after `pip install .`: the packages can neither be imported nor found."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ENGINE_MISSING: the tenant decides by engine 2, which this installation can follow")
    assert all(f"{name} {version} (here: none)" in done.stdout for name, version in PACKAGES)


def test_a_worker_without_the_packages_does_not_write_the_activation() -> None:
    """It asks about the next record before it keeps one."""
    office = first_tenant("worker")
    office.world.tables.engines = {1: installed()[1], 2: LACKING}
    office.world.tables.check_decides()
    office.world.send(ACTIVATION, office.world.admin)
    office.world.tables.check_engine()
    with pytest.raises(EngineMissingError, match="follow and not decide"):
        office.world.tables.check_decides()


def test_this_installation_has_all_packages() -> None:
    assert [lacking_of(one) for one in installed().values()] == [""] * len(installed())
    assert engines.FIRST in installed()
