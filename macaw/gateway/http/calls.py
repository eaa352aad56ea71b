"""The calls of one login: each goes on when its request has ended, so that its program can come back for its end.

A call that has no answer when its request stops waiting does not begin any more (`Client.invoke`); its end is listened
for all the same, for it may have begun. Calls are found by their ids in the login that made them, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from confluent_kafka import KafkaException
from starlette.responses import JSONResponse, Response

from macaw.gateway.http import bounds
from macaw.gateway.http.refusing import call_unknown, log_unavailable, refusal_for, result_unreadable, unanswered
from producers.client.open_call import CallPatience, OpenCall, any_of
from producers.kafka.appending import Fate
from producers.kafka.outcomes import CallError, FailedError
from producers.kafka.waiting import WaitingCall
from schemas.errors import MacawError
from schemas.words import Outcome
from streams.http import HTTPRefusal

log = logging.getLogger(__name__)


class KeptCall:
    """One call, with a task that listens for its end."""

    def __init__(self, call: OpenCall) -> None:
        self._call: OpenCall | None = call  # until its end is known
        self._ids: dict[str, str] = {}
        self._told = asyncio.Event()  # that it waits, or has ended
        self.waiting: WaitingCall | None = None  # for people or verifiers
        self.answer: Response | HTTPRefusal | None = None  # its end, once it is known
        self.task = asyncio.ensure_future(self._end(call))
        self.task.add_done_callback(self._on_done)

    @property
    def ids(self) -> dict[str, str]:
        """The members of an answer that name it: the event, and the digest by which approvers know it."""
        if self._call is not None:
            self._ids = ids_of(self._call)
        return self._ids

    @property
    def size(self) -> int:
        """The bytes of the answer that is kept."""
        return len(bytes(self.answer.body)) if isinstance(self.answer, Response) else 0

    async def wait(self, seconds: float, *, for_end: bool = False) -> Response:
        """Return the end of the call, or 202 where it waits for people. Raises HTTPRefusal for every other end.

        With `for_end` it is waited for even while people are asked.
        """
        if for_end:
            await asyncio.wait({self.task}, timeout=seconds)
        elif self.waiting is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), seconds)
        if self.answer is None and self.waiting is None:
            await self._give_up()
        if self.answer is None and self.waiting is not None:
            return JSONResponse(waits(self.ids, self.waiting), HTTPStatus.ACCEPTED)
        if isinstance(self.answer, Response):
            return self.answer
        raise self.answer or unanswered(self.ids)

    async def _give_up(self) -> None:
        """Raise HTTPRefusal: the call has no answer in time. One that has not left does not leave any more."""
        if self._call is None:
            return
        sent = self._call.sent
        fate = sent.fate
        if fate is not Fate.APPENDED:
            sent.take_back()
            fate = await asyncio.to_thread(sent.settle)
        if fate is Fate.NEVER_SENT and self.answer is None:
            self.task.cancel()
            raise log_unavailable()
        if self.answer is None:
            raise unanswered(self.ids)

    async def _end(self, call: OpenCall) -> Response | HTTPRefusal:
        """Return the answer for the call, once it has ended."""
        patience = CallPatience(seconds=bounds.FOLLOW_SECONDS, on_pending=self._on_pending)
        try:
            result = await call.finish_async(patience)
            return await asyncio.to_thread(JSONResponse, {**self.ids, "outcome": Outcome.OK, "result": result})
        except FailedError as exc:
            return JSONResponse({**self.ids, "outcome": Outcome.FAILED, **failure_of(exc)})
        except (MacawError, KafkaException) as exc:
            return refusal_for(exc, self.ids)
        except ValueError:  # `NaN`, or half a character
            return result_unreadable(self.ids)

    def _on_pending(self, kept: WaitingCall) -> None:
        self.waiting = kept
        self._told.set()

    def _on_done(self, task: asyncio.Task[Response | HTTPRefusal]) -> None:
        never_sent = self._call is not None and self._call.sent.fate is Fate.NEVER_SENT
        self._ids, self._call = self.ids, None
        if not task.cancelled() and task.exception() is None:
            self.answer = task.result()
        else:  # its session has ended, or its end cannot be told: it may have run all the same
            if not task.cancelled():
                log.error("the end of a call cannot be told: %s", type(task.exception()).__name__)
            self.answer = log_unavailable(self._ids) if never_sent else unanswered(self._ids)
        self.waiting = None
        self._told.set()


class HeldCalls:
    """The calls of one login by their ids, the oldest first."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        """Hold none yet; `on_end` is called once for each, when it is over."""
        self._held: dict[str, KeptCall] = {}
        self._under_way: set[KeptCall] = set()
        self._on_end, self._is_closed = on_end, False
        self.kept_bytes = 0  # of the ends that are kept

    @property
    def under_way(self) -> int:
        """The number of those without their end."""
        return len(self._under_way)

    async def hold(self, call: OpenCall, seconds: float) -> KeptCall:
        """Hold a call that was begun, once it has its id. Raises HTTPRefusal if it is not sent within `seconds`."""
        held = KeptCall(call)
        self._under_way.add(held)
        held.task.add_done_callback(lambda _: self._ended(held))
        await any_of((call.sent.drafted, call.sent.answer), seconds)
        if not call.event_id:
            await held.wait(0)
            raise log_unavailable()
        if self._is_closed:  # its session has ended meanwhile, so nobody can come back
            held.task.cancel()
        else:
            self._held[call.event_id] = held
        return held

    def find(self, call_id: str) -> KeptCall:
        """Return a call of this login. Raises HTTPRefusal 404."""
        held = self._held.get(call_id)
        if held is None:
            raise call_unknown()
        return held

    def close(self) -> None:
        """Listen for no call any more, and for none that comes later."""
        self._is_closed = True
        for held in list(self._under_way):
            held.task.cancel()
        self._held.clear()
        self.kept_bytes = 0

    def _ended(self, held: KeptCall) -> None:
        self._under_way.discard(held)
        self.let_go(bounds.ENDED_BYTES_MAX)
        self._on_end()

    def let_go(self, bytes_max: int) -> None:
        """Keep at most so many bytes of ends. The newest stays, however large it is."""
        ended = [(name, one) for name, one in self._held.items() if one.answer is not None]
        self.kept_bytes = sum(one.size for _, one in ended)
        for at, (name, one) in enumerate(ended[:-1]):
            if len(ended) - at <= bounds.ENDED_CALLS_MAX and self.kept_bytes <= bytes_max:
                break
            self.kept_bytes -= one.size
            del self._held[name]


def ids_of(call: OpenCall) -> dict[str, str]:
    """Return the members of an answer that name a call; their texts are empty until it is drafted."""
    return {"call_id": call.event_id, "request": call.sent.event.hex()}


def failure_of(exc: CallError) -> dict[str, Any]:
    """Return how a tool failed, in its own signed words."""
    text = exc.answer.body if exc.answer is not None else None
    try:
        said = json.loads(text or "null")
    except (ValueError, RecursionError):
        said = None
    error = said.get("error") if isinstance(said, dict) else None
    return {"error": error if isinstance(error, str) else text or "", "reason": exc.reason}


def waits(ids: Mapping[str, str], waiting: WaitingCall) -> dict[str, Any]:
    """Return how a call is told that waits for people or verifiers; `until` is in ms since the epoch."""
    waits_for = "verdict" if waiting.verifiers else "approval"
    return {**ids, "outcome": Outcome.PENDING, "waits_for": waits_for, "until": waiting.until}
