"""The limits of a tenant, as its administrators set them: raised up to a cap, or lowered down to a floor.

Nothing that is there is dropped. A table that holds more than its limit takes no new row, and none of its rows grows,
until it fits again. The limits are state of the tenant: a worker that starts again, and every replay, has the same.
"""

from __future__ import annotations

from dataclasses import replace

from processors.refusal import Refusal
from processors.state.bounds import SETTABLE, span_of
from processors.state.tables import SINGLETON, Tables
from processors.text.characters import quoted
from schemas.events.tenancy import LimitsSet
from schemas.reasons import Reason


def set_limits(tables: Tables, body: LimitsSet) -> None:
    """Give some limits other values from the next record on.

    Raises:
        Refusal: LIMIT_FORM for no limit at all, an unknown name, a name that stands twice, or a value outside its span.
    """
    names = [one.name for one in body.limits]
    if not names or len(set(names)) < len(names):
        raise Refusal(Reason.LIMIT_FORM, "name one limit or more, and each of them once")
    for one in body.limits:
        if one.name not in SETTABLE:
            raise Refusal(Reason.LIMIT_FORM, f"{quoted(one.name)} is not a limit that a tenant can set")
        span = span_of(tables.system_limits, one.name)
        if one.value is not None and not span.floor <= one.value <= span.cap:
            want = f"{one.name} is {one.value}, want {span.floor} to {span.cap}"
            raise Refusal(Reason.LIMIT_FORM, want)
    row = tables.tenant.rows[SINGLETON]
    kept = {one.name: one for one in row.limits} | {one.name: one for one in body.limits}
    given = tuple(kept[name] for name in sorted(kept) if kept[name].value is not None)
    tables.tenant.put(SINGLETON, replace(row, limits=given))
