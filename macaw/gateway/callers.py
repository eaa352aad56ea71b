"""The callers of a gateway: one program or person of this installation, or the owner of each bearer token."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from mcp.server.auth.provider import AccessToken, TokenVerifier

from processors.identity.tokens.jose import parse_claims, parse_compact
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from producers.client import Client
from producers.client.async_client import AsyncClient
from producers.home.clock import clock_ms
from producers.home.home import Home
from schemas.errors import MacawError

log = logging.getLogger(__name__)

CALLERS_MAX = 4096
CALLERS_OF_ONE_MAX = 64  # sessions of one principal; the one that was used least recently gives way
LEFT_SECONDS = 700.0  # for calls of a session that has ended to come to their end
LOGINS_MAX = 8  # at once, in threads of their own: a flood of tokens does not hold up calls
LOGINS_WAITING_MAX = 256  # a further token is refused
REFUSED_SECONDS = 10.0  # for which a refused token is not shown to a bridge again
REFUSED_MAX = 1024


@dataclass(eq=False)
class Caller:
    """An open session that calls for one person or program."""

    client: AsyncClient
    principal_id: str

    @property
    def session_id(self) -> bytes:
        """The id of the session on the log."""
        return self.client.client.session_id

    @property
    def seconds_left(self) -> float | None:
        """The time to the end of the session, 0 if it has ended, None where its end is not known."""
        ends_at = self.client.client.expires_at
        return None if ends_at is None else max(0.0, (ends_at - clock_ms()) / 1000)


@dataclass(slots=True)
class _Known:
    caller: Caller
    token: AccessToken = field(repr=False)


class TokenCallers(TokenVerifier):
    """Callers by their bearer tokens, each verified by a bridge of the tenant. No token is kept, only its digest.

    A token counts for this gateway only if its `aud` names `audience`.
    """

    def __init__(self, tenant: str, home: Home, *, audience: str, provider: str | None = None) -> None:
        self._tenant, self._home, self._audience, self._provider = tenant, home, audience, provider
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._opening: dict[bytes, asyncio.Task[_Known | None]] = {}
        self._ended: list[tuple[float, Caller]] = []  # to be closed, with the time from which on
        self._closing: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(LOGINS_MAX, "login")

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the token as the MCP server wants it, None if it does not count here."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and (known.token.expires_at or 0) > time.time():
            self._known.move_to_end(digest)
            return known.token
        if self._refused.get(digest, 0.0) > time.monotonic():
            return None
        if digest not in self._opening and len(self._opening) >= LOGINS_WAITING_MAX:
            log.warning("a bearer token is refused: %d others are waiting to be verified", LOGINS_WAITING_MAX)
            return None
        if digest not in self._opening:  # of many requests with a new token one logs in
            self._opening[digest] = asyncio.create_task(self._open(token, digest))
        found = await asyncio.shield(self._opening[digest])
        return None if found is None else found.token

    def caller(self, token: AccessToken) -> Caller | None:
        """Return the caller of a token that was verified, None if it is not known any more."""
        known = self._known.get(bytes.fromhex(token.token))
        return None if known is None else known.caller

    async def _open(self, token: str, digest: bytes) -> _Known | None:
        try:
            return await self._opened(token, digest)
        except MacawError as exc:
            log.warning("a bearer token is refused: %s", getattr(exc, "reason", "") or type(exc).__name__)
            self._refused[digest] = time.monotonic() + REFUSED_SECONDS
            while len(self._refused) > REFUSED_MAX:
                self._refused.popitem(last=False)
            return None
        finally:
            self._opening.pop(digest, None)

    async def _opened(self, token: str, digest: bytes) -> _Known:
        claims = parse_claims(
            parse_compact(token).payload
        )  # a bridge verifies the same text before anything of it counts
        named = claims.get("aud")
        audiences = named if isinstance(named, list) else [named]
        if self._audience not in audiences:
            raise TokenRefusedError(TokenReason.TOKEN_AUDIENCE)
        login = partial(Client.login, self._tenant, token, home=self._home, provider=self._provider)
        client = await asyncio.get_running_loop().run_in_executor(self._threads, login)
        caller = Caller(AsyncClient(client), client.connection.principal_id)
        ends_at = (client.expires_at or clock_ms()) // 1000
        # The digest stands for the token: nothing behind this point can show it or pass it on.
        shown = AccessToken(
            token=digest.hex(),
            client_id=str(claims.get("azp") or claims.get("client_id") or caller.principal_id),
            scopes=str(claims.get("scope") or "").split(),
            expires_at=ends_at,
            resource=self._audience,
            subject=caller.principal_id,
            claims={"iss": str(claims.get("iss", ""))},
        )
        known = _Known(caller, shown)
        self._keep(digest, known)
        return known

    def _keep(self, digest: bytes, known: _Known) -> None:
        """Keep a session, and close those that are over, or too many."""
        now = time.time()
        over = [one for one, found in self._known.items() if one == digest or (found.token.expires_at or 0) <= now]
        self._ended += [(now + LEFT_SECONDS, self._known.pop(one).caller) for one in over]
        self._known[digest] = known
        of_one = [one for one, found in self._known.items() if found.caller.principal_id == known.caller.principal_id]
        for one in of_one[: max(0, len(of_one) - CALLERS_OF_ONE_MAX)]:
            self._ended.append((now, self._known.pop(one).caller))
        while len(self._known) > CALLERS_MAX:
            self._ended.append((now, self._known.popitem(last=False)[1].caller))
        excess = len(self._ended) - CALLERS_MAX
        for _, caller in (due := [one for at, one in enumerate(self._ended) if one[0] <= now or at < excess]):
            task = asyncio.ensure_future(caller.client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._ended = [one for one in self._ended if one not in due]

    async def close(self) -> None:
        """End every session."""
        callers = [*(one.caller for one in self._known.values()), *(one for _, one in self._ended)]
        self._known.clear()
        self._ended.clear()
        await asyncio.gather(*(one.client.close() for one in callers), *self._closing, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
