"""The settings of a tenant: from engine 2 on an administrator sets them, and they are state like every row."""

from __future__ import annotations

from dataclasses import fields

import pytest

from processors.state.settings import DEFAULTS, SETTINGS, TenantSettings, default_of, settings_of, value_of
from processors.state.tables import Tables
from schemas.events.tenancy import LimitsSet, TenantLimit, TenantSetting
from tests.builders import Folded
from tests.cast import Cast
from tests.engines import NEWEST
from tests.world import World

PAIRS = [(name, value) for name, values in SETTINGS.items() for value in values]


def world_of_now(name: str = "settings") -> World:
    return World.founded(name, **NEWEST)


def set_settings(world: World, *given: tuple[str, str], **limits: int) -> Folded:
    """Let an administrator set settings, and limits in the same event."""
    bounds = tuple(TenantLimit(name=name, value=value) for name, value in limits.items())
    settings = tuple(TenantSetting(name=name, value=value) for name, value in given)
    return world.send(LimitsSet(limits=bounds, settings=settings), world.admin)


def kept(tables: Tables) -> list[tuple[str, str]]:
    return [(one.name, one.value) for one in tables.tenant.rows[b"-"].settings]


def refused(folded: Folded) -> str:
    """Return the detail of a refusal LIMIT_FORM."""
    assert folded.says == ("refused", "LIMIT_FORM")
    return folded.results[0].detail


def test_the_fields_are_the_settings_with_their_defaults() -> None:
    assert [one.name for one in fields(TenantSettings)] == [name.replace(".", "_") for name in SETTINGS]
    assert [value_of(DEFAULTS, name) for name in SETTINGS] == [default_of(name) for name in SETTINGS]
    assert all(len(set(values)) == len(values) > 1 for values in SETTINGS.values())


@pytest.mark.parametrize(("name", "value"), PAIRS)
def test_every_value_is_set_alone_and_a_default_is_not_kept(name: str, value: str) -> None:
    """The other settings have their defaults, and the row is that of before once the default is set again."""
    world = world_of_now()
    before = world.tables.tenant.rows[b"-"]

    assert set_settings(world, (name, value)).says == ("accepted", "")
    told = {one: value_of(world.tables.settings, one) for one in SETTINGS}
    assert told == {**{one: default_of(one) for one in SETTINGS}, name: value}
    assert kept(world.tables) == ([] if value == default_of(name) else [(name, value)])

    set_settings(world, (name, default_of(name)))
    assert world.tables.settings is DEFAULTS
    assert world.tables.tenant.rows[b"-"] == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "name one limit or setting or more"),
        ((("observe", "true"),), "'observe' is not a setting"),
        ((("verifiers.secrets", "on"),), "verifiers.secrets is 'on', want off or stamp or deny"),
        ((("verifiers.secrets", ""),), "want off or stamp or deny"),
        ((("verifiers.secrets", "Deny"),), "want off or stamp or deny"),
        ((("verifiers.parameters", "stamp"),), "want off or deny"),
        ((("results.secrets", "deny"),), "want off or withhold"),
        ((("verifiers_secrets", "deny"),), "is not a setting"),
        ((("sessions", "20000"),), "'sessions' is not a setting"),
        ((("verifiers.secrets", "deny"), ("verifiers.secrets", "deny")), "each setting once"),
        ((("verifiers.secrets", "deny"), ("x" * 200, "deny")), "'xxxx"),
    ],
)
def test_a_malformed_set_has_no_effect_at_all(given: tuple[tuple[str, str], ...], says: str) -> None:
    """The answer names the values that are allowed; a good setting or limit beside it is not set either."""
    world = world_of_now()
    for limits in ({}, {"sessions": 20_000}) if given else ({},):
        assert says in refused(set_settings(world, *given, **limits))
    assert world.tables.settings is DEFAULTS
    assert kept(world.tables) == []
    assert world.tables.limits == world.tables.system_limits


def test_limits_and_settings_stand_in_one_event_and_leave_the_others_alone() -> None:
    world = world_of_now()
    set_settings(world, ("verifiers.secrets", "deny"), sessions=20_000)
    set_settings(world, ("results.secrets", "withhold"), ("verifiers.personal_data", "stamp"))
    set_settings(world, keys=5_000)

    assert (world.tables.limits.sessions, world.tables.limits.keys) == (20_000, 5_000)
    assert kept(world.tables) == [
        ("results.secrets", "withhold"), ("verifiers.personal_data", "stamp"), ("verifiers.secrets", "deny"),
    ]  # fmt: skip
    assert "is 1, want" in refused(set_settings(world, ("verifiers.secrets", "off"), sessions=1))
    assert world.tables.settings.verifiers_secrets == "deny"


@pytest.mark.parametrize("role", ["root", "monitor", "organisation", "enrolment", "bridge", "approver", "agent", "tool",
                                  "session"])  # fmt: skip
def test_nobody_but_an_administrator_sets_them(role: str) -> None:
    cast = Cast(**NEWEST)
    body = LimitsSet(limits=(), settings=(TenantSetting(name="verifiers.secrets", value="stamp"),))
    by = cast.world.organisation if role == "organisation" else cast.actors[role]

    assert cast.world.send(body, by).entry.outcome == "refused"
    assert cast.world.tables.settings is DEFAULTS


# ---- state


def test_an_aborted_transaction_takes_the_settings_back() -> None:
    """They follow the tenant's row through undo, also to a value that was set before."""
    world = world_of_now()
    set_settings(world, ("verifiers.secrets", "stamp"))
    world.tables.commit()
    body = LimitsSet(limits=(), settings=(TenantSetting(name="verifiers.secrets", value="deny"),))
    world.attempt(*world.signed(body, world.admin))

    assert world.tables.settings.verifiers_secrets == "stamp"
    assert kept(world.tables) == [("verifiers.secrets", "stamp")]


def test_a_replay_and_a_restored_state_have_the_same_settings() -> None:
    world = world_of_now()
    set_settings(world, ("verifiers.secrets", "deny"), ("verifiers.stop_on_first_failure", "false"))
    again = world.fresh_tables()
    for received in world.records:
        world.fold_into(again, received)
    restored = world.fresh_tables()
    for name, table in world.tables.by_name.items():
        for key, row in table.rows.items():
            restored.by_name[name].restore(key, row)

    assert again.prev == world.tables.prev
    assert again.settings == restored.settings == world.tables.settings
    assert (again.settings.verifiers_secrets, again.settings.verifiers_stop_on_first_failure) == ("deny", "false")


def test_a_name_of_a_later_engine_in_the_row_is_passed_over() -> None:
    """The row is read before the missing engine is told, and that message must come."""
    later = TenantSetting(name="verifiers.of_later", value="x")

    assert settings_of((later,)) is DEFAULTS
    assert settings_of((later, TenantSetting(name="verifiers.secrets", value="deny"))).verifiers_secrets == "deny"
