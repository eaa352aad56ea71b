"""The act of `macaw observe` and `macaw freeze`: an administrator sets one exception from enforcement, or ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from macaw.cli.terminal.options import OptionsError

if TYPE_CHECKING:
    from schemas.words import EnforcementKind, EnforcementScope


def set_one(
    kind: EnforcementKind, named: dict[EnforcementScope, str | None], reason: str, tenant: str | None, *, on: bool
) -> str:
    """Set or end the exception of the one thing that is named, else of the tenant; return that thing, for people.

    Raises:
        OptionsError: several things are named.
    """
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.enforcement import set_exception
    from macaw.installation.tenancy import admin_connection
    from schemas.words import EnforcementScope

    given = [(scope, name) for scope, name in named.items() if name]
    if len(given) > 1:
        both = " and ".join(f"`--{scope}`" for scope, _ in given)
        raise OptionsError(f"{both} were both given: {kind} one thing at a time")
    scope, name = given[0] if given else (EnforcementScope.TENANT, "")
    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        set_exception(connection, kind, scope, name, reason=reason, on=on)
    return f"{scope} {name or folder.tenant}"
