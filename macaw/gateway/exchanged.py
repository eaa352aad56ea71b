"""The exchanged tokens of the callers of a gateway: in memory, one for each session, until shortly before its end.

A user's own token is held for the time of one exchange. The front presents it with each request; an exchange begins
when the session has no token for the server, or its token has little time left. A request that waits for one that
failed is refused by name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from macaw.gateway.exchange import SECONDS, Exchanged, ExchangeError, ExchangeReason, ExchangeSettings, exchange
from streams.bridge.fetching import Fetcher

log = logging.getLogger(__name__)

KEPT_MAX: Final = 4096  # sessions; the one that was used least recently gives way
AT_ONCE: Final = 8
WAITING_MAX: Final = 256
OF_ONE_MAX: Final = 2  # exchanges of one principal at once
RETRY_SECONDS: Final = 5.0  # after a failure, for one session
RENEW_AT: Final = 0.75  # of a token's life, the next one is fetched
USED_UNTIL: Final = 0.95  # of it, it is used at most


class _Kept:
    """The token of one session, or the error of its last exchange."""

    __slots__ = ("error", "good_until", "renew_at", "task", "token", "tried_at")

    def __init__(self) -> None:
        self.token = ""
        self.good_until = self.renew_at = self.tried_at = 0.0  # by time.monotonic
        self.error: ExchangeError | None = None
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return "_Kept()"


class ExchangedTokens:
    """Tokens for one server, by session. `present` and `ready` run in one event loop, `header` in any thread."""

    def __init__(self, exchange: Callable[[str], Exchanged]) -> None:
        """`exchange` blocks, in a thread of its own; it raises ExchangeError."""
        self._exchange = exchange
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(AT_ONCE, "exchange")

    def present(self, session_id: bytes, principal_id: str, token: str, seconds_left: float | None) -> None:
        """Take a request's verified token, and begin an exchange where one is due."""
        now = time.monotonic()
        kept = self._kept.get(session_id)
        if kept is None:
            kept = self._kept[session_id] = _Kept()
            self._drop_old(now)
        self._kept.move_to_end(session_id)
        if kept.task is not None or now < kept.renew_at:
            return
        if kept.error is not None and now < kept.tried_at + RETRY_SECONDS:
            return
        kept.tried_at = now
        if self._running[principal_id] >= OF_ONE_MAX or self._running.total() >= WAITING_MAX:
            kept.error = ExchangeError(ExchangeReason.EXCHANGE_BUSY)
            return
        self._running[principal_id] += 1
        kept.task = asyncio.create_task(self._fetch(kept, principal_id, token, seconds_left))

    async def _fetch(self, kept: _Kept, principal_id: str, token: str, seconds_left: float | None) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._exchange, token)
        except ExchangeError as exc:
            log.warning("a token of %s is not exchanged: %s", principal_id, exc)
            kept.error = exc.again()
        except Exception as exc:  # noqa: BLE001 - its text may quote the request: the class alone is told
            log.error("a token of %s is not exchanged: %s", principal_id, type(exc).__name__)  # noqa: TRY400
            kept.error = ExchangeError(ExchangeReason.EXCHANGE_UNAVAILABLE)
        else:
            seconds = found.seconds if seconds_left is None else min(found.seconds, seconds_left)
            now = time.monotonic()
            kept.token, kept.error = found.token, None
            kept.renew_at, kept.good_until = now + RENEW_AT * seconds, now + USED_UNTIL * seconds
        finally:
            kept.task = None
            self._running[principal_id] -= 1
            self._running += Counter()  # drops those without any

    async def ready(self, session_id: bytes) -> None:
        """Wait until a session has a usable token. Raises ExchangeError."""
        kept = self._kept.get(session_id)
        if kept is not None and kept.task is not None and time.monotonic() >= kept.good_until:
            await asyncio.wait({kept.task}, timeout=SECONDS + 5)
        self.header(session_id)

    def header(self, session_id: bytes) -> dict[str, str]:
        """Return the header for a session's requests. Raises ExchangeError."""
        kept = self._kept.get(session_id)
        if kept is None:
            raise ExchangeError(ExchangeReason.EXCHANGE_MISSING)
        if kept.token and time.monotonic() < kept.good_until:
            return {"Authorization": f"Bearer {kept.token}"}
        raise ExchangeError(ExchangeReason.EXCHANGE_MISSING) if kept.error is None else kept.error.again()

    def forget(self, session_id: bytes) -> None:
        """Forget the token of a session that is over."""
        self._kept.pop(session_id, None)

    def _drop_old(self, now: float) -> None:
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        oldest = next(iter(self._kept.values()))
        if oldest.task is None and oldest.token and oldest.good_until < now:
            self._kept.popitem(last=False)

    def close(self) -> None:
        """Forget every token."""
        self._kept.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)


def exchanging(settings: ExchangeSettings) -> ExchangedTokens:
    """Return tokens that are exchanged as these settings say."""
    return ExchangedTokens(partial(exchange, Fetcher(), settings))
