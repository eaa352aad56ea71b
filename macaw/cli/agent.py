"""`macaw agent`: register an agent or service, list and show them, revoke one."""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from schemas.words import Role

app = typer.Typer(help="Register, list and revoke agents.")

Name = Annotated[str, typer.Argument(help="The principal's name, for example shopper.")]


@app.command("register")
def register(
    name: Name,
    *,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role; repeat it for more.", metavar="R")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", help="An attribute that policies read; repeat it.", metavar="K=V")
    ] = None,
    enrolment: Annotated[
        str | None, typer.Option("--enrolment", help="Register with this enrolment key.", metavar="NAME")
    ] = None,
    service: Annotated[bool, typer.Option("--service", help="Register a service, which acts for users.")] = False,
    offers: Annotated[
        list[str] | None,
        typer.Option("--offers", help="A pattern of names that it may offer as tools; repeat it.", metavar="P"),
    ] = None,
    only_within_calls: Annotated[
        bool, typer.Option("--only-within-calls", help="Let it call others only while it executes a call.")
    ] = False,
    tenant: Tenant = None,
) -> None:
    """Register an agent and keep its new key on this machine.

    The admin key signs the registration; without one here, an enrolment key does. An enrolment key can give only the
    roles and attributes that `macaw enrolment create` allowed.
    """
    attributes: dict[str, object] = {**attributes_in(attribute or [])}
    if role:
        attributes["roles"] = role
    if offers:
        attributes["offers"] = offers

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import register_agent
    from producers.client import RefusedError
    from schemas.reasons import Reason

    home, folder = open_tenant(tenant)
    try:
        kind = Role.SERVICE if service else Role.AGENT
        register_agent(
            home,
            folder,
            name,
            attributes=attributes,
            role=kind,
            enrolment=enrolment,
            only_within_calls=only_within_calls,
        )
    except RefusedError as exc:
        if exc.reason != Reason.KEY_TAKEN:
            raise
        raise CommandError(
            f"{name} is registered already, with other attributes: run `macaw agent revoke {quote(name)}` first"
        ) from exc
    roles = ", ".join(role or []) or "no role, so policies of roles grant it nothing"
    say(f"{name} is registered in {folder.tenant} with {roles}; its key is {folder.key_file('agent', name)}")


def attributes_in(pairs: list[str], *, apart: tuple[str, ...] = ("roles",)) -> dict[str, str]:
    """Return the attributes of some --attribute options, each KEY=VALUE; those of `apart` have their own options.

    Raises:
        BadParameter: an option has another form, or names one of `apart`.
    """
    from processors.identity.attributes import attributes_from
    from processors.policy.errors import AttributeInvalidError

    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals or key in apart or key in found:
            raise typer.BadParameter(
                f"got {pair[:80]!r}, want KEY=VALUE, each key once; {' and '.join(apart)} have an option of their own",
                param_hint="--attribute",
            )
        found[key] = value
    try:
        attributes_from(found)
    except AttributeInvalidError as exc:
        raise typer.BadParameter(str(exc), param_hint="--attribute") from exc
    return found


@app.command("revoke")
def revoke(
    name: Name,
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "revoked by hand",
    tenant: Tenant = None,
) -> None:
    """Revoke every key of an agent, service or tool; its sessions end with them."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import revoke_principal

    home, folder = open_tenant(tenant)
    aside = revoke_principal(home, folder, name, reason=reason)
    kept = f"; its key file is now {', '.join(map(str, aside))}" if aside else ""
    say(f"{name} is revoked in {folder.tenant} and its sessions have ended{kept}")


@app.command("unregister")
def unregister(
    name: Name,
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "unregistered by hand",
    tenant: Tenant = None,
) -> None:
    """Unregister an agent, service or tool: another name for `macaw agent revoke`."""
    revoke(name, reason=reason, tenant=tenant)


@app.command("list")
def list_agents(
    *,
    kind: Annotated[
        str | None, typer.Option("--for", help="The kind: agent, service or tool; without it, all.", metavar="KIND")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the agents, services and tools with a live key, the newest first, as the registry has them."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.rendering import time_of

    rows = _programs(tenant, kind)
    if as_json:
        show_json(rows, indent=2)
        return
    show_table(
        ("NAME", "KIND", "KEYS", "REGISTERED", "TOOLS"),
        (
            (one["agent_id"], one["agent_type"], one["instances"], time_of(one["registered_at"]), len(one["tools"]))
            for one in rows
        ),
    )


@app.command("show")
def show_agent(name: Name, *, tenant: Tenant = None) -> None:
    """Show one agent, service or tool as JSON: its attributes, keys and tools."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json

    found = next((one for one in _programs(tenant, None) if one["agent_id"] == name), None)
    if found is None:
        raise CommandError(f"no agent, service or tool {name!r} has a live key; `macaw agent list` shows all")
    show_json(found, indent=2)


def _programs(tenant: str | None, kind: str | None) -> list[dict[str, Any]]:
    """Return the programs of a tenant. Raises BadParameter, RegistryError."""
    from contextlib import closing

    from macaw.cli.terminal.places import open_tenant
    from producers.client.discovery import PROGRAMS, agents_in
    from producers.home.clock import clock_ms
    from producers.kafka.registry_view import RegistryView

    if kind is not None and kind not in PROGRAMS:
        raise typer.BadParameter(f"got {kind[:80]!r}, want {', '.join(PROGRAMS)}", param_hint="--for")
    home, folder = open_tenant(tenant)
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        return agents_in(view.tables, clock_ms(), kind)
