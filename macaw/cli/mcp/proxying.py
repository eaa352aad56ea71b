"""`macaw mcp proxy`: stand in front of an MCP server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import OptionsError, Tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from macaw.gateway.exchange import ExchangeSettings
    from macaw.gateway.serving import HTTPFront, Served
    from producers.client import Client
    from producers.home.home import Home, TenantHome

Words = Annotated[
    list[str] | None, typer.Argument(help="The command that starts the server, after `--`.", metavar="-- COMMAND …")
]
Name = Annotated[
    str, typer.Option("--name", help="The server's name on the log: its tools are tool:NAME/…", metavar="NAME")
]
Url = Annotated[str | None, typer.Option("--url", help="The server's address, in place of a command.", metavar="URL")]
HeaderFile = Annotated[
    str | None,
    typer.Option("--header-file", help="A private file with one line `Name: value` for the server.", metavar="FILE"),
]
Personal = Annotated[bool, typer.Option("--personal", help="Each caller has a credential of its own at the address.")]
Exchange = Annotated[
    bool, typer.Option("--exchange", help="Each caller's token is exchanged for one that the server takes.")
]
OpenCalls = Annotated[
    int | None,
    typer.Option(
        "--fail-open",
        min=1,
        max=10_000,
        help="While no broker answers, run so many calls an hour without a decision, of those with a policy for it.",
        metavar="CALLS",
    ),
]
OpenMinutes = Annotated[
    float, typer.Option("--fail-open-minutes", min=0.1, max=1440, help="The longest such time.", metavar="MINUTES")
]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", help="A variable of this environment that the server gets too; repeatable.", metavar="NAME"),
]
Caller = Annotated[
    str | None, typer.Option("--as", help="The caller: a program, or user:NAME with a login here.", metavar="NAME")
]
Listen = Annotated[
    str | None, typer.Option("--listen", help="Serve clients over HTTP here, at /mcp.", metavar="HOST:PORT")
]
Issuer = Annotated[
    str | None, typer.Option("--issuer", help="The identity provider of the clients' users.", metavar="URL")
]
Resource = Annotated[
    str | None, typer.Option("--resource", help="The public URL of this gateway, for tokens.", metavar="URL")
]
Audience = Annotated[
    str | None, typer.Option("--audience", help="The audience of tokens, if it is not that URL.", metavar="NAME")
]
AllowedHost = Annotated[
    list[str] | None, typer.Option("--allowed-host", help="A further Host that clients name.", metavar="HOST")
]
Scope = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", help="A scope that each token needs, else 403 with this scope; repeatable.", metavar="SCOPE"
    ),
]
Provider = Annotated[
    str | None, typer.Option("--provider", help="The mapping of claims where several fit.", metavar="NAME")
]


def proxy(
    command: Words = None,
    *,
    name: Name,
    url: Url = None,
    header_file: HeaderFile = None,
    personal: Personal = False,
    exchange: Exchange = False,
    fail_open: OpenCalls = None,
    fail_open_minutes: OpenMinutes = 15.0,
    environment: Environment = None,
    caller: Caller = None,
    listen: Listen = None,
    issuer: Issuer = None,
    resource: Resource = None,
    audience: Audience = None,
    allowed_host: AllowedHost = None,
    scope: Scope = None,
    provider: Provider = None,
    tenant: Tenant = None,
) -> None:
    """Serve an MCP server behind the log, until its client leaves or Ctrl-C.

    Without `--listen` it speaks to one client by standard input and output: put it before the server's own command in
    the client's configuration.
    """
    if bool(command) == (url is not None):
        raise OptionsError("name the server: its command after `--`, or its address with `--url`")
    if personal and url is None:
        raise OptionsError("`--personal` goes with `--url`: a command gets no credentials of callers")
    if exchange and (url is None or issuer is None or personal):
        raise OptionsError("`--exchange` goes with `--url` and `--issuer`, and not with `--personal`")
    _check_callers(caller, listen, issuer, resource)
    if scope and issuer is None:
        raise OptionsError("`--scope` goes with `--issuer`: only tokens have scopes")

    from dataclasses import replace

    from macaw.cli.terminal.places import open_tenant
    from macaw.gateway.challenges import check_scopes
    from macaw.gateway.fail_open import FailOpen

    home, folder = open_tenant(tenant)
    served = replace(_served(name, command, url, header_file, environment or (), home, folder), personal=personal)
    if fail_open is not None:
        served = replace(served, fail_open=FailOpen(calls=fail_open, minutes=fail_open_minutes))
    if exchange and url is not None:
        served = replace(served, exchange=_exchange(url, served.name, folder))
    client = None if caller is None else _client(home, folder, caller)
    front = None if listen is None else _front(listen, allowed_host or (), issuer, resource, audience, provider)
    front = None if front is None else replace(front, scopes=check_scopes(scope or ()))
    _run(served, front, client)


def _check_callers(caller: str | None, listen: str | None, issuer: str | None, resource: str | None) -> None:
    """Raise OptionsError unless the options name the caller in one way."""
    if (issuer is None) != (resource is None):
        raise OptionsError("`--issuer` and `--resource` go together: tokens of the one, for the other")
    if (issuer is None) == (caller is None):
        raise OptionsError("say who calls: `--as NAME`, or with `--listen` also `--issuer` and `--resource` for tokens")
    if issuer is not None and listen is None:
        raise OptionsError("clients with tokens come over HTTP: name `--listen HOST:PORT`")


def _served(
    name: str,
    command: Sequence[str] | None,
    url: str | None,
    header_file: str | None,
    environment: Sequence[str],
    home: Home,
    folder: TenantHome,
) -> Served:
    import os
    from pathlib import Path

    from macaw.gateway.credentials import LINE_BYTES_MAX, header_of
    from macaw.gateway.names import check_server_name
    from macaw.gateway.serving import Served
    from macaw.gateway.transports import ServerAddress, ServerCommand
    from producers.home.files import read_secret_line

    if url is not None:
        headers = {}
        if header_file is not None:
            headers = header_of(read_secret_line(Path(header_file), LINE_BYTES_MAX))
        server: ServerCommand | ServerAddress = ServerAddress(url, headers)
    else:
        missing = [one for one in environment if one not in os.environ]
        if missing:
            raise typer.BadParameter(f"there is no variable {missing[0][:60]!r} here", param_hint="--env")
        server = ServerCommand(list(command or ()), {one: os.environ[one] for one in environment})
    return Served(name=check_server_name(name), server=server, tenant=folder.tenant, home=home)


def _exchange(url: str, name: str, folder: TenantHome) -> ExchangeSettings:
    from macaw.gateway.exchange_file import read
    from producers.identity.web import check_url

    check_url(url, "`--url`")  # an exchanged token is not sent in the clear
    return read(folder, name)


def _client(home: Home, folder: TenantHome, caller: str) -> Client:
    from macaw.cli.terminal.speaking import open_client
    from macaw.gateway.serving import session_of_program

    if ":" in caller:
        return open_client(home, folder, caller)
    return session_of_program(home, folder.tenant, caller)


def _front(
    listen: str,
    hosts: Sequence[str],
    issuer: str | None,
    resource: str | None,
    audience: str | None,
    provider: str | None,
) -> HTTPFront:
    from macaw.gateway.serving import HTTPFront

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"got {listen[:60]!r}, want HOST:PORT", param_hint="--listen")
    return HTTPFront(
        host=host.strip("[]"),
        port=int(port),
        hosts=hosts,
        issuer=issuer,
        resource=resource,
        audience=audience,
        provider=provider,
    )


def _run(served: Served, front: HTTPFront | None, client: Client | None) -> None:
    """Serve until the end. Nothing but the protocol goes to standard output."""
    import asyncio
    import logging
    import warnings

    from mcp.shared.exceptions import MCPDeprecationWarning

    from macaw.cli.terminal.output import log_to_stderr, say
    from macaw.gateway.serving import serve_http, serve_stdio

    log_to_stderr(logging.WARNING)
    warnings.filterwarnings("ignore", category=MCPDeprecationWarning)  # older clients and servers choose, not the user
    if front is None:
        assert client is not None
        asyncio.run(serve_stdio(served, client))
        return

    def ready(port: int) -> None:
        assert front is not None
        say(f"{served.name} is served at http://{front.host}:{port}/mcp in {served.tenant}; Ctrl-C ends it")

    _until_stopped(lambda: serve_http(served, front, client, on_ready=ready))


def _until_stopped(serving: Callable[[], Coroutine[Any, Any, None]]) -> None:
    import asyncio

    asyncio.run(serving())
