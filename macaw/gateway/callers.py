"""The callers of a gateway: one program or person of this installation, or the owner of each bearer token."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mcp.server.auth.provider import AccessToken, TokenVerifier

from macaw.gateway.challenges import scopes_of
from macaw.gateway.ends import SpentTokens, watch_ends
from macaw.gateway.exchanged import ExchangedTokens
from macaw.gateway.logins import TokenLogins, token_digest
from processors.identity.tokens.jose import parse_claims, parse_compact
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from producers.client.async_client import AsyncClient
from producers.home.clock import clock_ms
from producers.home.home import Home
from producers.kafka.logins import NoBridgeError, SessionRefusedError
from schemas.errors import MacawError

log = logging.getLogger(__name__)
T = TypeVar("T")

CALLERS_MAX = 4096
CALLERS_OF_ONE_MAX = 64  # sessions of one principal; the one that was used least recently gives way
LEFT_SECONDS = 700.0  # for calls of a session that has ended to come to their end


@dataclass(eq=False)
class Caller:
    """An open session that calls for one person or program."""

    client: AsyncClient
    principal_id: str
    _over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def session_id(self) -> bytes:
        """The id of the session on the log."""
        return self.client.client.session_id

    @property
    def seconds_left(self) -> float | None:
        """The time to the end of the session, 0 if it has ended, None where its end is not known."""
        if self._over.is_set():
            return 0.0
        ends_at = self.client.client.expires_at
        return None if ends_at is None else max(0.0, (ends_at - clock_ms()) / 1000)

    @property
    def is_over(self) -> bool:
        """Whether the log has ended the session before its time."""
        return self._over.is_set()

    def lose(self) -> None:
        """Take note that the log has ended the session: it is served no more. Call it in the event loop."""
        self._over.set()

    async def while_open(self, doing: Coroutine[Any, Any, T]) -> T:
        """Return the result of `doing`. Raises TimeoutError once the session has ended; it is cancelled then."""
        task, over = asyncio.ensure_future(doing), asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({task, over}, timeout=self.seconds_left, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            over.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})


@dataclass(slots=True)
class _Known:
    caller: Caller
    token: AccessToken = field(repr=False)
    spent_until: float  # the token's own end in seconds since the epoch


class TokenCallers(TokenVerifier):
    """Callers by their bearer tokens, each verified by a bridge of the tenant. No token is kept, only its digest.

    A token counts for this gateway only if its `aud` names `audience`.
    """

    def __init__(
        self,
        tenant: str,
        home: Home,
        *,
        audience: str,
        provider: str | None = None,
        exchanged: ExchangedTokens | None = None,
    ) -> None:
        """With `exchanged` each verified token is exchanged for one that the upstream server takes."""
        self._exchanged = exchanged
        self._audience, self._logins = audience, TokenLogins(tenant, home, provider=provider)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._opening: dict[bytes, asyncio.Task[_Known | None]] = {}
        self._ended: list[tuple[float, Caller]] = []  # to be closed, with the time from which on
        self._closing: set[asyncio.Task[None]] = set()
        self._spent = SpentTokens()
        self._watch: asyncio.Task[None] | None = None

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the token as the MCP server wants it, None if it does not count here."""
        known = await self._verified(token)
        if known is None:
            return None
        if self._exchanged is not None:
            caller = known.caller
            self._exchanged.present(caller.session_id, caller.principal_id, token, caller.seconds_left)
        return known.token

    async def _verified(self, token: str) -> _Known | None:
        digest = token_digest(token)
        known = self._known.get(digest)
        if known is not None and known.caller.is_over:  # ended on the log: the token is not to open another session
            self._spent.add(digest, known.spent_until)
            self._ended.append((time.time(), self._dropped(digest)))
        elif known is not None and (known.token.expires_at or 0) > time.time():
            self._known.move_to_end(digest)
            return known
        if digest in self._spent:
            return None
        if digest not in self._opening:  # of many requests with a new token one logs in
            self._opening[digest] = asyncio.create_task(self._open(token, digest))
        return await asyncio.shield(self._opening[digest])

    def caller(self, token: AccessToken) -> Caller | None:
        """Return the caller of a token that was verified, None if it is not known any more."""
        known = self._known.get(bytes.fromhex(token.token))
        return None if known is None else known.caller

    async def _open(self, token: str, digest: bytes) -> _Known | None:
        try:
            return await self._opened(token, digest)
        except (SessionRefusedError, NoBridgeError):
            return None  # `TokenLogins` tells the log of a token once
        except MacawError as exc:
            log.warning("a bearer token is refused: %s", getattr(exc, "reason", "") or type(exc).__name__)
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
        client = await self._logins.open(token)
        caller = Caller(AsyncClient(client), client.connection.principal_id)
        ends_at = (client.expires_at or clock_ms()) // 1000
        # The digest stands for the token: nothing behind this point can show it or pass it on.
        shown = AccessToken(
            token=digest.hex(),
            client_id=str(claims.get("azp") or claims.get("client_id") or caller.principal_id),
            scopes=scopes_of(claims),
            expires_at=ends_at,
            resource=self._audience,
            subject=caller.principal_id,
            claims={"iss": str(claims.get("iss", ""))},
        )
        expires = claims.get("exp")
        spent_until = max(ends_at, expires if isinstance(expires, int | float) else 0)
        known = _Known(caller, shown, spent_until)
        self._keep(digest, known)
        if self._watch is None:
            self._watch = asyncio.create_task(watch_ends(lambda: [one.caller for one in self._known.values()]))
        return known

    def _keep(self, digest: bytes, known: _Known) -> None:
        """Keep a session, and close those that are over, or too many."""
        now = time.time()
        over = [one for one, found in self._known.items() if one == digest or (found.token.expires_at or 0) <= now]
        self._ended += [(now + LEFT_SECONDS, self._dropped(one)) for one in over]
        self._known[digest] = known
        of_one = [one for one, found in self._known.items() if found.caller.principal_id == known.caller.principal_id]
        for one in of_one[: max(0, len(of_one) - CALLERS_OF_ONE_MAX)]:
            self._ended.append((now, self._dropped(one)))
        while len(self._known) > CALLERS_MAX:
            self._ended.append((now, self._dropped(next(iter(self._known)))))
        excess = len(self._ended) - CALLERS_MAX
        for _, caller in (due := [one for at, one in enumerate(self._ended) if one[0] <= now or at < excess]):
            task = asyncio.ensure_future(caller.client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._ended = [one for one in self._ended if one not in due]

    def _dropped(self, digest: bytes) -> Caller:
        """Serve a session no more, and forget its token at the server; return its caller, to be closed."""
        caller = self._known.pop(digest).caller
        if self._exchanged is not None:
            self._exchanged.forget(caller.session_id)
        return caller

    async def close(self) -> None:
        """End every session."""
        if self._watch is not None:
            self._watch.cancel()
        callers = [*(one.caller for one in self._known.values()), *(one for _, one in self._ended)]
        self._known.clear()
        self._ended.clear()
        await asyncio.gather(*(one.client.close() for one in callers), *self._closing, return_exceptions=True)
        self._logins.close()
