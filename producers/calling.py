"""One call that is under way: its first answer, its final one where people are asked in between, and leaving it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace

from producers.answers import Answer
from producers.appending import Fate, PublishError
from producers.outcomes import MalformedTimeError, NoAnswerError, no_result, not_yet
from producers.sent import Sent
from producers.waiting import Book, WaitingCall
from schemas import limits
from schemas.words import Outcome

log = logging.getLogger(__name__)

ANSWER_SECONDS = 100.0  # longer than a call may stay open with a tool of the default timeout


class OpenCall:
    """A call that was sent. What waits for it raises NoAnswerError, and PublishError where it is known never to come.

    `kept` is how to come back to it, once it was left or waits for people: it is written down by then.
    """

    def __init__(self, sent: Sent, book: Book, *, begins: bool = True) -> None:
        """`begins`: it may begin when nobody has waited for it for long."""
        self.sent, self._book, self._begins = sent, book, begins
        self.resource = sent.resource or ""
        self.kept: WaitingCall | None = None

    @property
    def event_id(self) -> str:
        """The id of its event in hex; empty for the moment until it is drafted."""
        return self.sent.event_id.hex()

    def first(self, seconds: float) -> Answer:
        """Return the final answer, or that the call waits."""
        self.sent.check_process()
        wait({self.sent.answer, self.sent.pending}, waited(seconds), FIRST_COMPLETED)
        return self._first(seconds)

    async def first_async(self, seconds: float) -> Answer:
        """Return as `first`. A task that is cancelled meanwhile leaves the call: it is `kept`."""
        self.sent.check_process()
        await _any_of((self.sent.answer, self.sent.pending), waited(seconds))
        if self.sent.answer.done() or self.sent.pending.done():
            return self._first(seconds)
        return await asyncio.to_thread(self._first, seconds)

    def _first(self, seconds: float) -> Answer:
        """Return what there is, or leave the call."""
        sent = self.sent
        if not sent.answer.done() and sent.pending.done():
            return sent.pending.result()
        if not sent.answer.done() and sent.give_up():
            raise self._unanswered(f"was not answered within {seconds:g} s")
        try:
            return sent.answer.result()
        except PublishError as exc:
            if exc.never_sent:
                raise
            raise self._unanswered(f"cannot be followed: {exc}") from exc

    def _unanswered(self, why: str) -> NoAnswerError:
        fate = self.sent.settle()
        kept = None if fate is Fate.NEVER_SENT else self.leave()
        return no_result(self.resource, why, fate, self.event_id, kept, begins=self._begins)

    def last(self, kept: WaitingCall, seconds: float, approval_seconds: float | None) -> Answer:
        """Return the final answer of a call that waits: until its time is over, and `seconds` more for its tool.

        At most `approval_seconds` in all, where that is given.
        """
        self.sent.check_process()
        try:
            return self.sent.answer.result(_patience(kept, seconds, approval_seconds))
        except FutureTimeoutError:
            return self._last(kept)

    async def last_async(self, kept: WaitingCall, seconds: float, approval_seconds: float | None) -> Answer:
        """Return as `last`."""
        self.sent.check_process()
        await _any_of((self.sent.answer,), _patience(kept, seconds, approval_seconds))
        return self.sent.answer.result() if self.sent.answer.done() else self._last(kept)

    def _last(self, kept: WaitingCall) -> Answer:
        if self.sent.give_up():
            raise not_yet(kept, is_kept=self.kept is not None)
        return self.sent.answer.result()

    def keep(self, answer: Answer | None) -> WaitingCall:
        """Write down how to come back to a call, as it was answered, and return that.

        It is `kept` unless it cannot be written: a full disk is no reason not to wait for its answer.
        """
        told = self._book.described(self.sent, answer)
        if self.kept is not None:
            told = replace(told, ends_session=self.kept.ends_session)
        try:
            self._book.write(told)
        except OSError as exc:
            log.warning("the call %s cannot be written down, so nobody can come back to it: %s", told.event_id, exc)
        else:
            self.kept = told
        return told

    def leave(self, why: Exception | None = None) -> WaitingCall | None:
        """Listen no longer, and write down how to come back; None where it has its answer, or was never sent.

        `why` is told to whoever waits in another thread. None too where it cannot be written down.
        """
        if self.sent.is_elsewhere:
            return None  # it is the parent's, which waits on
        unanswered = self.sent.give_up(why)
        if self.kept is None and unanswered and self.sent.event and self.sent.fate is not Fate.NEVER_SENT:
            self.keep(None)
        return self.kept if unanswered else None


async def _any_of(futures: Sequence[Future[Answer]], seconds: float) -> None:
    """Wait until one of them is done, or for so long. What it carries stays with it."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Answer]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits in it
            loop.call_soon_threadsafe(event.set)

    for future in futures:
        future.add_done_callback(wake)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def waits(answer: Answer) -> bool:
    """Whether an answer says that people are asked first."""
    return answer.result.outcome == Outcome.PENDING


def waited(seconds: float) -> float:
    """Return for how long to wait for an answer: no call stays open for longer than a session lives.

    Raises:
        MalformedTimeError: it is not a number.
    """
    longest = min(seconds, limits.SESSION_TTL_MS_MAX / 1000)
    if math.isnan(longest):
        raise MalformedTimeError("want a number of seconds to wait for an answer")
    return longest


def _patience(call: WaitingCall, seconds: float, at_most: float | None) -> float:
    """Return for how long to wait. The time is the monitor's word: no session lives longer than a day."""
    left_ms = (call.until or 0) - time.time_ns() // 1_000_000
    patience = min(max(left_ms, 0), limits.SESSION_TTL_MS_MAX) / 1000 + waited(seconds)
    return patience if at_most is None else min(patience, at_most)
