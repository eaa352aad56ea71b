"""`macaw mcp exchange`: how the gateway exchanges its callers' tokens for those of an upstream server."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import OptionsError, Tenant


def exchange(
    server: Annotated[str, typer.Argument(help="The name of the server on the log.", metavar="SERVER")],
    *,
    endpoint: Annotated[
        str | None, typer.Option("--token-endpoint", help="The provider's token endpoint.", metavar="URL")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", help="The gateway's client at the provider.", metavar="ID")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="client_secret_basic, or private_key_jwt.", metavar="METHOD")
    ] = "client_secret_basic",
    key_id: Annotated[
        str, typer.Option("--key-id", help="The id of the key, for private_key_jwt.", metavar="KID")
    ] = "",
    audience: Annotated[str, typer.Option("--audience", help="The server's audience.", metavar="NAME")] = "",
    resource: Annotated[str, typer.Option("--resource", help="The server's resource (RFC 8707).", metavar="URL")] = "",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="A scope of the new token; repeatable.", metavar="SCOPE")
    ] = None,
    private_host: Annotated[
        list[str] | None,
        typer.Option("--private-host", help="A host of the endpoint in your own network; repeatable.", metavar="HOST"),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the settings.")] = False,
    tenant: Tenant = None,
) -> None:
    """Set how callers' tokens are exchanged (RFC 8693); the client's secret or PEM key is read from standard input."""
    import sys

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_folder
    from macaw.gateway import exchange_file
    from macaw.gateway.exchange import ExchangeSettings
    from macaw.gateway.names import check_server_name

    _, folder = open_folder(tenant)
    name = check_server_name(server)
    if remove:
        if not exchange_file.remove(folder, name):
            raise CommandError(f"no exchange is set for {name} here")
        say(f"the exchange for {name} is removed; start the gateway again")
        return
    if endpoint is None or client_id is None:
        raise OptionsError("name the provider's `--token-endpoint`, and the gateway's `--client-id` there")
    data = sys.stdin.buffer.read(exchange_file.SECRET_BYTES_MAX + 1)
    if len(data) > exchange_file.SECRET_BYTES_MAX:
        raise CommandError(f"the secret on standard input has more than {exchange_file.SECRET_BYTES_MAX} bytes")
    settings = ExchangeSettings(
        endpoint=endpoint,
        client_id=client_id,
        method=method,
        secret=data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r"),
        key_id=key_id,
        audience=audience,
        resource=resource,
        scope=" ".join(scope or ()),
        private_hosts=tuple(private_host or ()),
    )
    exchange_file.store(folder, name, settings)
    say(f"callers' tokens are exchanged for {name}, once its gateway is started with `--exchange`")
