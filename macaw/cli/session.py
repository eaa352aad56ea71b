"""`macaw session`: end one, by its own word or by the administrator's."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant

app = typer.Typer(help="End sessions before their time.")

Reason = Annotated[str, typer.Option("--reason", help="Why; it stands on the log.")]


@app.command("close")
def close(
    *,
    name: Annotated[str, typer.Option("--as", help="Whose: user:NAME with an open session.", metavar="NAME")],
    reason: Reason = "closed by hand",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Close a person's session; its waiting calls are over, what it delegated lives on."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client
    from processors.policy.names import PERSON_PREFIX

    if not name.startswith(PERSON_PREFIX):
        raise CommandError("only persons have a session that is kept: want --as user:NAME")
    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        session = client.session_id.hex()
        client.close_session(reason=reason)
    folder.key_file("session", name.removeprefix(PERSON_PREFIX)).unlink(missing_ok=True)
    if as_json:
        show_json({"session": session, "closed": True})
    else:
        say(f"the session of {name} is closed, and its key is removed")


@app.command("revoke")
def revoke(
    session: Annotated[str, typer.Argument(help="Its id, as `macaw sessions` shows it.")],
    *,
    reason: Reason = "revoked by hand",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Revoke any session with the admin key; its delegations and approvals end with it."""
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import revoke_session

    try:
        session_id = bytes.fromhex(session)
    except ValueError:
        session_id = b""
    if len(session_id) != 32:
        raise typer.BadParameter("want a session's id: 64 hexadecimal digits", param_hint="SESSION")
    home, folder = open_tenant(tenant)
    revoke_session(home, folder, session_id, reason=reason)
    if as_json:
        show_json({"session": session, "revoked": True})
    else:
        say(f"the session {session} is revoked")
