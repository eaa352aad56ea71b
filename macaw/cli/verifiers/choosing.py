"""`macaw verifier settings`, `on` and `off`: the verifiers that read the texts of a tenant's calls and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

Names = Annotated[
    list[str],
    typer.Argument(
        help="Settings, as verifiers.secrets; `verifiers` and `results` mean all of theirs.", metavar="NAME …"
    ),
]


def settings(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show each setting of the verifiers: `off`, `stamp` (policies decide), `deny`, and for results `withhold`."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from macaw.installation.tenant_limits import SETTING_VALUES

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        found = connection.query("limits").get("settings")
    if found is None:
        raise CommandError(
            f"{folder.tenant} decides by engine 1, which has no verifiers of texts: see `macaw engine activate`"
        )
    if as_json:
        show_json(found, indent=2)
        return
    rows = ((name, found[name], " | ".join(SETTING_VALUES[name])) for name in sorted(found))
    show_table(("SETTING", "NOW", "VALUES"), rows)


def turn_on(
    names: Names,
    *,
    stamp: Annotated[
        bool, typer.Option("--stamp", help="Stamp calls with the findings, for policies, and deny nothing.")
    ] = False,
    tenant: Tenant = None,
) -> None:
    """Let verifiers look from the next record on: a finding denies the call, or withholds the result."""
    modes = {name: _mode(name, stamp=stamp, is_named=name in names) for name in _named(names)}
    _set({name: mode for name, mode in modes.items() if mode}, tenant)


def turn_off(names: Names, *, tenant: Tenant = None) -> None:
    """Turn verifiers off from the next record on. Policies that ask for their stamps then get the worst ones."""
    _set(dict.fromkeys(_named(names)), tenant)


def set_some(
    given: Annotated[
        list[str],
        typer.Argument(help="Settings with their values, as verifiers.unread=stamp.", metavar="NAME=VALUE …"),
    ],
    *,
    tenant: Tenant = None,
) -> None:
    """Set settings of the verifiers, from the next record on. `macaw verifier settings` shows their values."""
    from macaw.installation.tenant_limits import SETTING_VALUES

    values: dict[str, str | None] = {}
    for one in given:
        name, _, value = one.partition("=")
        if value not in SETTING_VALUES.get(name, ()):
            want = " or ".join(SETTING_VALUES.get(name, SETTING_VALUES))
            raise typer.BadParameter(f"got {one[:60]!r}, want {want}", param_hint="NAME=VALUE")
        values[name] = value
    _set(values, tenant)


def _set(values: dict[str, str | None], tenant: str | None) -> None:
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from macaw.installation.tenant_limits import set_settings

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        set_settings(connection, values)
    told = ", ".join(f"{name}={value or 'off'}" for name, value in values.items())
    say(f"set in {folder.tenant}: {told}")


def _named(names: Sequence[str]) -> list[str]:
    """Return the settings that are meant. A setting without `off`, as stop_on_first_failure, is none of a group."""
    from macaw.installation.tenant_limits import SETTING_VALUES

    switches = [name for name, values in SETTING_VALUES.items() if "off" in values]
    found: dict[str, None] = {}
    for given in names:
        meant = [name for name in switches if given == name or name.startswith(f"{given}.")]
        if not meant:
            raise typer.BadParameter(f"{given[:40]!r} is none of {', '.join(switches)}", param_hint="NAME")
        found |= dict.fromkeys(meant)
    return list(found)


def _mode(name: str, *, stamp: bool, is_named: bool) -> str:
    """Return the mode to set; empty for a verifier of a group that cannot only stamp."""
    from macaw.installation.tenant_limits import SETTING_VALUES

    values = SETTING_VALUES[name]
    if not stamp:
        return values[-1]
    if "stamp" not in values and not is_named:
        return ""
    if "stamp" not in values:
        raise typer.BadParameter(f"{name} has no `stamp`: it is {' or '.join(values)}", param_hint="--stamp")
    return "stamp"
