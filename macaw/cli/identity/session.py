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
    session: Annotated[
        str | None, typer.Argument(help="The session's id, as `macaw sessions` shows it.", show_default=False)
    ] = None,
    *,
    user: Annotated[
        str | None, typer.Option("--user", help="A person, all of whose sessions are revoked.", metavar="NAME")
    ] = None,
    reason: Reason = "revoked by hand",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Revoke any session, or every session of a person, with the admin key; delegations and approvals end with it."""
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import revoke_session

    if (session is None) == (user is None):
        raise typer.BadParameter("give either a session's id, or --user NAME", param_hint="SESSION")
    if user is not None:
        _revoke_all(user, reason, tenant, as_json=as_json)
        return
    assert session is not None
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


def _revoke_all(user: str, reason: str, tenant: str | None, *, as_json: bool) -> None:
    """Revoke every session of a person, and say which."""
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import revoke_sessions_of
    from processors.policy.names import PERSON_PREFIX

    name = user if user.startswith(PERSON_PREFIX) else f"{PERSON_PREFIX}{user}"
    home, folder = open_tenant(tenant)
    revoked = [one.hex() for one in revoke_sessions_of(home, folder, name, reason=reason)]
    if as_json:
        show_json({"user": name, "revoked": revoked})
        return
    for one in revoked:
        say(f"the session {one} is revoked")
    count = "no session" if not revoked else "1 session" if len(revoked) == 1 else f"{len(revoked)} sessions"
    say(f"{count} of {name} revoked; with a new login {name} can open another")
