"""`macaw tenant limits` and `users`: the bounds of a tenant, and the persons that its log knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterable

limits_app = typer.Typer(help="Show and set the limits of a tenant.", invoke_without_command=True)


@limits_app.callback()
def limits(
    context: typer.Context,
    *,
    tier: Annotated[
        str | None, typer.Option("--tier", help="Set all limits to those of a tier: small, standard or large.")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show each limit of a tenant with its use and its cap, or set all of them to a tier."""
    if context.invoked_subcommand is not None:
        return

    from macaw.cli.terminal.output import say, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from macaw.installation.tenant_limits import TIER_NAMES, limits_of_tier, set_limits, tier_of

    if tier is not None and tier not in TIER_NAMES:
        raise typer.BadParameter(f"got {tier[:40]!r}, want {', '.join(TIER_NAMES)}", param_hint="--tier")
    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        if tier is not None:
            set_limits(connection, limits_of_tier(tier))
            say(f"the limits of {folder.tenant} are those of the tier {tier}")
            return
        found = connection.query("limits")["limits"]
    if as_json:
        show_json({"tier": tier_of(found), "limits": found}, indent=2)
        return
    say(f"tier of {folder.tenant}: {tier_of(found) or 'none, its limits are its own'}")
    show_table(("LIMIT", "USED", "LIMIT", "CAP"), (_row(one) for one in found))


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    over = " (over)" if one["used"] > one["limit"] else ""
    return one["name"], f"{one['used']:,}{over}", f"{one['limit']:,}", f"{one['cap']:,}"


@limits_app.command("set")
def set_some(
    given: Annotated[
        list[str],
        typer.Argument(help="Limits with their values; `standard` is the system's own.", metavar="NAME=VALUE …"),
    ],
    *,
    tenant: Tenant = None,
) -> None:
    """Set limits of a tenant, from the next record on. Nothing that is there is dropped."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from macaw.installation.tenant_limits import set_limits

    values = dict(_pairs(given))
    if len(values) < len(given):
        raise typer.BadParameter("a limit stands twice", param_hint="NAME=VALUE")
    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        set_limits(connection, values)
    say(f"set in {folder.tenant}: {', '.join(given)}")


def _pairs(given: Iterable[str]) -> Iterable[tuple[str, int | None]]:
    from macaw.installation.tenant_limits import LIMIT_NAMES
    from processors.state.bounds import STANDARD

    for one in given:
        name, equals, value = one.partition("=")
        number = value.replace("_", "").replace(",", "")
        if not equals or not (value == STANDARD or (number.isascii() and number.isdigit() and len(number) < 19)):
            raise typer.BadParameter(f"got {one[:60]!r}, want NAME=VALUE, as sessions=20000", param_hint="NAME=VALUE")
        if name not in LIMIT_NAMES:
            raise typer.BadParameter(f"{name[:40]!r} is none of {', '.join(LIMIT_NAMES)}", param_hint="NAME=VALUE")
        yield name, None if value == STANDARD else int(number)


def users(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the persons that the log knows, with the attributes of their newest login, for an administrator alone."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.tenancy import admin_connection
    from schemas.words import Status

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        found = [one for page in connection.pages("users") for one in page["users"]]
    if as_json:
        show_json(found, indent=2)
        return
    show_table(
        ("USER", "ROLES", "COMPANY", "LOGIN", "SESSION", "BRIDGE"),
        (
            (
                one["name"],
                ", ".join(one["attributes"].get("roles", ())) or "-",
                one["attributes"].get("company", "-"),
                time_of(one["login_at"]),
                Status.OPEN if one["is_open"] else "-",
                one["bridge"] or "-",
            )
            for one in found
        ),
    )
