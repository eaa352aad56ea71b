"""Bringing questions to their channel: each is shown in its newest state, by one thread at a time, until it is shown.

A message that a channel does not take (it is down, slow, or redirects) is tried again after 2, 4, 8 … 60 s, while the
other messages go on. A channel that asks for a pause (429) gets nothing for that time, at most 5 minutes. The end of a
question is given up after ENDS_TRIED_MAX tries; a question is tried for as long as a call of it waits.
"""

from __future__ import annotations

import logging
import threading
import time

from schemas.errors import MacawError
from streams.approvals.channels import Channel
from streams.approvals.desk import QuestionDesk
from streams.approvals.posting import RETRY_AFTER_SECONDS_MAX, PostError

log = logging.getLogger(__name__)

THREADS = 4
PAUSE_SECONDS = 2.0
PAUSE_SECONDS_MAX = 60.0
ENDS_TRIED_MAX = 8
TELL_SECONDS = 10.0  # between two lines of the log about a channel that takes nothing
JOIN_SECONDS = 6.0


class Delivery:
    """The threads that speak with the channel. Its memory is bounded by the desk's open questions."""

    def __init__(self, channel: Channel, *, pause_s: float = PAUSE_SECONDS) -> None:
        """`pause_s` is the pause after a first failure, in seconds."""
        self._channel, self._pause_s = channel, pause_s
        self._desk: QuestionDesk | None = None
        self._ready = threading.Condition()
        self._due: dict[str, float] = {}  # question ids, with the monotonic time at which each is tried
        self._busy: set[str] = set()
        self._tries: dict[str, int] = {}
        self._paused_until = 0.0
        self._told_at = float("-inf")
        self._is_over = False
        self._threads = [threading.Thread(target=self._run, name="delivery", daemon=True) for _ in range(THREADS)]

    def start(self, desk: QuestionDesk) -> None:
        """Bring the questions of a desk to the channel from now on."""
        self._desk = desk
        for one in self._threads:
            one.start()

    def mark(self, key: str) -> None:
        """Have a question shown in its newest state, soon."""
        with self._ready:
            self._tries.pop(key, None)
            self._due[key] = time.monotonic()
            self._ready.notify()

    @property
    def is_alive(self) -> bool:
        """Whether every thread is there."""
        return all(one.is_alive() for one in self._threads)

    def close(self) -> None:
        """Send nothing any more. A message under way ends with its channel (`Poster.close`)."""
        with self._ready:
            self._is_over = True
            self._ready.notify_all()
        for one in self._threads:
            if one.ident is not None:
                one.join(JOIN_SECONDS)

    def _run(self) -> None:
        while (key := self._next()) is not None:
            try:
                self._show(key)
            finally:
                with self._ready:
                    self._busy.discard(key)
                    self._ready.notify()

    def _next(self) -> str | None:
        """Wait for a question that is due, and hold it; None at the end."""
        with self._ready:
            while not self._is_over:
                now = time.monotonic()
                free = [(at, key) for key, at in self._due.items() if key not in self._busy]
                at, key = min(free, default=(None, ""))
                at = None if at is None else max(at, self._paused_until)
                if at is not None and at <= now:
                    del self._due[key]
                    self._busy.add(key)
                    return key
                self._ready.wait(None if at is None else at - now)
            return None

    def _show(self, key: str) -> None:
        assert self._desk is not None
        wanted = self._desk.wanted(key)
        if wanted is None:
            self._tries.pop(key, None)
            return
        question, state, place = wanted
        if state.is_over and place is None:
            self._desk.give_up(key)  # nobody saw it, so nobody needs its end
            return
        try:
            place = self._channel.show(question, state, place)
        except PostError as exc:
            self._again(key, exc, is_over=state.is_over)
        except MacawError as exc:
            self._again(key, PostError(str(exc)), is_over=state.is_over)
        else:
            self._tries.pop(key, None)
            if self._desk.shown(key, state, place):
                self.mark(key)

    def _again(self, key: str, exc: PostError, *, is_over: bool) -> None:
        assert self._desk is not None
        with self._ready:
            now, tries = time.monotonic(), self._tries.get(key, 0) + 1
            self._tries[key] = tries
            if now - self._told_at >= TELL_SECONDS:
                self._told_at = now
                log.warning("a question could not be shown, and is tried again: %s", exc)
            if exc.retry_after_s is not None:
                self._paused_until = max(self._paused_until, now + min(exc.retry_after_s, RETRY_AFTER_SECONDS_MAX))
            if not (is_over and tries >= ENDS_TRIED_MAX):
                self._due.setdefault(key, now + min(self._pause_s * 2 ** min(tries - 1, 10), PAUSE_SECONDS_MAX))
                return
            del self._tries[key]
        self._desk.give_up(key)
