"""The calls that a session began, so that none begins twice, also under two signed decisions."""

from __future__ import annotations

import threading
from collections import OrderedDict

from producers.tools.admission import EVENT_AHEAD_MS_MAX
from schemas import limits

KEPT_MAX = 100_000
# No session that could have asked is open any more; until then a call may come again, with an approval of later.
KEPT_MS = limits.SESSION_TTL_MS_MAX + 2 * EVENT_AHEAD_MS_MAX


class BegunCalls:
    """Remembers the events of calls that began, at most KEPT_MAX of them. Thread-safe."""

    def __init__(self, most: int = KEPT_MAX) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._begun: OrderedDict[bytes, int] = OrderedDict()  # the event of a call: when it began (ms)
        self._forgotten = -EVENT_AHEAD_MS_MAX - 1  # when the latest of those began that were forgotten for want of room

    def begin(self, event: bytes, issued_at: int, *, now_ms: int) -> bool:
        """Note that the call with this event begins now; False if it began before, or that is not known any more."""
        with self._lock:
            while self._begun and next(iter(self._begun.values())) + KEPT_MS < now_ms:
                self._begun.popitem(last=False)
            # An event is admitted a little before it was issued, by our clock.
            if event in self._begun or issued_at <= self._forgotten + EVENT_AHEAD_MS_MAX:
                return False
            self._begun[event] = now_ms
            if len(self._begun) > self._most:
                self._forgotten = max(self._forgotten, self._begun.popitem(last=False)[1])
            return True
