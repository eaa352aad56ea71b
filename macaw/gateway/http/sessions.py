"""The open sessions of a gateway: each belongs to one login, and to the one handle that its program was given.

A handle is 256 random bits. Only its digest is kept, so neither a look into the memory of this table nor the time of a
comparison tells one. The session's key is in the memory of this process alone, and is dropped with the session.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import KafkaException

from macaw.gateway.http import bounds
from macaw.gateway.http.calls import HeldCalls
from macaw.gateway.http.refusing import too_many
from producers.client import Client
from producers.client.async_client import AsyncClient
from producers.home.clock import clock_ms
from producers.kafka.outcomes import RefusedError
from schemas.errors import MacawError

log = logging.getLogger(__name__)

HANDLE_PREFIX = "mgw_"  # so that scanners for secrets know one
_BOUNDS = {
    "requests": ("requests under way", bounds.REQUESTS_OF_ONE_MAX),
    "questions": ("questions under way", bounds.QUESTIONS_OF_ONE_MAX),
    "calls": ("calls without their end", bounds.CALLS_OF_ONE_MAX),
    "streams": ("streams", bounds.STREAMS_OF_ONE_MAX),
}


class PrincipalShare:
    """The parts of the gateway that one principal uses, over all its sessions."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self._body_bytes = 0
        self.logins: set[HeldSession] = set()

    def take(self, what: str) -> None:
        """Take one more of the named kind. Raises HTTPRefusal 429 where there are as many as there may be."""
        words, most = _BOUNDS[what]
        if self._used[what] >= most:
            raise too_many(words, most)
        self._used[what] += 1

    @property
    def is_unused(self) -> bool:
        """Whether nothing of the gateway is used."""
        return not self.logins and not any(self._used.values())

    @contextmanager
    def body(self, size: int) -> Iterator[Callable[[int], None]]:
        """Take room for the body of a request for the length of a block, and give a function that corrects its size.

        Raises HTTPRefusal 429.
        """
        if self._body_bytes + size > bounds.BODY_BYTES_OF_ONE_MAX:
            raise too_many("bytes of requests under way", bounds.BODY_BYTES_OF_ONE_MAX)
        self._body_bytes += size

        def correct(found: int) -> None:
            nonlocal size
            self._body_bytes += found - size
            size = found

        try:
            yield correct
        finally:
            self._body_bytes -= size

    def let_go(self) -> None:
        """Forget ends of calls until the sessions together keep no more bytes of them than one principal may."""
        most = bounds.ENDED_BYTES_OF_ONE_MAX
        if sum(one.calls.kept_bytes for one in self.logins) > most:
            for one in self.logins:
                one.calls.let_go(most // bounds.SESSIONS_OF_ONE_MAX)

    def give_back(self, what: str) -> None:
        """Give one back."""
        self._used[what] -= 1

    @contextmanager
    def taken(self, what: str) -> Iterator[None]:
        """Take one for the length of a block. Raises as `take`."""
        self.take(what)
        try:
            yield
        finally:
            self.give_back(what)


@dataclass(eq=False)
class HeldSession:
    """An open session: its client, its calls, and its principal's share."""

    client: Client
    share: PrincipalShare = field(repr=False)
    digest: bytes = field(repr=False)
    expires_at: int  # ms since the epoch
    used_at: float  # by the monotonic clock
    under_way: int = 0  # requests
    calls: HeldCalls = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.caller = AsyncClient(self.client)
        self.calls = HeldCalls(self._call_ended)

    def _call_ended(self) -> None:
        self.share.give_back("calls")
        self.share.let_go()

    @property
    def principal_id(self) -> str:
        """The name on the log."""
        return self.client.connection.principal_id

    @property
    def is_at_rest(self) -> bool:
        """Whether neither a request nor a call of it is under way."""
        return not self.under_way and not self.calls.under_way

    @contextmanager
    def used(self) -> Iterator[None]:
        """Note that a request of it is under way for the length of a block. Raises HTTPRefusal 429."""
        with self.share.taken("requests"):
            self.under_way += 1
            try:
                yield
            finally:
                self.under_way -= 1
                self.used_at = time.monotonic()


class Sessions:
    """The logins of a gateway by the digests of their handles. One event loop uses it."""

    def __init__(self) -> None:
        self._logins: dict[bytes, HeldSession] = {}
        self._shares: defaultdict[str, PrincipalShare] = defaultdict(PrincipalShare)
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether no further session can be kept."""
        return len(self._logins) >= bounds.SESSIONS_MAX

    def keep(self, client: Client) -> tuple[str, HeldSession]:
        """Return the handle of a session that was opened, and the login.

        Of a principal with as many sessions as it may have, the one that has rested longest ends.

        Raises:
            HTTPRefusal: 429, all of them are at work. The session is not kept, and is closed.
        """
        share = self._shares[client.connection.principal_id]
        while len(share.logins) >= bounds.SESSIONS_OF_ONE_MAX:
            resting = [one for one in share.logins if one.is_at_rest]
            if not resting:
                self._close_apart(partial(_end, client))
                raise too_many("sessions with work under way", bounds.SESSIONS_OF_ONE_MAX)
            self.end(min(resting, key=lambda one: one.used_at))
        handle = HANDLE_PREFIX + secrets.token_urlsafe(32)
        digest = _digest(handle)
        login = HeldSession(client, share, digest, client.expires_at or clock_ms(), time.monotonic())
        self._logins[digest] = login
        share.logins.add(login)
        return handle, login

    def find(self, handle: str) -> HeldSession | None:
        """Return the login of a handle, None if there is none or its time is over."""
        login = self._logins.get(_digest(handle))
        if login is not None and self._is_over(login):
            self.end(login)
            return None
        return login

    def forget(self, login: HeldSession) -> None:
        """Let the handle of a session count no more, and end its calls here; its key is dropped with the client."""
        if self._logins.pop(login.digest, None) is None:
            return
        login.share.logins.discard(login)
        login.calls.close()

    def end(self, login: HeldSession) -> None:
        """Forget a session, and end it on the log, apart."""
        self.forget(login)
        self._close_apart(partial(_end, login.client))

    async def close_session(self, login: HeldSession) -> None:
        """Forget a session and end it on the log. Raises as `Client.close_session`; it is forgotten all the same."""
        self.forget(login)
        try:
            await asyncio.to_thread(login.client.close_session)
        finally:
            self._close_apart(login.client.close)

    async def sweep(self) -> None:
        """End sessions at the end of their time, for ever."""
        while True:
            await asyncio.sleep(bounds.SWEEP_SECONDS)
            for login in [one for one in self._logins.values() if self._is_over(one)]:
                self.end(login)
            for name in [name for name, share in self._shares.items() if share.is_unused]:
                del self._shares[name]

    async def close(self) -> None:
        """End every session."""
        for login in list(self._logins.values()):
            self.end(login)
        await asyncio.gather(*self._closing, return_exceptions=True)

    @staticmethod
    def _is_over(login: HeldSession) -> bool:
        if login.expires_at <= clock_ms():
            return True
        return login.is_at_rest and login.used_at + bounds.IDLE_SECONDS < time.monotonic()

    def _close_apart(self, close: Callable[[], None]) -> None:
        task = asyncio.ensure_future(asyncio.to_thread(close))
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.warning("a session could not be closed: %s", type(exc).__name__)


def _end(client: Client) -> None:
    """End a session on the log, and its connection. Without an answer of the log it ends at its time."""
    try:
        with suppress(RefusedError):  # it has ended there before
            client.close_session(reason="closed at the gateway")
    except (MacawError, KafkaException) as exc:
        log.warning("a session may last until its time is over: %s", type(exc).__name__)
    finally:
        client.close()


def _digest(handle: str) -> bytes:
    return hashlib.sha256(handle.encode("utf-8", "surrogatepass")).digest()
