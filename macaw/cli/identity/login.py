"""`macaw login`, `macaw whoami` and `macaw logout`: people and workloads at a terminal (docs/login.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from producers.home.home import Home, TenantHome
    from producers.identity import Login, RemoteIdentityProvider

TOKEN_FILE_BYTES_MAX = 64 * 1024
As = Annotated[
    str | None,
    typer.Option("--as", help="The principal, as `macaw whoami` shows it; the only one needs no name.", metavar="NAME"),
]


def login(
    issuer: Annotated[
        str | None,
        typer.Argument(help="The identity provider's issuer. [the one of the configuration]", metavar="[ISSUER]"),
    ] = None,
    *,
    client_id: Annotated[
        str | None, typer.Option("--client-id", help="The client's id at the provider. [that of the configuration]")
    ] = None,
    device: Annotated[
        bool, typer.Option("--device", help="Show a code for a browser on another machine, and open none here.")
    ] = False,
    username: Annotated[
        str | None, typer.Option("--username", help="Log in with a password, where the provider takes one.")
    ] = None,
    workload: Annotated[
        bool, typer.Option("--workload", help="Log the configured client itself in, with its secret.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file with a token of the provider; `-` reads stdin.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="A scope to ask for; repeatable. [that of the configuration]")
    ] = None,
    minutes: Annotated[
        int | None, typer.Option("--minutes", help="The longest lifetime. [that of the token]", min=1, max=24 * 60)
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Log in with your identity provider; `macaw invoke --as user:NAME` then speaks with the session.

    Without an option a browser opens. The session's key is kept in this installation, and the token is not.
    """
    from macaw.cli.terminal.options import OptionsError
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.logins import log_in, open_from_token
    from processors.identity.tokens.verify import claimed_issuer
    from producers.identity import RemoteIdentityProvider

    if sum((device, username is not None, workload, token_file is not None)) > 1:
        raise OptionsError("give one of --device, --username, --workload and --token-file")
    home, folder = open_tenant(tenant)
    ttl_ms = None if minutes is None else minutes * 60_000
    if token_file is not None:
        token = _token_in(token_file)
        kept = open_from_token(home, folder, token, issuer=claimed_issuer(token), ttl_ms=ttl_ms)
    else:
        idp = RemoteIdentityProvider(issuer, client_id=client_id, scopes=scope, home=home)
        kept = log_in(home, folder, _logged_in(idp, device=device, username=username, workload=workload), ttl_ms=ttl_ms)
    if as_json:
        show_json({"principal": kept.principal_id, "session": kept.session, "expires_at": kept.expires_at})
    else:
        say(f"logged in to {folder.tenant} as {kept.principal_id} until {time_of(kept.expires_at)}")


def _logged_in(idp: RemoteIdentityProvider, *, device: bool, username: str | None, workload: bool) -> Login:
    """Return a login by the chosen way. Raises LoginError and the others of the provider."""
    if workload:
        return idp.client_credentials()
    if username is not None:
        import getpass

        return idp.login(username, getpass.getpass(f"password of {username}: "))
    return idp.login_device() if device else idp.login_browser()


def _token_in(path: Path) -> str:
    """Return the token in a file, or on stdin. Raises CommandError."""
    from macaw.cli.terminal.errors import CommandError
    from processors.identity.tokens.reasons import TokenRefusedError
    from processors.identity.tokens.verify import claimed_issuer
    from producers.home.files import FileError, read_file

    try:
        data = (
            sys.stdin.buffer.read(TOKEN_FILE_BYTES_MAX) if str(path) == "-" else read_file(path, TOKEN_FILE_BYTES_MAX)
        )
        token = data.decode("ascii").strip()
        claimed_issuer(token)
    except FileError as exc:
        raise CommandError(str(exc)) from exc
    except (UnicodeDecodeError, TokenRefusedError):
        raise CommandError(f"{path} does not hold a token: it must be the text that the provider gave, alone") from None
    return token


def whoami(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show the sessions that logins opened here, and whether each still counts on the log."""
    from macaw.cli.terminal.output import say, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.logins import kept_sessions

    home, folder = open_tenant(tenant)
    rows = [(kept, _standing(home, folder, kept.principal_id)) for kept in kept_sessions(folder)]
    if as_json:
        show_json(
            [
                {
                    "principal": kept.principal_id,
                    "session": kept.session,
                    "issuer": kept.issuer,
                    "expires_at": kept.expires_at,
                    "standing": standing,
                }
                for kept, standing in rows
            ]
        )
    elif not rows:
        say(f"nobody is logged in to {folder.tenant} here: run `macaw login`")
    else:
        shown = ((k.principal_id, standing, time_of(k.expires_at), k.issuer, k.session[:16]) for k, standing in rows)
        show_table(("PRINCIPAL", "STANDING", "UNTIL", "PROVIDER", "SESSION"), shown)


def _standing(home: Home, folder: TenantHome, principal_id: str) -> str:
    """Return the status `open`, or the reason for which the log does not hear the session."""
    from macaw.cli.terminal.speaking import open_kept
    from producers.client import CallError
    from schemas.words import Status

    with open_kept(home, folder, principal_id) as client:
        try:
            client.list_delegations()
        except CallError as exc:
            return exc.reason
    return Status.OPEN


def logout(*, name: As = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Close the session of a login, remove its key, and end the login at the provider."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_kept
    from macaw.installation.logins import forget, kept_sessions
    from producers.client import CallError

    home, folder = open_tenant(tenant)
    kept = [one.principal_id for one in kept_sessions(folder)]
    if name is None and len(kept) != 1:
        told = f"choose with --as: {', '.join(kept)}" if kept else "nobody is logged in here"
        raise CommandError(f"{told}; `macaw whoami` shows the sessions")
    principal = name or kept[0]
    if principal not in kept:
        raise CommandError(f"{principal!r} is not logged in here; `macaw whoami` shows the sessions")
    is_closed = True
    with open_kept(home, folder, principal) as client:
        try:
            client.close_session(reason="logged out")
        except CallError:
            is_closed = False  # it had ended
    is_revoked = forget(home, folder, principal)
    if as_json:
        show_json({"principal": principal, "closed": is_closed, "revoked_at_provider": is_revoked})
    else:
        ended = "its session is closed" if is_closed else "its session had ended"
        provider = ", and its login at the provider is ended" if is_revoked else ""
        say(f"{principal} is logged out: {ended}{provider}")
