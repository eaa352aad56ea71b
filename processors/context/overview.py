"""Questions of an administrator: the limits of the tenant beside their use, and the persons that the log knows.

limits    null               each limit: used, its value, floor, standard and cap
users     null, or `next`    the persons, each with the attributes of its newest login
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from processors.identity.sessions import lives
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.bounds import ROOMS, SETTABLE, span_of
from processors.state.engine import DETECTING
from processors.state.settings import SETTINGS, value_of
from processors.state.tables import Tables
from schemas.events.attributes import Attributes
from schemas.reasons import Reason
from schemas.rows import PersonRow


def limits_told(tables: Tables, argument: JSONValue) -> JSONValue:
    """Return every limit that an administrator can set, and from engine 2 on each setting. Raises QUERY_INVALID."""
    if argument is not None:
        raise Refusal(Reason.QUERY_INVALID, "the argument is not null")
    used = _used(tables)
    told: list[JSONValue] = []
    for name in SETTABLE:
        span = span_of(tables.system_limits, name)
        value: int = getattr(tables.limits, name)
        row: dict[str, JSONValue] = {"name": name, "used": used[name], "limit": value}
        told.append(row | {"floor": span.floor, "standard": span.standard, "cap": span.cap})
    if tables.engine.number < DETECTING:
        return {"limits": told}
    return {"limits": told, "settings": {name: value_of(tables.settings, name) for name in SETTINGS}}


def _used(tables: Tables) -> dict[str, int]:
    """Return the rows or bytes that count for each limit now; of two tables with one limit those of the fuller one."""
    used = {"policies": sum(1 for key in tables.policies.rows if not key.startswith(b"org:"))}
    for table, names in ROOMS.items():
        held = (tables.by_name[table].counted, tables.by_name[table].weight)
        for name, amount in zip(names, held, strict=False):
            used[name] = max(used.get(name, 0), amount)
    return used


def groups_of_users(tables: Tables) -> Sequence[Sequence[bytes]]:
    """Return the keys of all persons, in ordered lists: one for each key that opened their newest sessions."""
    # The other groups of persons are names, by which one person may be found several times.
    return [tables.persons.of(group) for group in tables.persons.groups() if isinstance(group, bytes)]


def users_told(tables: Tables, page: Sequence[bytes], last: bytes | None) -> JSONValue:
    """Return one page of persons."""
    return {
        "users": [_user(tables, name, tables.persons.rows[name]) for name in page],
        "next": None if last is None else last.decode(),
    }


def _user(tables: Tables, name: bytes, row: PersonRow) -> JSONValue:
    bridge = tables.keys.get(row.opened_by)
    return {
        "name": name.decode(),
        "attributes": _attributes(row.attributes),
        "login_at": row.opened_at,
        "session": row.session_id.hex(),
        "is_open": lives(tables, row.session_id),
        "bridge": None if bridge is None else bridge.principal_id,
        "kept_until": row.until,
    }


def _attributes(attributes: Attributes) -> dict[str, JSONValue]:
    found: dict[str, JSONValue] = {}
    for one in fields(attributes):
        value = getattr(attributes, one.name)
        if value not in (None, ()):
            found[one.name] = list(value) if isinstance(value, tuple) else value
    return found
