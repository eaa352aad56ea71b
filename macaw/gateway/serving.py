"""A gateway as a process: one client by its standard input and output, or any number over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from mcp.server.auth.settings import AuthSettings
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST

from macaw.gateway.callers import Caller, TokenCallers
from macaw.gateway.client_relay import Context
from macaw.gateway.credentials import Credentials
from macaw.gateway.front import CallerOf, GatewayFront
from macaw.gateway.gateway import Gateway
from macaw.gateway.names import check_server_name
from macaw.gateway.pins import Pins
from macaw.gateway.transports import ServerAddress, ServerCommand
from macaw.gateway.upstreams import Upstreams
from producers.agent.agent import Agent
from producers.client import Client
from producers.client.async_client import AsyncClient
from producers.client.enrolling import enrol_program
from producers.home.home import Home
from schemas import limits
from schemas.errors import InputError

log = logging.getLogger(__name__)

SESSIONS_MAX = 10_000
IDLE_SECONDS = 1800.0
BODY_BYTES_MAX = 16 * 1024 * 1024
OnReady = Callable[[int], object]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ExposedGatewayError(InputError):
    """A gateway would serve clients of other machines without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server to be served: its name on the log, the way to it, and the installation."""

    name: str
    server: ServerCommand | ServerAddress
    tenant: str
    home: Home
    personal: bool = False  # each caller has a credential of its own at the server
    mode: str = "first"  # of the protocol, as `Upstream` has it


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPFront:
    """Where clients come by HTTP. With `issuer` they bring its bearer tokens for `resource`, the URL of this front."""

    host: str = "127.0.0.1"
    port: int = 8700
    hosts: Sequence[str] = ()  # further values of the Host header
    issuer: str | None = None
    resource: str | None = None
    audience: str | None = None  # of the tokens, where it is not the URL
    provider: str | None = None


def session_of_program(home: Home, tenant: str, name: str) -> Client:
    """Open a program's session, which is registered on its first use. Raises as `enrol_program`, `Client.connect`."""
    enrol_program(home, home.tenant(tenant), name)
    return Client.connect(tenant, name, home=home, session_ttl_ms=limits.SESSION_TTL_MS_MAX)


@asynccontextmanager
async def opened(served: Served) -> AsyncIterator[Gateway]:
    """Open a gateway until the block ends. Raises UpstreamLostError, and as `Agent.connect`."""
    folder = served.home.tenant(served.tenant)
    name = check_server_name(served.name)
    pins = Pins.read(folder, name)
    await asyncio.to_thread(enrol_program, served.home, folder, name)
    agent = await asyncio.to_thread(
        partial(
            Agent.connect,
            folder.tenant,
            name,
            home=served.home,
            label="MCP gateway",
            session_ttl_ms=limits.SESSION_TTL_MS_MAX,
        )
    )
    credentials = Credentials(folder, name) if served.personal else None
    gateway = Gateway(name, agent, pins, Upstreams(served.server, credentials, mode=served.mode))
    try:
        await gateway.open()
        yield gateway
    finally:
        await gateway.close()


async def serve_stdio(served: Served, client: Client) -> None:
    """Serve the one client at standard input and output, for the owner of a session. Ends with the input."""
    caller = Caller(AsyncClient(client), client.connection.principal_id)
    async with opened(served) as gateway:
        front = GatewayFront(gateway, lambda _: caller)
        server = front.server()
        async with stdio_server() as (read, write):
            await server.run(read, write, front.options(server))
    await caller.client.close()


async def serve_http(
    served: Served, front: HTTPFront, client: Client | None, *, on_ready: OnReady = lambda _: None
) -> None:
    """Serve clients over HTTP until cancelled: each with a token of its user, or all as the owner of one session.

    Raises:
        ExposedGatewayError: every client that reaches the address would act as that one.
    """
    if client is not None and front.host not in LOOPBACK:
        raise ExposedGatewayError(
            f"a gateway on {front.host} must ask who its clients are: give --issuer and --resource, or use 127.0.0.1"
        )
    async with opened(served) as gateway, _callers(served, front, client) as (caller_of, tokens):
        app = _application(GatewayFront(gateway, caller_of), front, tokens)
        settings = uvicorn.Config(
            app, host=front.host, port=front.port, log_level="warning", timeout_graceful_shutdown=2
        )
        server = _Server(settings, on_ready)
        try:
            await server.serve()
        finally:
            for one in getattr(server, "servers", ()):  # a task that is cancelled does not come to its end
                one.close()


class _Server(uvicorn.Server):
    """A server that tells its port once it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: OnReady) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for one in self.servers[:1]:
            self._on_ready(one.sockets[0].getsockname()[1])


@asynccontextmanager
async def _callers(
    served: Served, front: HTTPFront, client: Client | None
) -> AsyncIterator[tuple[CallerOf, TokenCallers | None]]:
    if client is not None:
        caller = Caller(AsyncClient(client), client.connection.principal_id)
        with contextlib.closing(client):
            yield (lambda _: caller), None
        return
    assert front.resource is not None
    audience = front.audience or front.resource
    tokens = TokenCallers(served.tenant, served.home, audience=audience, provider=front.provider)

    def caller_of(context: Context) -> Caller:
        user = context.request.scope.get("user") if context.request is not None else None
        found = tokens.caller(user.access_token) if user is not None else None
        if found is None:
            raise MCPError(INVALID_REQUEST, "the session of this token has ended: send a fresh token")
        return found

    try:
        yield caller_of, tokens
    finally:
        await tokens.close()


def _application(front: GatewayFront, settings: HTTPFront, tokens: TokenCallers | None) -> Any:
    """Return the ASGI application: MCP at /mcp, and the metadata of the protected resource (RFC 9728)."""
    auth = None
    if tokens is not None:
        auth = AuthSettings(
            issuer_url=settings.issuer,  # type: ignore[arg-type] # pydantic reads the text
            resource_server_url=settings.resource,  # type: ignore[arg-type]
            validate_token_resource=False,  # `TokenCallers` asks for the audience, which need not be the URL
        )
    names = [f"{host}:*" for host in ("127.0.0.1", "localhost", "[::1]")] + list(settings.hosts)
    origins = [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=names, allowed_origins=origins
    )
    server = front.server()
    return server.streamable_http_app(
        host=settings.host,
        auth=auth,
        token_verifier=tokens,
        transport_security=security,
        max_sessions=SESSIONS_MAX,
        session_idle_timeout=IDLE_SECONDS,
        max_request_body_size=BODY_BYTES_MAX,
    )
