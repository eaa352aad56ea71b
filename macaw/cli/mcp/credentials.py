"""`macaw mcp credential`: the credentials of callers at an upstream server, for the gateway alone."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import Tenant


def credential(
    server: Annotated[str, typer.Argument(help="The name of the server on the log.", metavar="SERVER")],
    principal: Annotated[str, typer.Argument(help="The caller: user:NAME, or a program.", metavar="PRINCIPAL")],
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; the next connection lacks it.")] = False,
    tenant: Tenant = None,
) -> None:
    """Store the header `Name: value` that a server gets with a caller's requests; it is read from standard input."""
    import sys

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_folder
    from macaw.gateway.credentials import LINE_BYTES_MAX, Credentials
    from macaw.gateway.names import check_server_name
    from producers.home.files import secret_line

    _, folder = open_folder(tenant)
    credentials = Credentials(folder, check_server_name(server))
    if remove:
        if not credentials.remove(principal):
            raise CommandError(f"{principal} has no credential at {server} here")
        say(f"the credential of {principal} at {server} is removed; start the gateway again to end its connection")
        return
    line = secret_line(sys.stdin.buffer.read(LINE_BYTES_MAX + 3), LINE_BYTES_MAX)
    if line is None:
        raise CommandError("standard input must hold one line `Name: value`, as `Authorization: Bearer …`")
    credentials.store(principal, line)
    say(f"the credential of {principal} at {server} is stored")
