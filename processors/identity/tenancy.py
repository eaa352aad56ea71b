"""The limits and settings of a tenant, as its administrators set them.

A limit is raised up to a cap, or lowered down to a floor. Nothing that is there is dropped. A table that holds more
than its limit takes no new row, and none of its rows grows, until it fits again. A setting has one of a few values,
from engine 2 on; one that has its default is not kept.

Both are state of the tenant: a worker that starts again, and every replay, has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processors.refusal import Refusal
from processors.state.bounds import SETTABLE, span_of
from processors.state.engine import DETECTING
from processors.state.settings import SETTINGS, default_of
from processors.state.tables import SINGLETON, Tables
from processors.text.characters import quoted
from schemas.events.tenancy import LimitsSet, TenantLimit, TenantSetting
from schemas.reasons import Reason


def set_limits(tables: Tables, body: LimitsSet) -> None:
    """Give some limits and settings other values from the next record on.

    Raises:
        Refusal: LIMIT_FORM for no limit and no setting at all, an unknown name, a name that stands twice, or a value
            that is not allowed.
    """
    if not body.limits and not body.settings:
        what = "limit" if tables.engine.number < DETECTING else "limit or setting"
        raise Refusal(Reason.LIMIT_FORM, f"name one {what} or more, and each of them once")
    _check_limits(tables, body.limits)
    _check_settings(body.settings)
    row = tables.tenant.rows[SINGLETON]
    bounds = {one.name: one for one in row.limits} | {one.name: one for one in body.limits}
    limits = tuple(bounds[name] for name in sorted(bounds) if bounds[name].value is not None)
    values = {one.name: one for one in row.settings} | {one.name: one for one in body.settings}
    settings = tuple(values[name] for name in sorted(values) if values[name].value != default_of(name))
    tables.tenant.put(SINGLETON, replace(row, limits=limits, settings=settings))


def _check_limits(tables: Tables, given: Sequence[TenantLimit]) -> None:
    if len({one.name for one in given}) < len(given):
        raise Refusal(Reason.LIMIT_FORM, "name one limit or more, and each of them once")
    for one in given:
        if one.name not in SETTABLE:
            raise Refusal(Reason.LIMIT_FORM, f"{quoted(one.name)} is not a limit that a tenant can set")
        span = span_of(tables.system_limits, one.name)
        if one.value is not None and not span.floor <= one.value <= span.cap:
            want = f"{one.name} is {one.value}, want {span.floor} to {span.cap}"
            raise Refusal(Reason.LIMIT_FORM, want)


def _check_settings(given: Sequence[TenantSetting]) -> None:
    if len({one.name for one in given}) < len(given):
        raise Refusal(Reason.LIMIT_FORM, "name each setting once")
    for one in given:
        allowed = SETTINGS.get(one.name)
        if allowed is None:
            raise Refusal(Reason.LIMIT_FORM, f"{quoted(one.name)} is not a setting that a tenant can set")
        if one.value not in allowed:
            want = f"{one.name} is {quoted(one.value)}, want {' or '.join(allowed)}"
            raise Refusal(Reason.LIMIT_FORM, want)
