"""`macaw freeze`, `unfreeze` and `break-glass`: stop calls at once, or open one resource for one person for minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import OptionsError, Tenant

if TYPE_CHECKING:
    pass

Principal = Annotated[
    str | None, typer.Option("--principal", help="The name of a principal; without it, the tenant.", metavar="NAME")
]
Resource = Annotated[
    str | None, typer.Option("--resource", help="A pattern of resources; without it, the tenant.", metavar="PATTERN")
]
Reason = Annotated[str, typer.Option("--reason", help="The reason, for the log.")]


def freeze(*, reason: Reason, principal: Principal = None, resource: Resource = None, tenant: Tenant = None) -> None:
    """Stop all calls of the tenant, a principal or a resource, from the next record on.

    A call that was allowed before may still begin for up to a minute; its host was told already.
    """
    _set(principal, resource, reason, tenant, on=True)


def unfreeze(
    *, principal: Principal = None, resource: Resource = None, reason: Reason = "thawed", tenant: Tenant = None
) -> None:
    """Let calls begin again, from the next record on. Calls that were denied meanwhile are made anew."""
    _set(principal, resource, reason, tenant, on=False)


def _set(principal: str | None, resource: str | None, reason: str, tenant: str | None, *, on: bool) -> None:
    from macaw.cli.policy.exceptions import set_one
    from macaw.cli.terminal.output import say
    from schemas.words import EnforcementKind, EnforcementScope

    named = {EnforcementScope.PRINCIPAL: principal, EnforcementScope.RESOURCE: resource}
    thing = set_one(EnforcementKind.FREEZE, named, reason, tenant, on=on)
    say(f"{thing} is frozen: no call begins" if on else f"{thing} is not frozen any more")


def break_glass(
    resource: Annotated[str, typer.Argument(help="The whole name of one resource.", metavar="RESOURCE")],
    *,
    person: Annotated[str, typer.Option("--for", help="The person, as user:ann.", metavar="PERSON")],
    minutes: Annotated[
        int | None, typer.Option("--minutes", min=1, max=60, help="The minutes for which it stays open.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason, for the log.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End it now.")] = False,
    tenant: Tenant = None,
) -> None:
    """Open a resource that policies deny for one person, for minutes. Each such call tells it on the log."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.enforcement import MINUTE_MS, set_exception
    from macaw.installation.tenancy import admin_connection
    from schemas.words import EnforcementKind, EnforcementScope

    if end and minutes is not None:
        raise OptionsError("`--end` and `--minutes` were both given: end it, or open it")
    if not end and (minutes is None or not reason):
        raise OptionsError("give `--minutes` and `--reason`: a break-glass ends by itself, and the log says why it was")
    home, folder = open_tenant(tenant)
    lasts_ms = None if minutes is None else minutes * MINUTE_MS
    with admin_connection(home, folder) as connection:
        set_exception(
            connection,
            EnforcementKind.BREAK_GLASS,
            EnforcementScope.RESOURCE,
            resource,
            reason=reason or "over",
            on=not end,
            person=person,
            lasts_ms=lasts_ms,
        )
    if end:
        say(f"{resource} is not open for {person} any more")
    else:
        say(f"{resource} is open for {person} for {minutes} minutes: policies do not deny it, and each call tells it")
