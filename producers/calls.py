"""Calls of a client: asked for, waited for, left, and come back to. The twins for asyncio stand in `async_calls`.

Until when a call may begin: `deadline` is for whoever does not want it later at all. Without one a call may wait for
people, and begin once they agree, also when its caller has gone and comes back later. But one that has no answer yet
when its caller stops waiting (`seconds`) does not begin any more: nobody would know of it, and whoever asks again would
have it twice. The log and the tool's host both hold it to that, so it is also true of what is still on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypedDict, Unpack

from processors.proof import jcs
from producers.answers import Answer, Answers
from producers.calling import ANSWER_SECONDS, OpenCall, waited, waits
from producers.clock import clock_ms
from producers.control import Control
from producers.delegating import delegation_id
from producers.keys import KeyPair
from producers.outcomes import CallError, MalformedIdError, NoAnswerError, milliseconds, not_yet, result_of
from producers.process import ForkedError
from producers.prompting import AuthenticatedPrompt, records_for
from producers.publisher import Publisher, PublishError
from producers.sent import Sent
from producers.waiting import Book, WaitingCall
from schemas import limits
from schemas.records import InvocationRequested

Intent = str | Mapping[str, Any]
Prompts = Sequence[AuthenticatedPrompt] | None
OnPending = Callable[[WaitingCall], None]
Give = Callable[[Any], object]


class Asking(TypedDict, total=False):
    """What may be said of a call beside its parameters.

    `intents` narrow this call; `delegation` says for whom it is made; a tool's declared prompts become root prompts
    where no `prompts` are given. It does not begin `deadline` seconds from now or later, whatever people say. Of this
    principal's calls with one `idempotency_key` at most one is executed within a day.
    """

    intents: Sequence[Intent]
    delegation: str | None
    prompts: Prompts
    deadline: float | None
    idempotency_key: str | None


class Calls:
    """The calling methods of a client."""

    _control: Control
    _session: KeyPair
    _publisher: Publisher
    _answers: Answers
    _calls: set[OpenCall]
    _book: Book

    def submit(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Asking]) -> Future[Answer]:
        """Ask for an operation and return the future of its verified final answer, whatever the outcome.

        It is waited for without an end, so it may begin at any time unless a `deadline` is given. Cancelled before it
        was sent it is never sent; later that only ends the waiting. Use `begin` for a call to come back to.

        Raises:
            ValueError: the parameters are not JSON that the log would take.
            ForkedError: the client was connected in another process.
        """
        return self.begin(resource, parameters, **how).sent.answer

    def invoke(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
        **how: Unpack[Asking],
    ) -> Any:
        """Ask for an operation and return its result.

        `seconds` is for the monitor and the tool; a call that has no answer by then does not begin any more. While
        people are asked it waits until their time is over, or for `approval_seconds` where they are given, and
        `on_pending` is told so first. NoAnswerError and an interrupt leave the call `left`: its result can be fetched.

        Raises:
            DeniedError, RefusedError, FailedError, UnknownOutcomeError, NoAnswerError, PublishError, LogSetBackError.
            PromptMismatchError, ValueError, ForkedError: nothing was sent.
        """
        call = self.begin(resource, parameters, seconds=seconds, **how)
        return self.finish(call, seconds=seconds, approval_seconds=approval_seconds, on_pending=on_pending)

    def start(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        **how: Unpack[Asking],
    ) -> WaitingCall | Answer:
        """Ask for an operation; return its final answer, or how to come back to it where people are asked first."""
        call = self.begin(resource, parameters, seconds=seconds, **how)
        try:
            answer = self._timed(call, call.first(seconds))
        except BaseException:
            call.leave()
            raise
        return self._detached(call, answer) if waits(answer) else self._ended(call, answer)

    def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Ask for an operation and return what waits for its answers, for `finish`.

        `seconds`: without an answer by then it does not begin any more. Raises ValueError, ForkedError.
        """
        body, on_behalf_of = self._prepare(resource, parameters, seconds, **how)
        call = OpenCall(Sent(self._answers, resource), self._book, begins=seconds is None)
        self._calls.add(call)
        call.sent.answer.add_done_callback(lambda _: self._calls.discard(call))
        try:
            call.sent.publish(self._publisher, body, on_behalf_of=on_behalf_of)
        except (PublishError, ForkedError):
            self._calls.discard(call)  # nothing was sent
            raise
        return call

    def finish(
        self,
        call: OpenCall,
        *,
        seconds: float = ANSWER_SECONDS,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
        give: Give | None = None,
    ) -> Any:
        """Wait for a call that was begun and return its result; waits and raises as `invoke`.

        What `give` does with the result is done before the way back to the call is removed. Where it raises, that
        stays, and is written down where it was not: the call is `left`.
        """
        try:
            answer = self._timed(call, call.first(seconds))
            if waits(answer):
                kept = call.keep(answer)
                if on_pending is not None:
                    on_pending(kept)
                answer = call.last(kept, seconds, approval_seconds)
        except BaseException:
            call.leave()
            raise
        return self._given(call, answer, give)

    @property
    def left(self) -> list[WaitingCall]:
        """How to come back to each call of this client that was left without its final answer."""
        return list(self._book.left.values())

    def leave(self) -> list[WaitingCall]:
        """Stop waiting for every call that is under way, write down how to come back to each, and return `left`.

        Whoever waits for one in another thread is told NoAnswerError. Raises ForkedError.
        """
        self._answers.check_process()
        for call in list(self._calls):
            why = NoAnswerError("the client was closed while the call was waited for", event_id=call.event_id)
            why.call = call.leave(why)
        return self.left

    def _prepare(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        seconds: float | None,
        *,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
        deadline: float | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[InvocationRequested, bytes | None]:
        """Return a call as it is sent, and for whom. Raises ValueError."""
        declared = self._control.registry.prompts_of(resource) if prompts is None else ()
        values = dict(parameters)
        if deadline is not None:
            milliseconds(deadline, at_most=limits.SESSION_TTL_MS_MAX, what="a deadline")
        if idempotency_key is not None:
            _check_key(idempotency_key)
        clock = self._control.clock
        body = InvocationRequested(
            resource=resource,
            parameters=jcs.canonical(values).decode(),
            intents=tuple(one if isinstance(one, str) else jcs.canonical(dict(one)).decode() for one in intents),
            prompts=records_for(self._session.kid, values, prompts, declared),
            deadline=None if deadline is None else clock.after(deadline),
            begin_by=None if seconds is None else clock.after(waited(seconds)),
            idempotency_key=idempotency_key,
        )
        return body, None if delegation is None else delegation_id(delegation)

    def _taken_up(self, sent: Sent, kept: WaitingCall) -> OpenCall:
        """Return a call that was left before."""
        call = OpenCall(sent, self._book)
        call.kept = self._book.left[kept.event_id] = kept
        return call

    def _timed(self, call: OpenCall, answer: Answer) -> Answer:
        """Return an answer that was just heard, having learnt from it what time the log has."""
        if call.sent.sent_ms:
            self._control.clock.note(call.sent.sent_ms, answer.result.at, clock_ms())
        return answer

    def _detached(self, call: OpenCall, answer: Answer) -> WaitingCall:
        told = call.keep(answer)
        call.leave()
        if call.kept is None:
            raise not_yet(told, is_kept=False)
        return told

    def _given(self, call: OpenCall, answer: Answer, give: Give | None) -> Any:
        """Return the result of a call that has ended, once it was given out. Raises CallError, and what `give` does."""
        try:
            result = result_of(answer)
            if give is not None:
                give(result)
        except CallError:
            self._ended(call, answer)  # the error says how
            raise
        except BaseException:
            if call.kept is None:
                call.keep(None)
            raise
        self._ended(call, answer)
        return result

    def _ended(self, call: OpenCall, answer: Answer) -> Answer:
        """Return a call's final answer; what was kept of it is not needed any more."""
        if call.kept is not None:
            self._book.strike(call.kept)
        return answer


def _check_key(key: str) -> None:
    """Raise MalformedIdError unless the log takes an idempotency key."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
        raise MalformedIdError(f"want an idempotency key of 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes of UTF-8")
