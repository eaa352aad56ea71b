"""`macaw sessions`: the sessions of a tenant, as the views have them."""

from __future__ import annotations

from macaw.cli.terminal.options import AsJson, Tenant

NAME = "sessions"

READY_SECONDS = 20.0  # newly started views read their topics first


def command(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the sessions of a tenant, with their principals, starts and ends."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from producers.views_client import fetch_sessions

    home, folder = open_tenant(tenant)
    address = home.config.get("views")
    if not address:
        raise CommandError("no views are configured: run `macaw up`, or `macaw views` beside a broker of your own")
    rows = fetch_sessions(address, folder.tenant, folder.token(), ready_seconds=READY_SECONDS)
    if as_json:
        show_json(rows, indent=2)
        return

    def cells(row: dict[str, object]) -> tuple[object, ...]:
        times = (row.get(name) for name in ("opened_at", "expires_at"))
        shown = (time_of(value) if isinstance(value, int) else "?" for value in times)
        return (*(row.get(name, "?") for name in ("session_id", "principal_id", "role", "status")), *shown)

    show_table(("SESSION", "PRINCIPAL", "ROLE", "STATUS", "OPENED", "EXPIRES"), map(cells, rows))
