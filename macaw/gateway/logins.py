"""Logins of a gateway: tokens of users become open sessions, a few at a time, under any flood.

A bridge of the tenant verifies each token. No token is kept: a refused one is remembered by its digest for a while, so
that it is not shown to a bridge again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from producers.client import Client
from producers.home.home import Home
from producers.kafka.logins import NoBridgeError, SessionRefusedError
from schemas.errors import UnavailableError

log = logging.getLogger(__name__)

LOGINS_MAX = 8  # at once, in threads of their own: a flood of tokens does not hold up calls
LOGINS_WAITING_MAX = 256  # a further token is refused
LOGINS_OF_ONE_MAX = 4  # with one token at a time; a bridge would open a session for each
REFUSED_SECONDS = 10.0  # for which a refused token is not shown to a bridge again
REFUSED_MAX = 1024


class LoginsBusyError(UnavailableError):
    """Too many logins wait already."""

    def __init__(self) -> None:
        super().__init__("too many other logins are waiting, in all or with this token: try again in a moment")


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a token was refused, and until when it is remembered; `reason` is empty where no bridge answered."""

    until: float
    sentence: str
    reason: str

    def error(self) -> SessionRefusedError | NoBridgeError:
        """Return the error anew: one that was raised holds the frames in which the token stood."""
        return SessionRefusedError(self.sentence, reason=self.reason) if self.reason else NoBridgeError(self.sentence)


class TokenLogins:
    """Opens a session for each token that the tenant trusts. One event loop uses it."""

    def __init__(
        self, tenant: str, home: Home, *, provider: str | None = None, keeps_calls: bool = True, waiting_max: int = 0
    ) -> None:
        """Log in at a tenant. `provider` and `keeps_calls` are as in `Client.login`; `waiting_max` 0 is the default."""
        self._open = partial(Client.login, tenant, home=home, provider=provider, keeps_calls=keeps_calls)
        self._waiting, self._waiting_max = 0, waiting_max or LOGINS_WAITING_MAX
        self._of_one: Counter[bytes] = Counter()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._threads = ThreadPoolExecutor(LOGINS_MAX, "login")

    async def open(self, token: str) -> Client:
        """Return a client with the session of a token.

        Raises:
            LoginsBusyError: too many logins wait, in all or with this token.
            SessionRefusedError, NoBridgeError: also without asking a bridge, if that was the answer a moment ago.
            NotATokenError, HomeError, ConnectError, RegistryError, KafkaException: as `Client.login`.
        """
        digest = token_digest(token)
        refused = self._refused.get(digest)
        if refused is not None and refused.until > time.monotonic():
            raise refused.error()
        if self._waiting >= self._waiting_max or self._of_one[digest] >= LOGINS_OF_ONE_MAX:
            raise LoginsBusyError
        self._waiting += 1
        self._of_one[digest] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._open, token)
        except (SessionRefusedError, NoBridgeError) as exc:
            reason = exc.reason if isinstance(exc, SessionRefusedError) else ""
            log.warning("a token is refused: %s", reason or type(exc).__name__)
            self._refused[digest] = _Refused(time.monotonic() + REFUSED_SECONDS, str(exc), reason)
            while len(self._refused) > REFUSED_MAX:
                self._refused.popitem(last=False)
            raise
        finally:
            self._waiting -= 1
            self._of_one[digest] -= 1
            self._of_one += Counter()  # drops those without any

    def close(self) -> None:
        """Begin no further login; those under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def token_digest(token: str) -> bytes:
    """Return the digest that stands for a token where the token itself must not be kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
