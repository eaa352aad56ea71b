"""The limits and settings of a tenant by their names, and the tiers that name a set of limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from processors.state.bounds import SETTABLE, TIERS, TenantLimits, tier_values
from processors.state.settings import SETTINGS, default_of
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from schemas.events.tenancy import LimitsSet, TenantLimit, TenantSetting

LIMIT_NAMES = SETTABLE
TIER_NAMES = tuple(TIERS)
SETTING_VALUES = SETTINGS  # by name; the first value is the default


def limits_of_tier(tier: str) -> dict[str, int | None]:
    """Return the value of each limit in a tier of TIER_NAMES."""
    return dict(tier_values(TenantLimits(), tier))


def set_limits(connection: Connection, values: Mapping[str, int | None]) -> Answer:
    """Set limits with an administrator's connection; None gives one its standard value. Raises as `Connection.ask`."""
    return connection.ask(
        LimitsSet(limits=tuple(TenantLimit(name=name, value=values[name]) for name in sorted(values)))
    )


def set_settings(connection: Connection, values: Mapping[str, str | None]) -> Answer:
    """Set settings with an administrator's connection; None gives one its default. Raises as `Connection.ask`.

    A tenant of engine 1 refuses them NOT_SUPPORTED. Requires that a name with None is in SETTING_VALUES.
    """
    given = ((name, values[name]) for name in sorted(values))
    settings = (TenantSetting(name=name, value=default_of(name) if value is None else value) for name, value in given)
    return connection.ask(LimitsSet(limits=(), settings=tuple(settings)))


def tier_of(found: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the tier with these limits of a tenant, as the log told them; None if no tier has them."""
    now = {one["name"]: one["limit"] for one in found}
    return next((tier for tier in TIER_NAMES if limits_of_tier(tier) == now), None)
