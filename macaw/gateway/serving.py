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
from macaw.gateway.challenges import ScopedChallenges
from macaw.gateway.client_relay import Context
from macaw.gateway.credentials import Credentials
from macaw.gateway.exchange import ExchangeSettings
from macaw.gateway.exchanged import ExchangedTokens, exchanging
from macaw.gateway.fail_open import FailOpen
from macaw.gateway.front import CallerOf, GatewayFront
from macaw.gateway.gap_journal import GapJournal, JournalError, has_journal
from macaw.gateway.gaps import BrokerLook, Gaps
from macaw.gateway.gateway import Gateway
from macaw.gateway.inside import InsideLinks, InsideServer
from macaw.gateway.names import check_server_name
from macaw.gateway.pins import Pins
from macaw.gateway.rooms import BODY_BYTES_MAX, with_rooms
from macaw.gateway.server_link import ServerLinks
from macaw.gateway.transports import ServerAddress, ServerCommand
from macaw.gateway.upstreams import Upstreams
from producers.agent.lasting import LastingAgent
from producers.client import Client
from producers.client.async_client import AsyncClient
from producers.client.enrolling import enrol_program
from producers.client.succession import Succession
from producers.home.home import Home, TenantHome
from schemas import limits
from schemas.errors import InputError
from streams.http.door import HEAD_BYTES_MAX
from streams.http.server import patient_connections

log = logging.getLogger(__name__)

SESSIONS_MAX = 10_000
IDLE_SECONDS = 1800.0
WAITING_MAX = 2048  # connections without a whole request
UNREAD_SECONDS = 30.0  # for a client to take what was sent to it
RESUME_MS = 1000  # after which a client may come back for a stream that it has lost
PATH = "/mcp"
OnReady = Callable[[int], object]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ExposedGatewayError(InputError):
    """A gateway would serve clients of other machines without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server to be served: its name on the log, the way to it, and the installation.

    The definitions of a server of this process are its author's own, so they are not pinned.
    """

    name: str
    server: ServerCommand | ServerAddress | InsideServer
    tenant: str
    home: Home
    personal: bool = False  # each caller has a credential of its own at the server
    exchange: ExchangeSettings | None = None  # each caller's token is exchanged for one that the server takes
    fail_open: FailOpen | None = None  # calls may run without a decision while no broker answers
    mode: str = "first"  # of the protocol, as `Upstream` has it
    label: str = "MCP gateway"  # of its program, for people
    session_ttl_ms: int = limits.SESSION_TTL_MS_MAX  # of each session of the gateway itself


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
    scopes: Sequence[str] = ()  # that a token needs, each of them


def session_of_program(home: Home, tenant: str, name: str) -> Client:
    """Open a program's session, which is registered on its first use. Raises as `enrol_program`, `Client.connect`."""
    enrol_program(home, home.tenant(tenant), name)
    return Client.connect(tenant, name, home=home, session_ttl_ms=limits.SESSION_TTL_MS_MAX)


@asynccontextmanager
async def opened(served: Served) -> AsyncIterator[Gateway]:
    """Open a gateway until the block ends. Raises UpstreamLostError, JournalError, and as `LastingAgent.connect`."""
    folder = served.home.tenant(served.tenant)
    name = check_server_name(served.name)
    is_inside = not isinstance(served.server, ServerCommand | ServerAddress)
    pins = None if is_inside else Pins.read(folder, name)
    await asyncio.to_thread(enrol_program, served.home, folder, name)
    agent = await asyncio.to_thread(
        partial(
            LastingAgent.connect,
            folder.tenant,
            name,
            home=served.home,
            label=served.label,
            session_ttl_ms=served.session_ttl_ms,
        )
    )
    try:
        gaps = _gaps(served, agent)
    except JournalError:
        await asyncio.to_thread(agent.close)
        raise
    exchanged = None if served.exchange is None else exchanging(served.exchange)
    gateway = Gateway(name, agent, pins, _links(served, folder, agent, exchanged), exchanged, gaps)
    try:
        await gateway.open()
        yield gateway
    finally:
        await gateway.close()
        if exchanged is not None:
            exchanged.close()


def _gaps(served: Served, agent: LastingAgent) -> Gaps | None:
    """Return the calls without a decision, also those of an earlier process. Raises JournalError."""
    folder = served.home.tenant(served.tenant)
    if served.fail_open is None and not has_journal(folder, served.name):
        return None
    return Gaps(served.name, agent, GapJournal(folder, served.name), served.fail_open, BrokerLook(served.home))


def _links(served: Served, folder: TenantHome, agent: LastingAgent, exchanged: ExchangedTokens | None) -> ServerLinks:
    """Return the connections to the server, which are not made yet. Requires a running event loop."""
    if isinstance(served.server, ServerCommand | ServerAddress):
        credentials = Credentials(folder, served.name) if served.personal else None
        return Upstreams(served.server, credentials, exchanged=exchanged, mode=served.mode)
    return InsideLinks(served.server, agent)


async def serve_log(served: Served, *, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve programs of the log alone until cancelled: no client of MCP is listened to."""
    async with opened(served):
        on_ready()
        await asyncio.Event().wait()


async def serve_stdio(served: Served, client: Client) -> None:
    """Serve the one client at standard input and output, for the owner of a session. Ends with the input."""
    async with opened(served) as gateway, _lasting(served, client) as caller:
        front = GatewayFront(gateway, lambda _: caller, has_one_client=True)
        server = front.server()
        async with stdio_server() as (read, write):
            await server.run(read, write, front.options(server))


@asynccontextmanager
async def _lasting(served: Served, client: Client) -> AsyncIterator[Caller]:
    """Call by a session; that of a program is followed by the next one before it ends."""
    principal_id = client.connection.principal_id
    caller = Caller(AsyncClient(client), principal_id)
    if ":" in principal_id:  # a person's, which a bridge opened
        with contextlib.closing(client):
            yield caller
        return

    def change(newer: Client) -> None:
        caller.client = AsyncClient(newer)

    succession = Succession(client, partial(session_of_program, served.home, served.tenant, principal_id), change)
    try:
        yield caller
    finally:
        await asyncio.to_thread(succession.close)


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
    async with opened(served) as gateway, _callers(served, front, client, gateway.exchanged) as (caller_of, tokens):
        app = _application(GatewayFront(gateway, caller_of), front, tokens)
        server = _Server(_settings(app, front), on_ready)
        try:
            await server.serve()
        finally:
            for one in getattr(server, "servers", ()):  # a task that is cancelled does not come to its end
                one.close()


def _settings(app: Any, front: HTTPFront) -> uvicorn.Config:
    """Return how the application is served: with bounds for heads, idle connections and clients that do not read."""
    return uvicorn.Config(
        app,
        host=front.host,
        port=front.port,
        http=patient_connections(idle_max=WAITING_MAX, unread_seconds=UNREAD_SECONDS),
        ws="none",
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


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
    served: Served, front: HTTPFront, client: Client | None, exchanged: ExchangedTokens | None
) -> AsyncIterator[tuple[CallerOf, TokenCallers | None]]:
    if client is not None:
        async with _lasting(served, client) as caller:
            yield (lambda _: caller), None
        return
    assert front.resource is not None
    audience = front.audience or front.resource
    tokens = TokenCallers(served.tenant, served.home, audience=audience, provider=front.provider, exchanged=exchanged)

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
            required_scopes=list(settings.scopes) or None,
            validate_token_resource=False,  # `TokenCallers` asks for the audience, which need not be the URL
        )
    names = [f"{host}:*" for host in ("127.0.0.1", "localhost", "[::1]")] + list(settings.hosts)
    origins = [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=names, allowed_origins=origins
    )
    server = front.server()
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        host=settings.host,
        auth=auth,
        token_verifier=tokens,
        transport_security=security,
        max_sessions=SESSIONS_MAX,
        session_idle_timeout=IDLE_SECONDS,
        max_request_body_size=BODY_BYTES_MAX,
        retry_interval=RESUME_MS,
    )
    with_rooms(app, server, PATH, has_users=tokens is not None)
    return ScopedChallenges(app, settings.scopes)
