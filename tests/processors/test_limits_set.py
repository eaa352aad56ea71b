"""The limits of a tenant: an administrator sets them within their spans, and nothing that is there is lost."""

from __future__ import annotations

from typing import Any

import pytest

from processors.state.bounds import ROOMS, SETTABLE, TIERS, TenantLimits, rooms_of, span_of, tier_values
from processors.state.settings import DEFAULTS
from processors.state.tables import Tables
from schemas.events.tenancy import LimitsSet, TenantLimit, TenantSetting
from tests.builders import Actor, Folded, keys_of
from tests.tenancy import set_limits
from tests.world import Office, World

SYSTEM = TenantLimits()


def said(folded: Folded) -> str:
    assert folded.entry.outcome == "refused"
    return folded.entry.reason


def rooms(tables: Tables) -> dict[str, Any]:
    return {name: table.room for name, table in tables.by_name.items() if name in ROOMS}


def opened(world: World, agent: Actor, count: int) -> list[Folded]:
    """Try to open so many sessions of an agent."""
    return [
        world.send(world.session_of(agent, keys=keys_of(world.name, "s", world.draw())), agent) for _ in range(count)
    ]


# ---- spans


@pytest.mark.parametrize("name", SETTABLE)
def test_every_limit_goes_from_its_floor_to_its_cap_and_no_further(name):
    """The value one below, one above and zero are refused, and change nothing."""
    world, span = World.founded(), span_of(SYSTEM, name)
    for value in (span.floor - 1, span.cap + 1, 0, -1, 2**62):
        assert said(set_limits(world, **{name: value})) == "LIMIT_FORM"
    assert rooms(world.tables) == rooms_of(SYSTEM)
    for value in (span.floor, span.cap):
        assert set_limits(world, **{name: value}).says == ("accepted", "")
        assert getattr(world.tables.limits, name) == value


@pytest.mark.parametrize("given", [
    (), ("shoes",), ("output_payload_bytes",), ("Sessions",), ("sessions", "sessions"), ("",), ("sessions", "shoes"),
])  # fmt: skip
def test_a_malformed_set_of_limits_has_no_effect_at_all(given):
    """No name, an unknown one beside a good one, one that stands twice, one that no tenant sets."""
    world = World.founded()
    body = LimitsSet(limits=tuple(TenantLimit(name=name, value=span_of(SYSTEM, "sessions").cap) for name in given))
    assert said(world.send(body, world.admin)) == "LIMIT_FORM"
    assert rooms(world.tables) == rooms_of(SYSTEM)


def test_the_first_engine_refuses_a_setting():
    """Its signer does not believe that it holds."""
    world, one = World.founded(), TenantLimit(name="sessions", value=20_000)
    body = LimitsSet(limits=(one,), settings=(TenantSetting(name="verifiers.secrets", value="deny"),))
    assert said(world.send(body, world.admin)) == "NOT_SUPPORTED"
    assert world.tables.limits == SYSTEM
    assert world.tables.settings is DEFAULTS


def test_each_tier_is_within_all_spans_and_names_every_limit():
    """So a command that sets a tier is accepted whole, and none of another tier stays."""
    for tier in TIERS:
        values = tier_values(SYSTEM, tier)
        assert set(values) == set(SETTABLE)
        assert set_limits(World.founded(), **values).says == ("accepted", "")
    assert tier_values(SYSTEM, "standard") == {name: getattr(SYSTEM, name) for name in SETTABLE}


def test_a_limit_without_a_value_is_the_systems_own_again():
    """Limits that an event does not name stay as they are."""
    world = World.founded()
    set_limits(world, sessions=20_000, keys=5_000)
    set_limits(world, sessions=None)
    assert (world.tables.limits.sessions, world.tables.limits.keys) == (SYSTEM.sessions, 5_000)
    [kept] = world.tables.tenant.rows[b"-"].limits
    assert (kept.name, kept.value) == ("keys", 5_000)


# ---- a table that holds more than its limit


def test_below_its_contents_a_table_loses_nothing_and_takes_no_new_row_until_it_fits():
    """Four sessions stand and the limit goes to two: all four go on, and a fifth waits until the limit rises."""
    world = World.founded("few", bounds=TenantLimits(sessions=64))
    agents = [world.register("agent", f"bot{n}") for n in range(5)]
    sessions = [world.open_session(agent) for agent in agents[:4]]
    set_limits(world, sessions=2)

    assert len(world.tables.sessions) == 4
    assert [folded.entry.reason for folded in opened(world, agents[4], 1)] == ["LIMIT_EXCEEDED"]
    assert [world.call(one, "tool:x/run").entry.kind for one in sessions] == ["InvocationRequested"] * 4
    assert [world.call(one, "tool:x/run").entry.outcome for one in sessions] == ["denied"] * 4
    set_limits(world, sessions=5)
    assert [folded.says for folded in opened(world, agents[4], 1)] == [("accepted", "")]


def test_a_row_that_was_there_may_be_written_again_above_the_limit_and_may_not_grow():
    """The counter of a rate limit goes on; a value of the vault is replaced by one as long, not by a longer one."""
    from schemas.events.workflow import ContextWritten

    desk = Office.opened("vaults", bounds=TenantLimits(vault_bytes=64_000, vault_keys=64))
    world = desk.world
    long = '"' + "x" * 400 + '"'
    for key in ("a", "b"):
        assert world.send(ContextWritten(scope="session", key=key, value=long), desk.session).says[0] == "accepted"
    set_limits(world, vault_bytes=1_000)  # of which a session's principal has a quarter

    assert world.send(ContextWritten(scope="session", key="a", value=long), desk.session).says == ("accepted", "")
    longer = ContextWritten(scope="session", key="a", value='"' + "x" * 500 + '"')
    assert said(world.send(longer, desk.session)) == "LIMIT_EXCEEDED"
    assert said(world.send(ContextWritten(scope="session", key="c", value="1"), desk.session)) == "LIMIT_EXCEEDED"


def test_a_full_table_of_policies_takes_another_version_and_a_withdrawal():
    """An administrator who is over the limit can still forbid, and can make room."""
    world = World.founded("policies", bounds=TenantLimits(policies=64))
    world.publish_policy({"policy_id": "user:a"}, {"policy_id": "user:b"}, {"policy_id": "user:c"})
    set_limits(world, policies=1)
    world.publish_policy({"policy_id": "user:a", "denied_resources": ["**"]})
    assert said(world.send(world.publication({"policy_id": "user:d"}), world.admin)) == "LIMIT_EXCEEDED"
    for policy_id in ("user:a", "user:b", "user:c"):
        world.withdraw_policy(policy_id)
    world.publish_policy({"policy_id": "user:d"})


def test_a_payers_share_is_a_quarter_of_the_limit_that_was_set():
    """A payer gets its part of a lowered table, and more of a raised one."""
    world = World.founded("shares", bounds=TenantLimits(sessions=64))
    agent = world.register("agent", "bot")
    set_limits(world, sessions=8)
    assert [folded.entry.outcome for folded in opened(world, agent, 3)] == ["accepted", "accepted", "refused"]
    set_limits(world, sessions=16)
    assert [folded.entry.outcome for folded in opened(world, agent, 3)] == ["accepted", "accepted", "refused"]


# ---- state


def test_an_aborted_transaction_takes_the_limits_back():
    """The bounds follow the tenant's row through undo, as every row does."""
    world = World.founded()
    world.tables.commit()
    world.attempt(*world.signed(LimitsSet(limits=(TenantLimit(name="keys", value=200),)), world.admin))
    assert rooms(world.tables) == rooms_of(SYSTEM)
    assert world.tables.limits == SYSTEM


def test_a_replay_and_a_restored_state_have_the_same_limits():
    """Folded again, or put back row by row as from the changelog, all bounds are those of the first run."""
    world = World.founded("again", bounds=TenantLimits(sessions=64, vault_bytes=2**20))
    set_limits(world, sessions=8, vault_bytes=2**16, keys=200)
    agent = world.register("agent", "bot")
    opened(world, agent, 4)
    again = world.fresh_tables()
    for received in world.records:
        world.fold_into(again, received)
    assert again.prev == world.tables.prev
    assert rooms(again) == rooms(world.tables)

    restored = world.fresh_tables()
    for name, table in world.tables.by_name.items():
        for key, row in table.rows.items():
            restored.by_name[name].restore(key, row)
    assert rooms(restored) == rooms(world.tables)
    assert (restored.limits.sessions, restored.sessions.counts) == (8, world.tables.sessions.counts)


def test_two_tenants_have_limits_of_their_own():
    """One administrator's event changes one tenant."""
    here, there = World.founded("here", tenant="acme"), World.founded("there", tenant="bolt")
    set_limits(here, sessions=20_000)
    assert (here.tables.limits.sessions, there.tables.limits.sessions) == (20_000, SYSTEM.sessions)
    assert said(there.fold(*here.signed(LimitsSet(limits=(TenantLimit(name="keys", value=200),)), here.admin))) == (
        "UNKNOWN_KEY"
    )
