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
from producers.client.beside import Destination, Moved, NoReceiverError, check_no_secret, moved_out
from producers.client.delegations import delegation_id
from producers.client.inputs import MalformedIdError, milliseconds
from producers.client.kept_calls import Book
from producers.client.open_call import ANSWER_SECONDS, CallPatience, OpenCall, Waiting, waited
from producers.client.prompts import AuthenticatedPrompt, records_for
from producers.client.streaming import ResultStream
from producers.home.process import ForkedError
from producers.kafka.answers import Answer
from producers.kafka.bodies import SEND_SECONDS
from producers.kafka.connection import Connection
from producers.kafka.offers import Offered
from producers.kafka.outcomes import DeniedError, NoAnswerError, RefusedError
from producers.kafka.publisher import PublishError
from producers.kafka.sent import Sent
from producers.kafka.waiting import WaitingCall
from schemas import limits
from schemas.reasons import Reason
from schemas.records import InvocationRequested

# A call with bodies to an instance that is gone names bodies that nobody declares.
_OF_THE_GONE = frozenset({Reason.TOOL_UNAVAILABLE, Reason.BODY_REFERENCE})
Intent = str | Mapping[str, Any]
Prompts = Sequence[AuthenticatedPrompt] | None


class Asking(TypedDict, total=False):
    """The optional parts of a call.

    `intents` narrow this call. `delegation` is the id of the delegation under which it is made. Without `prompts` each
    prompt that the tool declares becomes a root prompt. The call does not begin once `deadline` seconds have passed,
    even if people agree to it later. Of a principal's calls with one `idempotency_key` at most one is executed within a
    day. `target` is the id of the one session that shall execute it; without it a registered tool does, or the newest
    session of the owner. `within` is the leaf of the call that this session executes meanwhile: everybody behind that
    one must be allowed this one too. `secrets` are paths of parameters, as `api_key`: their texts travel beside the
    call, sealed to the tool, and no policy, log or page has more of them than a salted digest.
    """

    intents: Sequence[Intent]
    delegation: str | None
    prompts: Prompts
    deadline: float | None
    idempotency_key: str | None
    target: bytes | None
    within: bytes | None
    secrets: Sequence[str]


class _Header(TypedDict):
    """The header of a call: the delegation under which it is made, and the call that is executed meanwhile."""

    on_behalf_of: bytes | None
    within: bytes | None


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

    def __init__(self, connection: Connection, *, keeps_calls: bool = True) -> None:
        """Call with the connection of an open session. Without `keeps_calls` no way back to a call is written down."""
        self._connection = connection
        self._book = Book(connection.tenant, connection.key, connection.principal_id, in_memory=not keeps_calls)
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
        try:
            return self.begin(resource, parameters, seconds=patience.seconds, **asking).finish(patience)
        except DeniedError as exc:
            if exc.reason not in _OF_THE_GONE or not self._forget_offer(resource, asking.get("target")):
                raise
            # Nobody was named, and the instance that was known is gone: the next one is asked, once.
            try:
                again = self.begin(resource, parameters, seconds=patience.seconds, **asking)
            except NoReceiverError:
                raise exc from None  # there is no next one, so nobody could open its secrets
        return again.finish(patience)

    def stream(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> ResultStream:
        """Ask for an operation that streams, and return its items as they come. `close`, or its block, stops the tool.

        `seconds` is the time to wait for a next item, or an answer. A tool that does not stream gives its one result.

        Raises:
            PublishError, ValueError, ForkedError: nothing was sent. Everything else is raised with the items.
        """
        asking, patience = parts_of(how)
        return ResultStream(
            self._connection, self.begin(resource, parameters, seconds=patience.seconds, **asking), patience
        )

    def start(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS, **how: Unpack[Asking]
    ) -> WaitingCall | Answer:
        """Ask for an operation; return its final answer, or the way back to it where people are asked first."""
        return self.begin(resource, parameters, seconds=seconds, **how).detach(seconds)

    def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Ask for an operation and return the open call, for `finish`.

        Without an answer within `seconds` it does not begin any more. Large texts, and secrets, are sent first, beside
        the call, where the tool takes them. Raises ValueError, ForkedError; PublishError if they were not taken.
        """
        offered = self._offer_of(resource, how.get("target"))
        body, header = self._prepare(resource, parameters, seconds, offered, **how)
        sent = Sent(self._connection.answers, resource, offered)
        call = OpenCall(sent, self._book, self._connection.clock, begins=seconds is None)
        self._calls.add(call)
        sent.answer.add_done_callback(lambda _: self._calls.discard(call))
        try:
            self._connection.send(body, sent=sent, **header)
        except (PublishError, ForkedError):
            self._calls.discard(call)  # nothing was sent
            raise
        return call

    def finish(self, call: OpenCall, **how: Unpack[Waiting]) -> Any:
        """Wait for a call that was begun and return its result. Raises as `invoke`, and as `give` does."""
        return call.finish(CallPatience(**how))

    def knows(self, resource: str) -> bool:
        """Whether the client has read the declaration of a resource, and nothing of a call travels beside it.

        If so, `begin` asks no broker first.
        """
        link = self._connection.link
        offered = link.offers.newest(resource)
        if offered is not None:
            return not offered.declared[resource].body_paths
        return link.registry.knows(resource) and not link.registry.takes_bodies(resource)

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

    def _offer_of(self, resource: str, target: bytes | None) -> Offered | None:
        """Return the session that executes a call, None for a registered tool, or if no session is known to offer it.

        It is known here, or else the log is asked. Raises as `Connection.query`, and UntrustedRecordError.
        """
        link = self._connection.link
        if target is None and link.registry.knows(resource):
            return None
        known = link.offers.newest(resource) if target is None else link.offers.of_session(target, resource)
        if known is not None:
            return known
        asked: jcs.JSONValue = {"resource": resource} if target is None else {"session": target.hex()}
        try:
            told = self._connection.query("agent", asked).get("agent")
        except RefusedError as exc:
            if exc.reason != Reason.RESOURCE_INVALID:
                raise
            return None  # the call itself is sent and denied, so that the log has it
        if not isinstance(told, dict):
            return None
        found = link.offers.take(told, resource if target is None else None, session_id=target)
        return found if resource in found.declared else None

    def _forget_offer(self, resource: str, target: bytes | None) -> bool:
        """Forget an instance that the log says is gone; return True if none was named and another one may be there."""
        offers = self._connection.link.offers
        known = offers.newest(resource)
        if known is not None:
            offers.forget(resource, known.session_id)
        return target is None and known is not None

    def _prepare(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        seconds: float | None,
        offered: Offered | None,
        *,
        intents: Sequence[Intent] = (),
        delegation: str | None = None,
        prompts: Prompts = None,
        deadline: float | None = None,
        idempotency_key: str | None = None,
        target: bytes | None = None,
        within: bytes | None = None,
        secrets: Sequence[str] = (),
    ) -> tuple[InvocationRequested, _Header]:
        """Return a call as it is sent, with the fields of its header. Raises ValueError."""
        destination, declared = self._destination(resource, offered)
        if deadline is not None:
            milliseconds(deadline, at_most=limits.SESSION_TTL_MS_MAX, what="a deadline")
        if idempotency_key is not None:
            _check_key(idempotency_key)
        named = (secrets,) if isinstance(secrets, str) else secrets
        if destination is None:
            check_no_secret(parameters, self._connection.link.offers.secretive(resource), named)
        moved = moved_out(parameters, None if destination is None else destination.takes, secrets=named)
        carried = tuple(one if isinstance(one, str) else jcs.canonical(dict(one)).decode() for one in intents)
        records = records_for(self._connection.key.kid, moved.parameters, prompts, declared)
        if destination is not None:
            self._send_beside(moved, destination, seconds)  # before the times of the call are set: it takes a while
        clock = self._connection.clock
        body = InvocationRequested(
            resource=resource,
            parameters=moved.canonical.decode(),
            intents=carried,
            prompts=records,
            deadline=None if deadline is None else clock.after(deadline),
            begin_by=None if seconds is None else clock.after(waited(seconds)),
            idempotency_key=idempotency_key,
            target=target if offered is None else offered.session_id,
            bodies=tuple(one.reference for one in moved.bodies),
        )
        return body, {"on_behalf_of": None if delegation is None else delegation_id(delegation), "within": within}

    def _destination(self, resource: str, offered: Offered | None) -> tuple[Destination | None, tuple[str, ...]]:
        """Return the receiver of calls of a resource, None if none offers it, and the prompts that it declares."""
        if offered is not None:
            declared = offered.declared[resource]
            return Destination(declared, lambda: offered.recipients), declared.prompts
        registry = self._connection.registry
        row = registry.offered(resource)
        if row is None:
            return None, ()
        return Destination(row, lambda: registry.readers_of(resource)), row.prompts

    def _send_beside(self, moved: Moved, to: Destination, seconds: float | None) -> None:
        """Send the texts that travel beside a call to its receiver. Raises PublishError, RegistryError."""
        if moved.bodies:
            most = SEND_SECONDS if seconds is None else min(waited(seconds), SEND_SECONDS)
            self._connection.link.bodies.send(moved.bodies, self._connection.key, to.recipients(), seconds=most)


def _check_key(key: str) -> None:
    """Raise MalformedIdError unless the log takes an idempotency key."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
        raise MalformedIdError(f"an idempotency key must have 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes of UTF-8")
