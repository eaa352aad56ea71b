"""Logins that a bridge refused, on their way to the log: those of one reason and issuer are told together.

Each writer of the topic can have any number of logins refused. On the log each reason of each trusted issuer has
at most one record in TELL_SECONDS, with the count; the first one is told at once. All of them together have at most
TOLD_MAX records in that time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from schemas.events.logins import LoginRefused

TELL_SECONDS = 5.0
TOLD_MAX = 20  # records in TELL_SECONDS, of all kinds together; the others wait, with their counts
KINDS_MAX = 4096  # of pairs of an issuer and a reason: above what 64 issuers and all reasons make


@dataclass(slots=True)
class _Kind:
    told_at: float
    first: bytes
    count: int


class RefusedLogins:
    """Counts refused logins and tells the log of them. Thread-safe."""

    def __init__(self, tell: Callable[[LoginRefused], object], clock: Callable[[], float] = time.monotonic) -> None:
        """`tell` publishes an event, without waiting. `clock` is in seconds."""
        self._tell, self._clock = tell, clock
        self._kinds: dict[tuple[str | None, str], _Kind] = {}
        self._told: deque[float] = deque(maxlen=TOLD_MAX)
        self._lock = threading.Lock()

    def note(self, issuer: str | None, reason: str, login: bytes) -> None:
        """Take note of a refused login. `issuer` is None unless the tenant trusts it: no other text may be told."""
        now = self._clock()
        with self._lock:
            kind = self._kinds.get((issuer, reason))
            if kind is None and len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()  # cannot happen while reasons and issuers are bounded; then some are told early
            if kind is None:
                self._kinds[issuer, reason] = kind = _Kind(float("-inf"), login, 0)
            if not kind.count:
                kind.first = login
            kind.count += 1
            due = self._due(issuer, reason, kind, now)
        self._say(due)

    def tend(self, *, at_once: bool = False) -> None:
        """Tell of the kinds that are due; with `at_once` of all."""
        now = self._clock()
        with self._lock:
            due = [
                one
                for (issuer, reason), kind in list(self._kinds.items())
                for one in self._due(issuer, reason, kind, float("inf") if at_once else now)
            ]
        self._say(due)

    def _due(self, issuer: str | None, reason: str, kind: _Kind, now: float) -> list[LoginRefused]:
        if not kind.count or now - kind.told_at < TELL_SECONDS:
            return []
        if len(self._told) == TOLD_MAX and now - self._told[0] < TELL_SECONDS:
            return []
        self._told.append(min(now, self._clock()))
        told = LoginRefused(issuer=issuer, reason=reason, login=kind.first, count=kind.count)
        kind.told_at, kind.count = min(now, self._clock()), 0
        return [told]

    def _say(self, due: list[LoginRefused]) -> None:
        for one in due:
            self._tell(one)
