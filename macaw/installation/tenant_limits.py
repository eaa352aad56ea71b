"""The limits of a tenant by their names, and the tiers that name a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from processors.state.bounds import SETTABLE, TIERS, TenantLimits, tier_values
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from schemas.events.tenancy import LimitsSet, TenantLimit

LIMIT_NAMES = SETTABLE
TIER_NAMES = tuple(TIERS)


def limits_of_tier(tier: str) -> dict[str, int | None]:
    """Return the value of each limit in a tier of TIER_NAMES."""
    return dict(tier_values(TenantLimits(), tier))


def set_limits(connection: Connection, values: Mapping[str, int | None]) -> Answer:
    """Set limits with an administrator's connection; None gives one its standard value. Raises as `Connection.ask`."""
    return connection.ask(
        LimitsSet(limits=tuple(TenantLimit(name=name, value=values[name]) for name in sorted(values)))
    )


def tier_of(found: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the tier with these limits of a tenant, as the log told them; None if no tier has them."""
    now = {one["name"]: one["limit"] for one in found}
    return next((tier for tier in TIER_NAMES if limits_of_tier(tier) == now), None)
