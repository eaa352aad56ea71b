"""Acts above and on a tenant: an organisation's documents, and limits that an administrator sets."""

from __future__ import annotations

from typing import Any

from schemas.events.tenancy import LimitsSet, TenantLimit
from tests.builders import Folded
from tests.world import World


def organised(world: World, *documents: dict[str, Any]) -> Folded:
    """Let the organisation put its documents into force."""
    return world.send(world.publication(*documents), world.organisation)


def set_limits(world: World, **values: int | None) -> Folded:
    """Let an administrator set limits of the tenant; None gives one its standard value back."""
    given = tuple(TenantLimit(name=name, value=value) for name, value in values.items())
    return world.send(LimitsSet(limits=given), world.admin)
