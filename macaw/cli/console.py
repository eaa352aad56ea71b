"""`macaw console`: pages that show a tenant's stream, on one's own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import Tenant


def command(
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 picks a free one.")] = 0,
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Answer approvals as user:NAME or approver:NAME, whose key is here. [read only]",
            metavar="NAME",
        ),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Show a tenant's calls in a browser, live: each record is verified here before it is shown.

    The page asks for the token in the tenant's folder. With --as it answers approvals, signed with a key of this home.
    """
    import logging
    from contextlib import ExitStack

    from macaw.cli.terminal.output import log_to_stderr, say
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client
    from macaw.installation.locking import only_one
    from macaw.installation.tokens import ensure_token
    from streams.console.approving import ApprovalDesk
    from streams.console.process import TOKEN, run_console

    log_to_stderr(logging.WARNING)
    home, folder = open_tenant(tenant)
    ensure_token(folder, TOKEN)

    def on_listening(url: str) -> None:
        say(f"the console of {folder.tenant} is at {url}; its token stands in {folder.token_file(TOKEN)}")

    running = "the console of this tenant runs already: use it, or stop it first"
    with only_one(folder.path / "console.lock", running), ExitStack() as opened:
        desk = None if name is None else ApprovalDesk(opened.enter_context(open_client(home, folder, name)), name)
        run_console(home, folder, port=port, on_listening=on_listening, desk=desk)
