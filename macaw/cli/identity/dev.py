"""`macaw dev`: commands for tenants founded for development, and for no others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.terminal.options import Tenant

app = typer.Typer(help="Stand-ins for development.")
session_app = typer.Typer(help="Sessions of persons, before there is an identity provider.")
app.add_typer(session_app, name="session")


@session_app.command("open")
def open_(
    name: Annotated[str, typer.Argument(help="A name in the file of persons.")],
    *,
    persons: Annotated[
        Path, typer.Option("--persons", help="A YAML file with lines like `carol: {roles: [manager]}`.", metavar="FILE")
    ] = Path("persons.yaml"),
    minutes: Annotated[int, typer.Option("--minutes", help="The lifetime in minutes.", min=1, max=24 * 60)] = 60,
    tenant: Tenant = None,
) -> None:
    """Open a session for a person; `macaw invoke --as user:NAME` speaks with it.

    Only in tenants founded with `macaw tenant create NAME --development`.
    """
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.development import open_person_session, read_person

    attributes = read_person(persons, name)
    home, folder = open_tenant(tenant)
    path = open_person_session(home, folder, name, attributes, ttl_ms=minutes * 60_000)
    say(f"user:{name} has a session in {folder.tenant} for {minutes} minutes; its key is {path}")
