"""The principal that a command speaks as: an agent, a person, or a registered approver."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from producers.client import Client
    from producers.home.home import Home, TenantHome

APPROVER_PREFIX = "approver:"

As = Annotated[
    str,
    typer.Option("--as", help="The principal: a registered agent, or user:NAME with an open session.", metavar="NAME"),
]


def open_client(home: Home, folder: TenantHome, name: str) -> Client:
    """Return the client of an agent, of `user:NAME` or `workload:NAME` with a login, or of `approver:NAME`.

    A session of a login is renewed first if its end is near.

    Raises:
        CommandError: there is no such key here.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.installation.logins import freshen
    from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
    from producers.client import Client

    by_hand = f"`macaw dev session open {quote(name.removeprefix(PERSON_PREFIX))}`"
    for prefix, kind, hint in (
        (PERSON_PREFIX, "session", f"`macaw login`, or {by_hand} in a tenant of development"),
        (WORKLOAD_PREFIX, "workload", "`macaw login --workload`"),
        (APPROVER_PREFIX, "approver", f"`macaw approver register {quote(name.removeprefix(APPROVER_PREFIX))}`"),
    ):
        if not name.startswith(prefix):
            continue
        bare = name.removeprefix(prefix)
        if not folder.key_file(kind, bare).exists():
            raise CommandError(f"there is no {kind} of {name} in {folder.path}: run {hint}")
        if kind == "approver":
            return Client.for_approver(folder.tenant, bare, home=home)
        freshen(home, folder, name)
        return open_kept(home, folder, name)
    if not folder.key_file("agent", name).exists():
        raise CommandError(f"there is no key of an agent {name!r} in {folder.path}: {_hint(folder, name)}")
    return Client.connect(folder.tenant, name, home=home)


def open_kept(home: Home, folder: TenantHome, principal_id: str) -> Client:
    """Return the client of a session that is kept here, as it is. Raises HomeError, KeyAccessError, ConnectError."""
    from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
    from producers.client import Client

    if principal_id.startswith(WORKLOAD_PREFIX):
        return Client.for_workload(folder.tenant, principal_id.removeprefix(WORKLOAD_PREFIX), home=home)
    return Client.for_person(folder.tenant, principal_id.removeprefix(PERSON_PREFIX), home=home)


def _hint(folder: TenantHome, name: str) -> str:
    """Return a suggestion for a name that is not an agent's here."""
    from processors.policy.names import PERSON_PREFIX, check_name
    from processors.refusal import Refusal

    others = (("session", PERSON_PREFIX), ("approver", APPROVER_PREFIX))
    meant = [f"--as {quote(prefix + name)}" for kind, prefix in others if folder.key_file(kind, name).exists()]
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    try:
        check_name(name)
    except Refusal as exc:
        return f"this is not a valid name: {exc.detail}"
    return f"run `macaw agent register {quote(name)}`"
