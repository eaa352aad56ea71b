"""One call that is under way: its first answer, and its final one where people are asked in between."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from producers.answers import PENDING, Answer
from producers.outcomes import no_result, not_yet
from schemas import limits

if TYPE_CHECKING:
    from producers.waiting import WaitingCall

ANSWER_SECONDS = 100.0  # longer than a call may stay open with a tool of the default timeout


class OpenCall:
    """A call that was sent. Its waiting methods raise NoAnswerError, and PublishError where it never was."""

    def __init__(self, resource: str, final: Future[Answer], pending: Future[Answer]) -> None:
        self._resource, self._final, self._pending = resource, final, pending

    def first(self, seconds: float) -> Answer:
        """Return the final answer, or that the call waits."""
        done, _ = wait({self._final, self._pending}, seconds, FIRST_COMPLETED)
        return self._first(bool(done), seconds)

    async def first_async(self, seconds: float) -> Answer:
        """Return as `first`."""
        both = {asyncio.wrap_future(self._final), asyncio.wrap_future(self._pending)}
        try:
            done, _ = await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.abandon()
            raise
        return self._first(bool(done), seconds)

    def _first(self, done: bool, seconds: float) -> Answer:  # noqa: FBT001 - private, and said once
        if not done:
            self.abandon()
            raise no_result(self._resource, seconds)
        return self._final.result() if self._final.done() else self._pending.result()

    def last(self, call: WaitingCall, seconds: float, approval_seconds: float | None) -> Answer:
        """Return the final answer of a call that waits: until its time is over, and `seconds` more for its tool.

        At most `approval_seconds` in all, where that is given.
        """
        try:
            return self._final.result(_patience(call, seconds, approval_seconds))
        except FutureTimeoutError:
            self.abandon()
            raise not_yet(call.resource, call.event_id) from None

    async def last_async(self, call: WaitingCall, seconds: float, approval_seconds: float | None) -> Answer:
        """Return as `last`."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._final), _patience(call, seconds, approval_seconds))
        except TimeoutError:
            self.abandon()
            raise not_yet(call.resource, call.event_id) from None

    def abandon(self) -> None:
        """Listen no longer."""
        self._final.cancel()
        self._pending.cancel()


def waits(answer: Answer) -> bool:
    """Whether an answer says that people are asked first."""
    return answer.result.outcome == PENDING


def _patience(call: WaitingCall, seconds: float, at_most: float | None) -> float:
    """Return for how long to wait. The time is the monitor's word: no session lives longer than a day."""
    left_ms = call.until - time.time_ns() // 1_000_000
    patience = min(max(left_ms, 0), limits.SESSION_TTL_MS_MAX) / 1000 + seconds
    return patience if at_most is None else min(patience, at_most)
