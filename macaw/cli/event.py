"""`macaw event`: write an event of an application to the audit log."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.speaking import As
from schemas.words import NotedOutcome

app = typer.Typer(help="Write an event of an application to the audit log.")


@app.callback()
def _group() -> None:
    """Keep `log` a command of its own: Typer would fold a lone command into its group."""


@app.command("log")
def log_event(
    event_type: Annotated[str, typer.Argument(help="The event's type, for example invoice.read.")],
    *,
    name: As,
    source: Annotated[
        str | None, typer.Option("--source", help="The place of the event; without it, the name of --as.")
    ] = None,
    action: Annotated[str, typer.Option("--action", help="The action that was taken.")] = "",
    target: Annotated[str, typer.Option("--target", help="The object of the action.")] = "",
    outcome: Annotated[
        str, typer.Option("--outcome", help="The outcome: success, failure or denied.")
    ] = NotedOutcome.SUCCESS,
    category: Annotated[str, typer.Option("--category", help="The category of the event.")] = "custom",
    signed: Annotated[bool, typer.Option("--signed", help="Mark it as a signed record of the application.")] = False,
    metadata: Annotated[
        str, typer.Option("--metadata", help="A JSON object; @FILE reads it from a file, - from stdin.", metavar="JSON")
    ] = "{}",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Write an event of an application to the audit log and print its id."""
    from macaw.cli.terminal.given import object_of
    from macaw.cli.terminal.output import show, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    more = object_of(metadata, "--metadata")
    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        event_id = client.log_event(
            event_type,
            source=source,
            action=action,
            target=target,
            outcome=outcome,
            signed=signed,
            category=category,
            metadata=more,
        )
    if as_json:
        show_json({"event_id": event_id})
    else:
        show(event_id)
