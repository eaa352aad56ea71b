"""`macaw enrolment`: keys for other machines, which register principals of one name or one pattern of names only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.terminal.options import Tenant
from schemas.words import Role

app = typer.Typer(help="Make keys with which other machines register agents and tools.")

KINDS = (Role.AGENT, Role.SERVICE, Role.TOOL)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The principal that the key is for; with --names, the key's own name.")],
    *,
    kind: Annotated[
        list[str], typer.Option("--for", help="The kind: agent, service or tool; repeat it for more.", metavar="KIND")
    ],
    names: Annotated[
        str | None,
        typer.Option(
            help="The names that it may register; * stops at / and :. Without it, NAME alone.", metavar="PATTERN"
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="The number of keys that it may register.", min=1, max=10_000)] = 1,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="A role that it may give; repeat it.", metavar="R")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            help="An attribute of all that it registers, a list of choices for groups; repeat it.",
            metavar="K=V",
        ),
    ] = None,
    attests: Annotated[
        list[str] | None,
        typer.Option("--attests", help="A pattern of keys that its tools may attest; repeat it.", metavar="P"),
    ] = None,
    offers: Annotated[
        list[str] | None,
        typer.Option("--offers", help="A pattern of names that its agents may offer as tools; repeat it.", metavar="P"),
    ] = None,
    days: Annotated[float | None, typer.Option(help="The lifetime in days; without it, no end.", min=0.001)] = None,
    machine: Annotated[
        Path | None, typer.Option("--home", help="Create an installation for another machine here.", metavar="FOLDER")
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Create an enrolment key with the admin key. By default it registers one key, without roles and attributes."""
    from macaw.cli.agent import attributes_in
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.enrolments import create_enrolment, grant_of
    from producers.home.clock import clock_ms

    if unknown := sorted(set(kind) - set(KINDS)):
        raise typer.BadParameter(f"got {unknown[0][:80]!r}, want {', '.join(KINDS)}", param_hint="--for")
    lists = {"roles": role or [], "attests": attests or [], "offers": offers or []}
    texts = attributes_in(attribute or [], apart=tuple(lists))
    grant = grant_of(kind, names or name, count, texts, lists)
    expires_at = None if days is None else clock_ms() + int(days * 86_400_000)
    home, folder = open_tenant(tenant)
    path = create_enrolment(home, folder, name, grant, expires_at=expires_at, machine=machine)
    what = f"{' or '.join(kind)} {grant.name_pattern}"
    say(f"{name} may register {what} in {folder.tenant}, {_times(count)}; its key is {path}")
    if machine is not None:
        say(f"copy {machine} to its machine and set MACAW_HOME to it there: it holds no other key of this tenant")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="The name of the enrolment key.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "revoked by hand",
    tenant: Tenant = None,
) -> None:
    """Revoke an enrolment key. Principals that it registered stay; `macaw agent revoke` revokes them."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import revoke_principal
    from producers.kafka.registering import ENROLMENT_PREFIX

    home, folder = open_tenant(tenant)
    revoke_principal(home, folder, f"{ENROLMENT_PREFIX}{name}", reason=reason)
    say(f"the enrolment key {name} is revoked in {folder.tenant}; the principals that it registered stay registered")
