"""`macaw views attestations|approvals|context|delegations`: rows that the views have of a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

READY_SECONDS = 20.0  # newly started views read their topics first

Status = Annotated[str | None, typer.Option("--status", help="List only rows with this status.")]
Key = Annotated[str | None, typer.Option("--key", help="List only rows of this attestation key.")]
Row = dict[str, Any]  # Any: JSON


def attestations(
    *,
    status: Status = None,
    key: Key = None,
    kind: Annotated[str | None, typer.Option("--kind", help="The kind: record, request or grant.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="List only rows of this session id.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List attestations and approvals: records, requests and grants."""
    given = {"status": status, "key": key, "kind": kind, "session": session}
    columns = {
        "ID": "id",
        "KIND": "kind",
        "KEY": "key",
        "STATUS": "status",
        "BY": "principal_id",
        "RESOURCE": "resource",
    }
    _list("attestations", given, columns, tenant, as_json=as_json, last=("ENDS", _time("ends_at")))


def approvals(*, status: Status = None, key: Key = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List requests for approval with their approvers: the open ones, or with --status those that ended."""
    columns = {"ID": "id", "KEY": "key", "FOR": "for_user", "RESOURCE": "resource", "STATUS": "status"}

    def who(row: Row) -> str:
        asked = row["may_approve"]
        return f"{len(row['approved_by'])} of {asked['quorum']}: {' or '.join(asked['criteria'])}"

    given = {"status": status, "key": key}
    _list("approvals", given, columns, tenant, as_json=as_json, last=("APPROVED", who, "UNTIL", _time("open_until")))


def context(
    *,
    scope: Annotated[str | None, typer.Option("--scope", help="List only keys of this scope.")] = None,
    status: Status = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of the vault. The views have no values."""
    columns = {"SCOPE": "scope", "KEY": "key", "VERSION": "version", "STATUS": "status", "BY": "principal_id"}
    _list(
        "context", {"scope": scope, "status": status}, columns, tenant, as_json=as_json, last=("ENDS", _time("ends_at"))
    )


def delegations(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List delegations as trees: under each one those that were derived from it."""
    columns = {"DELEGATOR": "delegator", "DELEGATE": "delegate", "STATUS": "status", "SCOPE": "scope"}
    _list("delegations", {}, columns, tenant, as_json=as_json, last=("ENDS", _time("expires_at")), first=_flat)


def _flat(trees: Iterable[Row], depth: int = 0) -> Iterator[Row]:
    for tree in trees:
        yield {**tree, "delegator": "  " * depth + tree["delegator"], "scope": _text(tree["scope"])}
        yield from _flat(tree.get("children", ()), depth + 1)


def _text(value: Any) -> str:  # Any: JSON
    from macaw.cli.terminal.output import plain_json

    return plain_json(value)


def _time(member: str) -> Callable[[Row], str]:
    def told(row: Row) -> str:
        from macaw.cli.terminal.rendering import time_of

        value = row.get(member)
        return time_of(value) if isinstance(value, int) else "-"

    return told


def _list(
    what: str,
    given: Mapping[str, str | None],
    columns: Mapping[str, str],
    tenant: str | None,
    *,
    as_json: bool,
    last: tuple[Any, ...],  # Any: headings and the cells below them, in turn
    first: Callable[[Iterable[Row]], Iterable[Row]] = iter,
) -> None:
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from producers.client.views_client import fetch_rows

    home, folder = open_tenant(tenant)
    address = home.config.get("views")
    if not address:
        raise CommandError("no views are configured: run `macaw up`, or `macaw views` beside a broker of your own")
    parameters = {name: value for name, value in given.items() if value is not None}
    rows: list[Row] = fetch_rows(address, folder.tenant, folder.token(), what, parameters, ready_seconds=READY_SECONDS)
    if as_json:
        show_json(rows, indent=2)
        return
    headings, cells = last[::2], last[1::2]
    show_table(
        (*columns, *headings),
        ((*(row.get(name, "?") for name in columns.values()), *(cell(row) for cell in cells)) for row in first(rows)),
    )
