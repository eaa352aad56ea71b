"""`macaw delegation`: lend some of one's own rights to another principal, and take them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, OptionsError, Tenant
from macaw.cli.terminal.speaking import As
from schemas.words import Status

app = typer.Typer(help="Grant, list and revoke delegations.")


@app.command("grant")
def grant(
    to: Annotated[str, typer.Argument(help="The delegate: a registered agent or service, or user:NAME.")],
    *,
    name: As,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            "--resource", help="A pattern of resources, for example tool:bank/*; repeat it.", metavar="PATTERN"
        ),
    ] = None,
    operation: Annotated[
        list[str] | None,
        typer.Option(
            "--operation", help="The last part of a resource's name, for example transfer; repeat it.", metavar="NAME"
        ),
    ] = None,
    conditions: Annotated[
        str,
        typer.Option(
            "--conditions",
            help='A JSON object like {"max_amount": 5, "ticket_ids": ["T-1"], "time_window": {"start": '
            '"2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}}; @FILE reads it from a file, - from stdin.',
            metavar="JSON",
        ),
    ] = "{}",
    minutes: Annotated[float, typer.Option("--minutes", help="The lifetime in minutes.", min=0.01)] = 60.0,
    purpose: Annotated[str, typer.Option("--purpose", help="The purpose, kept on the log.")] = "",
    parent: Annotated[
        str | None, typer.Option("--parent", help="A delegation granted to --as, to hand on.", metavar="ID")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Grant a delegation and print its id.

    `macaw invoke --delegation ID` presents it. A call under it must fit the scope, and the policies of both principals
    must allow it.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.given import object_of
    from macaw.cli.terminal.output import show, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client
    from processors.policy.errors import PolicyError

    _check_scope(resource or (), operation or ())
    asked = object_of(conditions, "--conditions")
    home, folder = open_tenant(tenant)
    try:
        with open_client(home, folder, name) as client:
            given = client.delegate(
                to,
                resources=resource or (),
                operations=operation or (),
                conditions=asked,
                expires_in=minutes * 60,
                purpose=purpose,
                parent=parent,
            )
    except PolicyError as exc:
        raise CommandError(f"the delegation's scope is refused: {exc}; nothing was granted") from exc
    if as_json:
        show_json({"delegation": given, "delegate": to})
    else:
        show(given)


def _check_scope(resources: Sequence[str], operations: Sequence[str]) -> None:
    if not resources and not operations:
        raise OptionsError("the delegation has no scope: give at least one `--resource` or `--operation`")
    if whole := next((one for one in operations if "/" in one), None):  # such an operation would match no call
        raise typer.BadParameter(
            f"got {whole[:80]!r}, want the last part of a resource's name; give a whole name with --resource",
            param_hint="--operation",
        )


@app.command("list")
def list_delegations(*, name: As, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the delegations that a principal granted or received."""
    from macaw.cli.terminal.output import plain_json, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        found = client.list_delegations()
    if as_json:
        show_json(found, indent=2)
        return
    rows = (
        (
            row.get("delegation"), row.get("delegator"), row.get("delegate"), plain_json(row.get("scope")),
            Status.REVOKED if row.get("revoked") else time_of(int(row.get("expires_at", 0))), row.get("purpose"),
        )
        for row in (*found["granted"], *found["received"])
    )  # fmt: skip
    show_table(("DELEGATION", "FROM", "TO", "SCOPE", "UNTIL", "PURPOSE"), rows)


@app.command("revoke")
def revoke(
    delegation: Annotated[str, typer.Argument(help="The delegation's id.")],
    *,
    name: As,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "revoked by hand",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a delegation and every delegation derived from it."""
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        client.revoke_delegation(delegation, reason=reason)
    if as_json:
        show_json({"delegation": delegation, "revoked": True})
    else:
        say(f"{delegation} is revoked, with every delegation derived from it")
