"""The calls that a session began, so that none begins twice, also under two signed decisions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from producers.kafka.digests import Digests
from producers.tools.admission import EVENT_AHEAD_MS_MAX
from schemas import limits

KEPT_MAX = 200_000  # calls, about 8 MiB; half of them at least are remembered
# No session that could have asked is open any more; until then a call may come again, with an approval of later.
KEPT_MS = limits.SESSION_TTL_MS_MAX + 2 * EVENT_AHEAD_MS_MAX


@dataclass(slots=True)
class _Span:
    """The events of the calls that began from one time on; the latest began at `last`."""

    since: int
    last: int
    events: Digests = field(default_factory=Digests)


class BegunCalls:
    """Remembers the events of calls that began, at most KEPT_MAX of them, about 40 bytes for each. Thread-safe.

    They stand in two spans of time, which are forgotten whole: an event is kept for KEPT_MS at least, twice that at
    most. Where there are more calls, the older span is forgotten early, and no call from its time begins any more.
    """

    def __init__(self, most: int = KEPT_MAX) -> None:
        self._most = max(1, most // 2)  # of one span
        self._lock = threading.Lock()
        self._older: _Span | None = None
        self._newer: _Span | None = None
        self._forgotten = -EVENT_AHEAD_MS_MAX - 1  # when the latest of those began that were forgotten for want of room

    def __len__(self) -> int:
        """The number of events that are remembered."""
        return sum(len(one.events) for one in (self._older, self._newer) if one is not None)

    def begin(self, event: bytes, issued_at: int, *, now_ms: int) -> bool:
        """Note that the call with this event begins now; False if it began before, or that is not known any more."""
        with self._lock:
            self._forget_old(now_ms)
            # An event is admitted a little before it was issued, by our clock.
            if self._knows(event) or issued_at <= self._forgotten + EVENT_AHEAD_MS_MAX:
                return False
            if self._newer is None:
                self._newer = _Span(now_ms, now_ms)
            self._newer.events.add(event)
            self._newer.last = max(self._newer.last, now_ms)
            if len(self._newer.events) >= self._most:
                if self._older is not None:
                    self._forgotten = max(self._forgotten, self._older.last)
                self._older, self._newer = self._newer, None
            return True

    def _knows(self, event: bytes) -> bool:
        return any(one is not None and event in one.events for one in (self._older, self._newer))

    def _forget_old(self, now_ms: int) -> None:
        if self._older is not None and self._older.last + KEPT_MS < now_ms:
            self._older = None
        if self._older is None and self._newer is not None and self._newer.since + KEPT_MS < now_ms:
            self._older, self._newer = self._newer, None
