"""Calls of a client: begun, waited for, left, and come back to. `async_client` has the same for asyncio.

Until when may a call begin? With a `deadline`, only until then. Without one it may wait for people and begin once they
agree, also if its caller has gone meanwhile. A call that has no answer at all when its caller stops waiting (`seconds`)
does not begin any more: a caller that asks again would otherwise have it twice. The log and the tool's host both hold
it to that, so it is also true of an event that is still on its way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypedDict, Unpack, cast

from processors.proof import jcs
from producers.client.delegations import delegation_id
from producers.client.inputs import MalformedIdError, milliseconds
from producers.client.kept_calls import Book
from producers.client.open_call import ANSWER_SECONDS, CallPatience, OpenCall, Waiting, waited
from producers.client.prompts import AuthenticatedPrompt, records_for
from producers.home.process import ForkedError
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from producers.kafka.outcomes import NoAnswerError
from producers.kafka.publisher import PublishError
from producers.kafka.sent import Sent
from producers.kafka.waiting import WaitingCall
from schemas import limits
from schemas.records import InvocationRequested

Intent = str | Mapping[str, Any]
Prompts = Sequence[AuthenticatedPrompt] | None


class Asking(TypedDict, total=False):
    """The optional parts of a call.

    `intents` narrow this call. `delegation` is the id of the delegation under which it is made. Without `prompts` each
    prompt that the tool declares becomes a root prompt. The call does not begin once `deadline` seconds have passed,
    even if people agree to it later. Of a principal's calls with one `idempotency_key` at most one is executed within a
    day.
    """

    intents: Sequence[Intent]
    delegation: str | None
    prompts: Prompts
    deadline: float | None
    idempotency_key: str | None


class Invoking(Asking, Waiting, total=False):
    """Everything that `invoke` takes beside the call itself."""


def parts_of(how: Invoking) -> tuple[Asking, CallPatience]:
    """Return the parts of the call, and the patience. An unknown name stays with the call, which refuses it."""
    named = cast("dict[str, Any]", how)
    asking = {name: value for name, value in named.items() if name not in Waiting.__optional_keys__}
    waiting = {name: value for name, value in named.items() if name in Waiting.__optional_keys__}
    return cast("Asking", asking), CallPatience(**cast("Waiting", waiting))


class Calls:
    """The calling methods of a client."""

    def __init__(self, connection: Connection) -> None:
        """Call with the connection of an open session."""
        self._connection = connection
        self._book = Book(connection.tenant, connection.key, connection.principal_id)
        self._calls: set[OpenCall] = set()

    def submit(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Asking]) -> Future[Answer]:
        """Ask for an operation and return the future of its verified final answer, a denial or failure included.

        The call may begin at any time, unless a `deadline` is given. Cancelling the future takes the call back if it
        has not been sent yet; later it only ends the waiting. Use `begin` for a call to come back to.

        Raises:
            ValueError: the parameters are not JSON that the log would take.
            ForkedError: the client was connected in another process.
        """
        return self.begin(resource, parameters, **how).sent.answer

    def invoke(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> Any:
        """Ask for an operation and return its result. `Asking` and `CallPatience` explain the optional arguments.

        A call without an answer within `seconds` does not begin any more. NoAnswerError and an interrupt leave the call
        among `left`: its result can be fetched later.

        Raises:
            DeniedError, RefusedError, FailedError, UnknownOutcomeError, NoAnswerError, PublishError, LogSetBackError.
            PromptMismatchError, ValueError, ForkedError: nothing was sent.
        """
        asking, patience = parts_of(how)
        return self.begin(resource, parameters, seconds=patience.seconds, **asking).finish(patience)

    def start(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS, **how: Unpack[Asking]
    ) -> WaitingCall | Answer:
        """Ask for an operation; return its final answer, or the way back to it where people are asked first."""
        return self.begin(resource, parameters, seconds=seconds, **how).detach(seconds)

    def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Ask for an operation and return the open call, for `finish`.

        Without an answer within `seconds` it does not begin any more. Raises ValueError, ForkedError.
        """
        body, on_behalf_of = self._prepare(resource, parameters, seconds, **how)
        sent = Sent(self._connection.answers, resource)
        call = OpenCall(sent, self._book, self._connection.clock, begins=seconds is None)
        self._calls.add(call)
        sent.answer.add_done_callback(lambda _: self._calls.discard(call))
        try:
            self._connection.send(body, on_behalf_of=on_behalf_of, sent=sent)
        except (PublishError, ForkedError):
            self._calls.discard(call)  # nothing was sent
            raise
        return call

    def finish(self, call: OpenCall, **how: Unpack[Waiting]) -> Any:
        """Wait for a call that was begun and return its result. Raises as `invoke`, and as `give` does."""
        return call.finish(CallPatience(**how))

    def knows(self, resource: str) -> bool:
        """Whether the client has read the declaration of a resource: if so, `begin` asks no broker first."""
        return self._connection.registry.knows(resource)

    @property
    def left(self) -> list[WaitingCall]:
        """The way back to each call of this client that was left without its final answer."""
        return list(self._book.left.values())

    def leave(self) -> list[WaitingCall]:
        """Stop waiting for every call that is under way, write down the way back to each, and return `left`.

        Another thread that waits for one gets NoAnswerError. Raises ForkedError.
        """
        self._connection.answers.check_process()
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
        """Return a call as it is sent, and the delegation under which it is made. Raises ValueError."""
        connection = self._connection
        declared = connection.registry.prompts_of(resource) if prompts is None else ()
        values = dict(parameters)
        if deadline is not None:
            milliseconds(deadline, at_most=limits.SESSION_TTL_MS_MAX, what="a deadline")
        if idempotency_key is not None:
            _check_key(idempotency_key)
        clock = connection.clock
        body = InvocationRequested(
            resource=resource,
            parameters=jcs.canonical(values).decode(),
            intents=tuple(one if isinstance(one, str) else jcs.canonical(dict(one)).decode() for one in intents),
            prompts=records_for(connection.key.kid, values, prompts, declared),
            deadline=None if deadline is None else clock.after(deadline),
            begin_by=None if seconds is None else clock.after(waited(seconds)),
            idempotency_key=idempotency_key,
        )
        return body, None if delegation is None else delegation_id(delegation)


def _check_key(key: str) -> None:
    """Raise MalformedIdError unless the log takes an idempotency key."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
        raise MalformedIdError(f"an idempotency key must have 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes of UTF-8")
