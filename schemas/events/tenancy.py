"""The bounds and settings of a tenant, as its administrators set them."""

from __future__ import annotations

from schemas.record import record


@record
class TenantLimit:
    """A bound of one kind of row or of bytes; without a value it is the system's own."""

    name: str
    value: int | None = None


@record
class TenantSetting:
    """A setting that is not a bound, by its name in `processors/state/settings.py`."""

    name: str
    value: str


@record
class LimitsSet:
    """Some limits and settings of the tenant have other values from the next record on; the others stay as they are."""

    limits: tuple[TenantLimit, ...]
    settings: tuple[TenantSetting, ...] = ()
