"""The bounds of a tenant's tables: the system's, and those that the tenant's administrators set instead.

A limit can be set between a floor and a cap. Both follow from the system's value, so that each machine that holds this
engine judges a `LimitsSet` alike; the cap is the bound of a worker's memory. A tier is a set of values for all limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from processors.state.table import Room
from schemas import limits
from schemas.events.tenancy import TenantLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """The bounds of one tenant; the defaults are the system's. Fields with `bytes` count bytes, the others rows."""

    output_payload_bytes: int = limits.OUTPUT_PAYLOAD_BYTES_MAX
    keys: int = limits.KEYS_MAX
    resources: int = limits.RESOURCES_MAX
    sessions: int = limits.SESSIONS_MAX
    session_bytes: int = limits.SESSION_BYTES_MAX
    persons: int = limits.PERSONS_MAX
    person_bytes: int = limits.PERSON_BYTES_MAX
    offers: int = limits.OFFERS_MAX
    offer_bytes: int = limits.OFFER_BYTES_MAX
    pending_calls: int = limits.PENDING_CALLS_MAX
    idempotency_keys: int = limits.IDEMPOTENCY_KEYS_MAX
    policies: int = limits.POLICIES_MAX
    buckets: int = limits.RATE_BUCKETS_MAX
    cells: int = limits.RULE_CELLS_MAX
    attestations: int = limits.ATTESTATIONS_MAX
    attestation_bytes: int = limits.ATTESTATION_BYTES_MAX
    requests: int = limits.REQUESTS_MAX
    pending_bytes: int = limits.PENDING_BYTES_MAX
    grants: int = limits.GRANTS_MAX
    grant_bytes: int = limits.GRANT_BYTES_MAX
    delegations: int = limits.DELEGATIONS_MAX
    delegation_bytes: int = limits.DELEGATION_BYTES_MAX
    vault_scopes: int = limits.VAULT_SCOPES_MAX
    vault_keys: int = limits.VAULT_KEYS_MAX
    vault_bytes: int = limits.VAULT_BYTES_MAX
    prompts: int = limits.PROMPTS_MAX
    prompt_bytes: int = limits.PROMPT_BYTES_MAX
    heard: int = limits.HEARD_ROWS_MAX
    heard_bytes: int = limits.HEARD_BYTES_MAX


# The limits of each table: of its rows, and of their bytes. A limit with two tables bounds each of them.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "keys": ("keys",),
    "resources": ("resources",),
    "sessions": ("sessions", "session_bytes"),
    "persons": ("persons", "person_bytes"),
    "offers": ("offers", "offer_bytes"),
    "calls": ("pending_calls",),
    "idempotency": ("idempotency_keys",),
    "buckets": ("buckets",),
    "cells": ("cells",),
    "prompts": ("prompts", "prompt_bytes"),
    "heard": ("heard", "heard_bytes"),
    "judged": ("heard",),
    "attestations": ("attestations", "attestation_bytes"),
    "requests": ("requests", "pending_bytes"),
    "pending": ("requests", "pending_bytes"),
    "grants": ("grants", "grant_bytes"),
    "delegations": ("delegations", "delegation_bytes"),
    "scopes": ("vault_scopes",),
    "vault": ("vault_keys", "vault_bytes"),
}
# A message's size is the brokers' to take, so no tenant sets it.
SETTABLE = tuple(one.name for one in fields(TenantLimits) if one.name != "output_payload_bytes")
STANDARD = "standard"
TIERS: Mapping[str, tuple[int, int]] = {  # the part of the system's value, as a fraction
    "small": (1, 8),
    STANDARD: (1, 1),
    "large": (limits.LIMIT_CAP_TIMES, 1),
}


class LimitSpan(NamedTuple):
    """The values that a limit can be set to, and the system's own between them."""

    floor: int
    standard: int
    cap: int


def span_of(system: TenantLimits, name: str) -> LimitSpan:
    """Return the span of a limit in SETTABLE."""
    standard: int = getattr(system, name)
    return LimitSpan(max(1, standard // limits.LIMIT_FLOOR_PART), standard, standard * limits.LIMIT_CAP_TIMES)


def tier_values(system: TenantLimits, tier: str) -> dict[str, int]:
    """Return the value of each limit in a tier of TIERS."""
    times, part = TIERS[tier]
    return {name: span_of(system, name).standard * times // part for name in SETTABLE}


def limits_with(system: TenantLimits, given: Iterable[TenantLimit]) -> TenantLimits:
    """Return the bounds of a tenant with these limits of its own."""
    return replace(system, **{one.name: one.value for one in given if one.value is not None})


def rooms_of(bounds: TenantLimits) -> dict[str, Room]:
    """Return the bounds of each table that has some."""
    return {table: Room(*(getattr(bounds, name) for name in names)) for table, names in ROOMS.items()}
