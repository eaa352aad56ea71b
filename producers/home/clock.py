"""Log time, as far as a client can tell it: deadlines are judged by the brokers' clock, not by ours."""

from __future__ import annotations

import threading
import time

from schemas import limits


class LogClock:
    """The difference between log time and this machine's clock: the smallest that the answers allow, 0 without answers.

    The time of an answer lies between sending the question and hearing it. A difference beyond the clock error that the
    log accepts is not corrected. Thread-safe.
    """

    def __init__(self) -> None:
        self._ahead_ms = 0
        self._lock = threading.Lock()

    def note(self, sent_ms: int, at_ms: int, heard_ms: int) -> None:
        """Take note of an answer: its log time, and our clock when the question was sent and the answer heard."""
        with self._lock:
            ahead = min(max(self._ahead_ms, at_ms - heard_ms), at_ms - sent_ms)
            self._ahead_ms = min(max(ahead, -limits.ISSUED_AHEAD_MS_MAX), limits.ISSUED_BEHIND_MS_MAX)

    def after(self, seconds: float) -> int:
        """Return the log time so many seconds from now, in ms."""
        return clock_ms() + self._ahead_ms + int(seconds * 1000)


def clock_ms() -> int:
    """Return this machine's time in ms since the epoch."""
    return time.time_ns() // 1_000_000
