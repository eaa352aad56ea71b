"""`macaw session`: end a session, as its owner or as the administrator."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant

app = typer.Typer(help="End sessions before their time.")

Reason = Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")]


@app.command("close")
def close(
    *,
    name: Annotated[str, typer.Option("--as", help="The session's owner, as user:NAME.", metavar="NAME")],
    reason: Reason = "closed by hand",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Close a person's session. Its waiting calls end; the delegations that it granted go on."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client
    from processors.policy.names import PERSON_PREFIX

    if not name.startswith(PERSON_PREFIX):
        raise CommandError(f"{name!r} is not a person, and only a person's session is kept: give --as user:NAME")
    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        session = client.session_id.hex()
        client.close_session(reason=reason)
    folder.keys.discard(folder.key_file("session", name.removeprefix(PERSON_PREFIX)))
    if as_json:
        show_json({"session": session, "closed": True})
    else:
        say(f"the session of {name} is closed, and its key is removed")


@app.command("revoke")
def revoke(
    session: Annotated[str, typer.Argument(help="The session's id, as `macaw sessions` shows it.")],
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
        raise typer.BadParameter(f"got {session[:80]!r}, want a session's id of 64 hex digits", param_hint="SESSION")
    home, folder = open_tenant(tenant)
    revoke_session(home, folder, session_id, reason=reason)
    if as_json:
        show_json({"session": session, "revoked": True})
    else:
        say(f"the session {session} is revoked")
