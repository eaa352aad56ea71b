"""`macaw delegation`: let another principal do some of what one may, and take it back."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.options import AsJson, Tenant
from macaw.cli.speaking import As

app = typer.Typer(help="Grant, list and revoke delegations.")


@app.command("grant")
def grant(
    to: Annotated[str, typer.Argument(help="Who may act: a registered agent or service, or user:NAME.")],
    *,
    name: As,
    resource: Annotated[
        list[str] | None, typer.Option("--resource", help="A pattern of resources; repeat it for more.")
    ] = None,
    operation: Annotated[
        list[str] | None, typer.Option("--operation", help="The last part of a resource's name; repeat it for more.")
    ] = None,
    conditions: Annotated[
        str,
        typer.Option(
            "--conditions", help="max_amount, time_window and ticket_ids; @FILE or - as elsewhere.", metavar="JSON"
        ),
    ] = "{}",
    minutes: Annotated[float, typer.Option("--minutes", help="How long it holds.", min=0.01)] = 60.0,
    purpose: Annotated[str, typer.Option("--purpose", help="What for; it stands on the log.")] = "",
    parent: Annotated[
        str | None, typer.Option("--parent", help="A delegation to this principal that is handed on.", metavar="ID")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Grant a delegation and print its id; `macaw invoke --delegation ID` presents it."""
    from macaw.cli.given import object_of
    from macaw.cli.output import show, show_json
    from macaw.cli.places import open_tenant
    from macaw.cli.speaking import open_client

    if not resource and not operation:
        raise typer.BadParameter("want one --resource or --operation at least", param_hint="--resource")
    asked = object_of(conditions, "--conditions")
    home, folder = open_tenant(tenant)
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
    if as_json:
        show_json({"delegation": given, "delegate": to})
    else:
        show(given)


@app.command("list")
def list_delegations(*, name: As, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List what was delegated by somebody, and to them."""
    from macaw.cli.output import plain_json, show_json, show_table
    from macaw.cli.places import open_tenant
    from macaw.cli.rendering import time_of
    from macaw.cli.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        found = client.list_delegations()
    if as_json:
        show_json(found, indent=2)
        return
    rows = (
        (
            row.get("delegation"), row.get("delegator"), row.get("delegate"), plain_json(row.get("scope")),
            "revoked" if row.get("revoked") else time_of(int(row.get("expires_at", 0))), row.get("purpose"),
        )
        for row in (*found["granted"], *found["received"])
    )  # fmt: skip
    show_table(("DELEGATION", "FROM", "TO", "SCOPE", "UNTIL", "PURPOSE"), rows)


@app.command("revoke")
def revoke(
    delegation: Annotated[str, typer.Argument(help="Its id.")],
    *,
    name: As,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands on the log.")] = "revoked by hand",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """End a delegation, and every one under it."""
    from macaw.cli.output import say, show_json
    from macaw.cli.places import open_tenant
    from macaw.cli.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        client.revoke_delegation(delegation, reason=reason)
    if as_json:
        show_json({"delegation": delegation, "revoked": True})
    else:
        say(f"{delegation} is revoked, and every delegation under it")
