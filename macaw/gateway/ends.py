"""The ends of users' sessions, as the log tells them: an ended session is dropped, and its token opens no other one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from schemas.errors import MacawError
from schemas.reasons import Reason

if TYPE_CHECKING:
    from macaw.gateway.callers import Caller

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0  # between two looks at the log; the view behind them is as old again at most
SPENT_MAX: Final = 65_536  # tokens whose session was ended; the oldest is forgotten

OVER: Final = frozenset({Reason.EXPIRED_SESSION, Reason.REVOKED_KEY, Reason.UNKNOWN_KEY})
"""With these the log refuses every event of a session that is over, its provider's distrust included."""


class SpentTokens:
    """Digests of tokens of sessions that were ended on the log, each until the token's own end."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def add(self, digest: bytes, until: float) -> None:
        """Refuse a token from now on; `until` is in seconds since the epoch."""
        self._until[digest] = max(until, self._until.get(digest, 0.0))
        while len(self._until) > SPENT_MAX:
            self._until.popitem(last=False)

    def __contains__(self, digest: object) -> bool:
        until = self._until.get(digest) if isinstance(digest, bytes) else None
        if until is None or not isinstance(digest, bytes):
            return False
        if until <= time.time():
            del self._until[digest]
            return False
        return True


async def watch_ends(open_now: Callable[[], Sequence[Caller]]) -> None:
    """Mark callers with a session that the log has ended, until cancelled.

    While the log cannot be read nothing is marked: no call is decided then either.
    """
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        callers = open_now()
        if not callers:
            continue
        try:
            over = await asyncio.to_thread(_ended_of, callers)
        except MacawError as exc:
            log.warning("whether sessions of users were ended is not known: %s", exc)
            continue
        for one in over:
            log.info("a session of %s was ended on the log, and is not served any more", one.principal_id)
            one.lose()


def _ended_of(callers: Sequence[Caller]) -> list[Caller]:
    """Return those with a session that was ended before its time. Raises RegistryError."""
    sessions = callers[0].client.client.connection.link.sessions
    return [one for one in callers if sessions.is_ended(one.session_id)]
