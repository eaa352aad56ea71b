"""All views, and all lists of the query API: their rows, their parameters, and the form of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from processors.text.characters import is_printable
from schemas.words import AttestationKind, Status
from streams.views import attestations, context, delegations, sessions
from streams.views.attestations import ATTESTATIONS, OF_ATTESTATIONS, OF_REQUESTS
from streams.views.context import CONTEXT
from streams.views.delegations import DELEGATIONS
from streams.views.sessions import SESSIONS
from streams.views.view import JSONRow, Page, PageQuery, View, select_page

VIEWS: tuple[View[Any], ...] = (SESSIONS, ATTESTATIONS, CONTEXT, DELEGATIONS)  # Any: each of its own record
Rows = Mapping[str, Mapping[bytes, bytes]]  # the rows of each view, by its name

RELATED_ROWS_MAX = 100  # of each kind, shown with one session
ROW_ID = re.compile(r"[0-9a-f]{64}")
_TEXT_CHARS_MAX = 512


class Filter(NamedTuple):
    """One parameter: the member of a row that must equal it, and in `want` the words for a valid value."""

    member: str
    want: str
    is_good: Callable[[str], bool]
    needle: Callable[[str], bytes] = lambda _: b""


def _one_of(member: str, *values: str) -> Filter:
    return Filter(member, f"{', '.join(values[:-1])} or {values[-1]}", values.__contains__)


def _text(member: str) -> Filter:
    def is_good(value: str) -> bool:
        return 0 < len(value) <= _TEXT_CHARS_MAX and is_printable(value)

    return Filter(member, f"1 to {_TEXT_CHARS_MAX} printable characters", is_good, str.encode)


def _id(member: str) -> Filter:
    return Filter(member, "64 digits of 0-9, a-f", lambda value: bool(ROW_ID.fullmatch(value)), bytes.fromhex)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of the query API: `/v1/tenants/{tenant}/<name>`."""

    name: str
    view: View[Any]  # Any: of any record
    describe: Callable[[Any, int], JSONRow | None]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    unless_said: Mapping[str, str] = field(default_factory=dict)

    def select(self, rows: Rows, question: PageQuery, wanted: Mapping[str, str], now: int) -> Page:
        """Return a page of the rows that are as `wanted`, the values of parameters by their names."""
        conditions = {**self.unless_said, **wanted}
        needles = (self.filters[name].needle(value) for name, value in conditions.items())
        question = replace(question, needle=max(needles, key=len, default=b""))

        def describe(row: Any, at: int) -> JSONRow | None:  # Any: a row of the view's own record
            told = self.describe(row, at)
            met = told is not None and all(
                told[self.filters[name].member] == value for name, value in conditions.items()
            )
            return told if met else None

        return select_page(self.view, rows[self.view.name], question, now, describe)


OF_SESSIONS = Listing(
    name="sessions",
    view=SESSIONS,
    describe=sessions.describe,
    filters={
        "status": _one_of("status", *sessions.OF_SESSIONS),
        "principal": _text("principal_id"),
        "issuer": _text("issuer"),
    },
)
_ATTESTATIONS = Listing(
    name="attestations",
    view=ATTESTATIONS,
    describe=attestations.describe,
    filters={
        "status": _one_of("status", *OF_ATTESTATIONS),
        "kind": _one_of("kind", *AttestationKind),
        "key": _text("key"),
        "session": _id("session_id"),
    },
)
_APPROVALS = Listing(
    name="approvals",
    view=ATTESTATIONS,
    describe=attestations.describe_request,
    filters={"status": _one_of("status", *OF_REQUESTS), "key": _text("key")},
    unless_said={"status": Status.PENDING},
)
_CONTEXT = Listing(
    name="context",
    view=CONTEXT,
    describe=context.describe,
    filters={"status": _one_of("status", *context.OF_KEYS), "scope": _text("scope")},
    unless_said={"status": Status.SET},
)
LISTINGS = (OF_SESSIONS, _ATTESTATIONS, _APPROVALS, _CONTEXT)


def trees(rows: Rows, question: PageQuery, now: int) -> Page:
    """Return a page of a tenant's delegations, as trees."""
    return delegations.select_trees(rows[DELEGATIONS.name], question, now)


def session_whole(rows: Rows, tenant: str, session_id: str, now: int) -> JSONRow | None:
    """Return a session with its vault keys, its attestations and requests, and the delegations of its principal.

    None if no such session is shown. If there are more than RELATED_ROWS_MAX rows of a kind, `more` names the kind.
    """
    stored = rows[SESSIONS.name].get(f"{tenant}/{session_id}".encode())
    row = SESSIONS.read_row(stored)
    if row is None or now >= SESSIONS.shown_until(row):
        return None
    question = PageQuery(tenant=tenant, limit=RELATED_ROWS_MAX)
    related = {
        "context": _CONTEXT.select(rows, question, {"scope": context.session_scope(session_id)}, now),
        "attestations": _ATTESTATIONS.select(rows, question, {"session": session_id}, now),
        "delegations": delegations.select_trees(rows[DELEGATIONS.name], question, now, row.principal_id),
    }
    return {
        **sessions.describe(row, now),
        **{name: list(page.rows) for name, page in related.items()},
        "more": [name for name, page in related.items() if page.next is not None],
    }
