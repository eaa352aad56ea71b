"""One call that is under way: its first answer, its final one where people are asked in between, and leaving it.

Each way of waiting stands here twice, for threads and for asyncio; everything else is written once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict

from producers.client.cancelled import in_thread
from producers.client.inputs import MalformedTimeError
from producers.client.kept_calls import Book
from producers.home.clock import LogClock, clock_ms
from producers.kafka.answers import Answer
from producers.kafka.appending import Fate, PublishError
from producers.kafka.outcomes import CallError, NoAnswerError, ResultMissingError, no_result, not_yet, result_of
from producers.kafka.sent import Sent
from producers.kafka.waiting import WaitingCall
from schemas import limits
from schemas.words import Outcome

log = logging.getLogger(__name__)

ANSWER_SECONDS = 100.0  # longer than a call may stay open with a tool of the default timeout

OnPending = Callable[[WaitingCall], None]
Give = Callable[[Any], object]


class Waiting(TypedDict, total=False):
    """The arguments that make a CallPatience."""

    seconds: float
    approval_seconds: float | None
    on_pending: OnPending | None
    give: Give | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPatience:
    """How a caller waits for a call.

    `seconds` is for the monitor and the tool. While people or verifiers are asked the wait lasts until their time is
    over, or `approval_seconds` in all where they are given; `on_pending` is called first, with the way back to the
    call, and again where the call then waits for something else. `give` is
    called with the result before the way back is removed; if it raises, the way back stays.
    """

    seconds: float = ANSWER_SECONDS
    approval_seconds: float | None = None
    on_pending: OnPending | None = None
    give: Give | None = None

    def note_pending(self, kept: WaitingCall) -> None:
        """Call `on_pending`, if there is one."""
        if self.on_pending is not None:
            self.on_pending(kept)


class OpenCall:
    """A call that was sent. Waiting for it raises NoAnswerError, or PublishError if it is known that it never left.

    `kept` is how to come back to it, once it was left or waits for people: it is written down by then.
    """

    def __init__(self, sent: Sent, book: Book, clock: LogClock, *, begins: bool = True) -> None:
        """Follow `sent`. With `begins` the call may begin even after a long wait; `clock` learns the log's time."""
        self.sent, self._book, self._clock, self._begins = sent, book, clock, begins
        self.resource = sent.resource or ""
        self.kept: WaitingCall | None = None
        self._is_given_out = False

    @property
    def event_id(self) -> str:
        """The id of its event in hex; empty until it is drafted, a moment after it was begun."""
        return self.sent.event_id.hex()

    # --- the whole call

    def finish(self, patience: CallPatience) -> Any:
        """Wait for the call and return its result. Raises as `Client.invoke`."""
        try:
            answer = self.first(patience.seconds)
            if waits(answer):
                kept = self.keep(answer)
                patience.note_pending(kept)
                answer = self.last(kept, patience)
        except BaseException:
            self.leave()
            raise
        return self._given(answer, patience.give)

    async def finish_async(self, patience: CallPatience) -> Any:
        """Wait as `finish`. `on_pending` is called in the event loop, `give` in another thread.

        A task that is cancelled meanwhile leaves the call.
        """
        try:
            answer = await self.first_async(patience.seconds)
            if waits(answer):
                kept = await asyncio.to_thread(self.keep, answer)
                patience.note_pending(kept)
                answer = await self.last_async(kept, patience)
        except BaseException:
            self.leave()
            raise
        return await in_thread(partial(self._given, answer, patience.give), self._unheard)

    def detach(self, seconds: float) -> WaitingCall | Answer:
        """Return the final answer, or the way back to the call where people are asked first."""
        try:
            answer = self.first(seconds)
        except BaseException:
            self.leave()
            raise
        return self._detached(answer)

    async def detach_async(self, seconds: float) -> WaitingCall | Answer:
        """Return as `detach`. A task that is cancelled meanwhile leaves the call."""
        try:
            answer = await self.first_async(seconds)
        except BaseException:
            self.leave()
            raise
        return await in_thread(partial(self._detached, answer), self._unheard)

    def _unheard(self, _: object) -> None:
        """Write down how to come back to a call whose task was cancelled before it heard of the end."""
        if not self._is_given_out and self.event_id not in self._book.left:
            self.keep(None)

    def _detached(self, answer: Answer) -> WaitingCall | Answer:
        if not waits(answer):
            return self._ended(answer)
        kept = self.keep(answer)
        self.leave()
        if self.kept is None:
            raise not_yet(kept, is_kept=False)
        return kept

    def _given(self, answer: Answer, give: Give | None) -> Any:
        """Return the result of a call that has ended, once it was given out. Raises CallError, and as `give` does."""
        try:
            result = result_of(answer)
            if give is not None:
                give(result)
                self._is_given_out = True
        except ResultMissingError:
            if self.kept is None:
                self.keep(None)
            raise
        except CallError:
            self._ended(answer)  # the error says how
            raise
        except BaseException:
            if self.kept is None:
                self.keep(None)
            raise
        self._ended(answer)
        return result

    def _ended(self, answer: Answer) -> Answer:
        """Return the final answer, and remove the way back: it is not needed any more."""
        if self.kept is not None:
            self._book.strike(self.kept)
        return answer

    # --- its answers

    def first(self, seconds: float) -> Answer:
        """Return the final answer, or the one that says that the call waits for people."""
        self.sent.check_process()
        self.sent.await_first(waited(seconds))
        return self._first(seconds)

    async def first_async(self, seconds: float) -> Answer:
        """Return as `first`. A task that is cancelled meanwhile leaves the call: it is `kept`."""
        self.sent.check_process()
        await any_of((self.sent.answer, self.sent.pending), waited(seconds))
        if self.sent.answer.done() or self.sent.pending.done():
            return self._first(seconds)
        return await asyncio.to_thread(self._first, seconds)

    def _first(self, seconds: float) -> Answer:
        """Return the answer that has come and learn the log's time from it, or leave the call."""
        answer = self._heard(seconds)
        if self.sent.sent_ms:
            self._clock.note(self.sent.sent_ms, answer.result.at, clock_ms())
        return answer

    def _heard(self, seconds: float) -> Answer:
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

    def last(self, kept: WaitingCall, patience: CallPatience) -> Answer:
        """Return the final answer of a call that waits: until its time is over, and `seconds` more for its tool."""
        sent, told, began = self.sent, self.sent.pending, time.monotonic()
        sent.check_process()
        while True:
            told = told.later
            sent.await_first(self._left(kept, patience, began), told)
            if sent.answer.done() or not told.done():
                return self._last(kept)
            kept = self.keep(told.result())  # it waited for verdicts, and now waits for people
            patience.note_pending(kept)

    async def last_async(self, kept: WaitingCall, patience: CallPatience) -> Answer:
        """Return as `last`."""
        sent, told, began = self.sent, self.sent.pending, time.monotonic()
        sent.check_process()
        while True:
            told = told.later
            await any_of((sent.answer, told), self._left(kept, patience, began))
            if sent.answer.done() or not told.done():
                return self._last(kept)
            kept = await asyncio.to_thread(self.keep, told.result())
            patience.note_pending(kept)

    @staticmethod
    def _left(kept: WaitingCall, patience: CallPatience, began: float) -> float:
        """Return for how many seconds to wait on; the patience for people began at `began`."""
        most = patience.approval_seconds
        return _patience(kept, patience.seconds, None if most is None else most - (time.monotonic() - began))

    def _last(self, kept: WaitingCall) -> Answer:
        if not self.sent.answer.done() and self.sent.give_up():
            raise not_yet(kept, is_kept=self.kept is not None)
        return self.sent.answer.result()

    def patience_for(self, kept: WaitingCall, patience: CallPatience) -> float:
        """Return for how many seconds to wait for a call that waits for people, its tool included."""
        return _patience(kept, patience.seconds, patience.approval_seconds)

    def end(self, answer: Answer) -> None:
        """Take note of the final answer: the way back is not needed any more."""
        self._ended(answer)

    # --- leaving it, and coming back

    def take_up(self, kept: WaitingCall) -> None:
        """Take up a call that was left before: listen for its answers again."""
        self.sent.listen(bytes.fromhex(kept.event_id), bytes.fromhex(kept.event))
        self.kept = self._book.left[kept.event_id] = kept

    def keep(self, answer: Answer | None) -> WaitingCall:
        """Write down how to come back to a call, as it was answered, and return that.

        It is `kept` unless it cannot be written: a full disk is no reason not to wait for its answer.
        """
        described = self._book.described(self.sent, answer)
        if self.kept is not None:
            described = replace(described, ends_session=self.kept.ends_session)
        try:
            self._book.write(described)
        except OSError as exc:
            log.warning(
                "the call %s cannot be written down, so its result cannot be fetched later: %s", described.event_id, exc
            )
        else:
            self.kept = described
        return described

    def leave(self, why: Exception | None = None) -> WaitingCall | None:
        """Listen no longer and write down how to come back.

        Return None if the call has its answer, was never sent, or cannot be written down. Another thread that waits for
        it gets `why`.
        """
        if self.sent.is_elsewhere:
            return None  # it is the parent's, which waits on
        unanswered = self.sent.give_up(why)
        if self.kept is None and unanswered and self.sent.event and self.sent.fate is not Fate.NEVER_SENT:
            self.keep(None)
        return self.kept if unanswered else None


async def any_of(futures: Sequence[Future[Any]], seconds: float) -> None:
    """Wait until one of the futures is done, or for `seconds`; raise nothing that a future carries."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Any]) -> None:
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
        raise MalformedTimeError("the time to wait for an answer must be a number of seconds, got NaN")
    return longest


def _patience(call: WaitingCall, seconds: float, at_most: float | None) -> float:
    """Return for how long to wait. The call's `until` is the monitor's word: no session lives longer than a day."""
    left_ms = (call.until or 0) - clock_ms()
    patience = min(max(left_ms, 0), limits.SESSION_TTL_MS_MAX) / 1000 + waited(seconds)
    return patience if at_most is None else min(patience, at_most)
