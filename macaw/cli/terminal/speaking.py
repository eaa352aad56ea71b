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
    """Return the client of an agent, of `user:NAME`, or of `approver:NAME`. Raises CommandError."""
    from macaw.cli.terminal.errors import CommandError
    from processors.policy.names import PERSON_PREFIX
    from producers.client import Client

    for prefix, kind, connect, hint in (
        (PERSON_PREFIX, "session", Client.for_person, "macaw dev session open"),
        (APPROVER_PREFIX, "approver", Client.for_approver, "macaw approver register"),
    ):
        if name.startswith(prefix):
            bare = name.removeprefix(prefix)
            if not folder.key_file(kind, bare).exists():
                raise CommandError(f"there is no {kind} of {name} in {folder.path}: run `{hint} {quote(bare)}`")
            return connect(folder.tenant, bare, home=home)
    if not folder.key_file("agent", name).exists():
        raise CommandError(f"there is no key of an agent {name!r} in {folder.path}: {_hint(folder, name)}")
    return Client.connect(folder.tenant, name, home=home)


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
