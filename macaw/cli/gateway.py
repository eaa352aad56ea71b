"""`macaw gateway`: calls, streams and approvals over HTTP and JSON, for programs in any language."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:]{2,45}\])(?::[0-9]{1,5})?")


def command(
    *,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 8910,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    url: Annotated[
        str | None, typer.Option("--url", help="The https://NAME under which others reach it.", metavar="URL")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            help="An origin whose pages may ask, as https://app.example; repeatable.",
            metavar="ORIGIN",
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="The mapping of claims where several fit.", metavar="NAME")
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Serve programs in any language over HTTP and JSON, until Ctrl-C; /openapi.json describes it.

    A program logs in with a token of the tenant's identity provider. The key of its session stays here, in memory.
    """
    import logging

    from macaw.cli.terminal.output import log_to_stderr, say
    from macaw.cli.terminal.places import open_tenant
    from macaw.gateway.http.process import run_gateway
    from streams.address import Address, check_listen

    origins = _origins(allow_origin or ())
    check_listen(host, url)
    home, folder = open_tenant(tenant)
    log_to_stderr(logging.WARNING)

    def on_listening(address: Address) -> None:
        say(f"{folder.tenant} is served at {address.url}; {address.url}/openapi.json describes it; Ctrl-C ends it")

    run_gateway(
        home, folder, host=host, port=port, url=url, origins=origins, provider=provider, on_listening=on_listening
    )


def _origins(given: Sequence[str]) -> frozenset[str]:
    """Return the origins as browsers write them. Raises typer.BadParameter."""
    for one in given:
        if not _ORIGIN.fullmatch(one):
            raise typer.BadParameter(
                f"got {one[:80]!r}, want an origin as a browser writes it: https://NAME or https://NAME:PORT, in lower "
                "case, without a path; `*` is not one",
                param_hint="--allow-origin",
            )
    return frozenset(given)
