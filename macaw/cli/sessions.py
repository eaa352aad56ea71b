"""`macaw sessions`: the sessions of a tenant, as the views have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

READY_SECONDS = 20.0  # newly started views read their topics first
ID_CHARS = 10  # enough to tell sessions apart; --json has whole ids
Row = dict[str, Any]  # Any: JSON
UNKNOWN = "?"


def command(
    *,
    principal: Annotated[str | None, typer.Option("--principal", help="List only sessions of this principal.")] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", help="List only sessions from this provider.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="List only sessions that are open now.")] = False,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Show attributes and actors instead of times and calls.")
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions of a tenant: principal, provider, start and end, and the calls so far.

    Times are in UTC. Ids are shortened; --json has all of each session.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from producers.client.views_client import fetch_sessions
    from schemas.words import Status

    home, folder = open_tenant(tenant)
    address = home.config.get("views")
    if not address:
        raise CommandError("no views are configured: run `macaw up`, or `macaw views` beside a broker of your own")
    rows: list[Row] = fetch_sessions(
        address,
        folder.tenant,
        folder.token(),
        status=Status.OPEN if only_open else None,
        principal=principal,
        issuer=issuer,
        ready_seconds=READY_SECONDS,
    )
    if as_json:
        show_json(rows, indent=2)
        return
    columns = {**_WHO, **(_ATTRIBUTES if attributes else _TIMES_AND_CALLS)}
    show_table(tuple(columns), (tuple(cell(row) for cell in columns.values()) for row in rows))
    _say_partial(rows)


def _member(name: str) -> Callable[[Row], str]:
    def told(row: Row) -> str:
        value = row.get(name)
        return UNKNOWN if value is None else str(value)

    return told


def _time(name: str) -> Callable[[Row], str]:
    """Return a cell with a time to the minute, without the year; `-` without a time."""

    def told(row: Row) -> str:
        from macaw.cli.terminal.rendering import time_of

        value = row.get(name)
        return time_of(value)[5:16].replace("T", " ") if isinstance(value, int) else "-"

    return told


def _issuer(row: Row) -> str:
    return str(row.get("issuer") or "-").removeprefix("https://")


def _attributes(row: Row) -> str:
    found = row.get("attributes")
    if not isinstance(found, dict):
        return UNKNOWN
    told = {**found, "actors": row.get("actors") or []}
    parts = (f"{name}={','.join(map(str, v)) if isinstance(v, list) else v}" for name, v in told.items() if v)
    return " ".join(parts) or "-"


def _say_partial(rows: list[Row]) -> None:
    """Say where calls are unknown, or are counted from a later time than the opening."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.rendering import time_of

    if any(row.get("calls") is None for row in rows):
        say("calls are unknown: the views cannot read the decisions of this tenant; run `macaw topic check`")
    late = [row["counted_since"] for row in rows if (row.get("counted_since") or 0) > row.get("opened_at", 0)]
    if late:
        say(f"calls of {len(late)} sessions are counted since {time_of(max(late))}: older decisions are not kept")


Columns = dict[str, Callable[[Row], str]]
_WHO: Columns = {
    "SESSION": lambda row: str(row.get("session_id", UNKNOWN))[:ID_CHARS],
    "PRINCIPAL": _member("principal_id"),
    "ROLE": _member("role"),
    "STATUS": _member("status"),
    "ISSUER": _issuer,
}
_TIMES_AND_CALLS: Columns = {
    "OPENED": _time("opened_at"),
    "EXPIRES": _time("expires_at"),
    "SEEN": _time("last_seen"),
    "CALLS": _member("calls"),
    "DENIED": _member("denials"),
}
_ATTRIBUTES: Columns = {"ATTRIBUTES": _attributes}
